"""Joins actions and their verdicts, each pair once, in whichever order the two topics are read."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from models.keyed import KeyedState, Table, table
from topics.verdicts import Effect, Verdict

KEPT: Final = 1_000
HELPED: Final = {Effect.REMEDIATED: True, Effect.INEFFECTIVE: False, Effect.REGRESSED: False}  # others: not learned

T = TypeVar("T")


class Outcomes(KeyedState, Generic[T]):
    """Dispatched actions and verdicts by decision. Part of an agent's state."""

    acted: Table[T] = table(KEPT)
    judged: Table[bool | None] = table(KEPT)  # whether the action helped; None: the pair was already returned

    def dispatched(self, decision: str, what: T) -> tuple[T, bool] | None:
        """Store a dispatched action. Returns it with its outcome when the verdict is known and was not returned yet."""
        if self.judged.get(decision, False) is None:
            return None
        self.acted[decision] = what
        return self._pair(decision)

    def verdict(self, verdict: Verdict) -> tuple[T, bool] | None:
        """Store a verdict. Returns the action with its outcome when the action is known and was not returned yet."""
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
