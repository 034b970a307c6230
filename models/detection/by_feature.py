"""River learners of one number each, one a feature: what they have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from models.detection import river_state
from models.detection.base import Detector, StateError
from topics.batch import Float64


class ByFeature(Detector):
    """A learner for each feature; the sample has the score of the oddest one."""

    def __init__(self, features: Sequence[str]) -> None:
        super().__init__(features)
        self.learners: list[Any] = [self.make() for _ in self.features]

    @abstractmethod
    def make(self) -> Any:
        """A new learner."""

    @abstractmethod
    def odd(self, learner: Any, value: float, learn: bool) -> float:
        """How odd a value is to a learner, which then learns it if it may."""

    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        score, place = 0.0, 0
        for at, value in enumerate(x.tolist()):
            if not math.isnan(value) and (own := self.odd(self.learners[at], value, learn)) > score:
                score, place = own, at
        return score, place

    def dump(self) -> bytes:
        return msgspec.msgpack.encode([river_state.dump(learner) for learner in self.learners])

    def load(self, state: bytes) -> None:
        try:
            kept = msgspec.msgpack.decode(state, type=list[bytes])
        except msgspec.MsgspecError as error:
            raise StateError(f"no learners: {error}") from None
        learners = [river_state.load(each) for each in kept]
        if len(learners) != len(self.features) or any(type(each) is not type(self.make()) for each in learners):
            raise StateError(f"no {len(self.features)} learners of {self.name}")
        self.learners = learners
