"""The interface of a detector that scores one entity as a whole, beside the bank.

The bank scores every series of a partition; these cost microseconds a sample, so settings choose their entities.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

from topics.batch import Float64
from topics.signals import AnomalyKind

WHOLE: Final = -1  # no feature alone


class StateError(ValueError):
    """A learner's state that is not written, or not read: the text says why."""


class Detector(ABC):
    """Scores a sample of `features`, then learns it. State is bounded by the features, finite, and data."""

    name: ClassVar[str]  # names its state and its anomalies: never renamed lightly
    version: ClassVar[int]
    kind: ClassVar[AnomalyKind]
    warm: ClassVar[int] = 100  # samples that it learns before what it says counts
    tells: ClassVar[bool] = False  # it says by itself when something changed: a score is 0, or at least 1

    def __init__(self, features: Sequence[str]) -> None:
        """features: names in ascending order, 1 to `FEATURES_KEPT`."""
        self.features = tuple(features)

    @abstractmethod
    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        """How odd a sample is (finite, 0 or more), and the place of the feature that says so, or `WHOLE`.

        x: (k,) in spreads from what is ordinary for each feature, within ±`FARTHEST`; NaN where it was not measured.
        learn: False while an incident is open on the entity: it is scored, and leaves no trace.
        """

    @abstractmethod
    def dump(self) -> bytes:
        """The state as canonical bytes: equal states give equal bytes. Raises StateError when it is not finite."""

    @abstractmethod
    def load(self, state: bytes) -> None:
        """Restore what a detector of the same features dumped. Raises StateError for anything else."""
