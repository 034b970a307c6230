"""River's Holt-Winters on each feature: what level and trend did not foretell."""

from __future__ import annotations

from typing import Any

from river import time_series

from models.detection.by_feature import ByFeature

MOST = 100.0


class HoltWinters(ByFeature):
    """|value - forecast|, in spreads of the feature."""

    name = "holt_winters"
    version = 1
    kind = "contextual"

    def make(self) -> Any:
        return time_series.HoltWinters(alpha=0.3, beta=0.05)

    def odd(self, learner: Any, value: float, learn: bool) -> float:
        score = min(abs(value - learner.forecast(1)[0]), MOST) if len(learner.level) else 0.0
        if learn:
            learner.learn_one(value)
        return score
