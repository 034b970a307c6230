"""River's ADWIN on each feature: two windows of one series with different means. Source: Bifet and Gavaldà 2007."""

from __future__ import annotations

from typing import Any

from river import drift

from models.detection.by_feature import ByFeature

DELTA = 0.0005  # of one test; a dozen features are tested every 32 samples


class Adwin(ByFeature):
    """Drift: the mean is another one than it was. The score is by how many spreads, and at least 1."""

    name = "adwin"
    version = 1
    kind = "drift"
    tells = True

    def make(self) -> Any:
        return drift.ADWIN(delta=DELTA)

    def odd(self, learner: Any, value: float, learn: bool) -> float:
        if not learn:
            return 0.0
        before = learner.estimation
        learner.update(value)
        return max(abs(learner.estimation - before), 1.0) if learner.drift_detected else 0.0
