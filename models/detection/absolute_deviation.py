"""River's standard absolute deviation on each feature: distance from the mean in deviations."""

from __future__ import annotations

from typing import Any

from river import anomaly

from models.detection.by_feature import ByFeature

MOST = 100.0


class AbsoluteDeviation(ByFeature):
    """|value - mean| in standard deviations."""

    name = "absolute_deviation"
    version = 1
    kind = "point"

    def make(self) -> Any:
        return anomaly.StandardAbsoluteDeviation()

    def odd(self, learner: Any, value: float, learn: bool) -> float:
        score = min(float(learner.score_one(None, value)), MOST)
        if learn:
            learner.learn_one(None, value)
        return score
