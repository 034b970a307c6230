"""River's Page-Hinkley test on each feature: the moment at which a mean jumped. Source: Page 1954."""

from __future__ import annotations

from typing import Any

from river import drift

from models.detection.by_feature import ByFeature

SLACK = 0.5  # spreads that a mean may wander
LIMIT = 25.0  # spreads beyond it, summed up


class PageHinkley(ByFeature):
    """Change point: the mean has jumped by more than `SLACK`. The score is 1, and the test begins anew."""

    name = "page_hinkley"
    version = 1
    kind = "change_point"
    tells = True

    def make(self) -> Any:
        return drift.PageHinkley(delta=SLACK, threshold=LIMIT)

    def odd(self, learner: Any, value: float, learn: bool) -> float:
        if not learn:
            return 0.0
        learner.update(value)
        return 1.0 if learner.drift_detected else 0.0
