"""River's Gaussian scorer on each feature: how far out in the tails of a normal law with equal weight for all time."""

from __future__ import annotations

import math
from typing import Any

from river import anomaly

from models.detection.by_feature import ByFeature


class Gaussian(ByFeature):
    """Minus the logarithm of a value's two-sided tail."""

    name = "gaussian"
    version = 1
    kind = "point"

    def make(self) -> Any:
        return anomaly.GaussianScorer(grace_period=self.warm)

    def odd(self, learner: Any, value: float, learn: bool) -> float:
        score = -math.log(max(1.0 - learner.score_one(None, value), 1e-16))
        if learn:
            learner.learn_one(None, value)
        return score
