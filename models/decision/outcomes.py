"""Actions and what became of them: brought together once, whichever of the two topics is read first."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from models.keyed import KeyedState, Table, table
from topics.verdicts import Effect, Verdict

KEPT: Final = 1_000
HELPED: Final = {Effect.REMEDIATED: True, Effect.INEFFECTIVE: False, Effect.REGRESSED: False}  # others teach nothing

T = TypeVar("T")


class Outcomes(KeyedState, Generic[T]):
    """What was dispatched and what was judged, by decision. A part of a state."""

    acted: Table[T] = table(KEPT)
    judged: Table[bool | None] = table(KEPT)  # whether it helped; None: that was counted

    def dispatched(self, decision: str, what: T) -> tuple[T, bool] | None:
        """Take a dispatched action; the pair, when its verdict is known and not counted yet."""
        if self.judged.get(decision, False) is None:
            return None
        self.acted[decision] = what
        return self._pair(decision)

    def verdict(self, verdict: Verdict) -> tuple[T, bool] | None:
        """Take a verdict; the pair, when its action is known and it was not counted yet."""
        if verdict.effect not in HELPED or not verdict.decision or verdict.decision in self.judged:
            return None
        self.judged[verdict.decision] = HELPED[verdict.effect]
        return self._pair(verdict.decision)

    def _pair(self, decision: str) -> tuple[T, bool] | None:
        helped = self.judged.get(decision)
        if helped is None or decision not in self.acted:
            return None
        self.judged[decision] = None
        return self.acted.pop(decision), helped
