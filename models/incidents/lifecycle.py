"""The life cycle of an incident, as a table of state and step to the next state."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from topics.incidents import State


class IncidentStep(StrEnum):
    """A step in the life cycle of an incident."""

    CONFIRM = "confirm"
    ACKNOWLEDGE = "acknowledge"
    ACT = "act"
    PROBE = "probe"
    CURED = "cured"
    STILL_WRONG = "still_wrong"
    SELF_RESOLVED = "self_resolved"
    REVISE = "revise"  # the hypotheses changed
    ESCALATE = "escalate"  # needs a person: no action is left to try automatically
    GONE = "gone"  # its affected entities have had no sample for `gone_ms`
    CLOSE = "close"  # a person resolved it
    RETURN = "return"
    REVIEW = "review"


class IllegalStep(Exception):
    """The table does not allow the step in this state. The caller records the reason and changes nothing."""


_OPEN: Final = (State.TRIGGERED, State.ACKNOWLEDGED, State.MITIGATING, State.VERIFYING)
_OVER: Final = (State.RESOLVED, State.REVIEWED)

NEXT: Final[Mapping[tuple[State, IncidentStep], State]] = {
    (State.CANDIDATE, IncidentStep.CONFIRM): State.TRIGGERED,
    (State.TRIGGERED, IncidentStep.ACKNOWLEDGE): State.ACKNOWLEDGED,
    (State.TRIGGERED, IncidentStep.ACT): State.MITIGATING,
    (State.ACKNOWLEDGED, IncidentStep.ACT): State.MITIGATING,
    (State.MITIGATING, IncidentStep.ACT): State.MITIGATING,
    (State.MITIGATING, IncidentStep.PROBE): State.VERIFYING,
    (State.VERIFYING, IncidentStep.CURED): State.RESOLVED,
    (State.VERIFYING, IncidentStep.STILL_WRONG): State.MITIGATING,
    (State.RESOLVED, IncidentStep.RETURN): State.TRIGGERED,
    (State.RESOLVED, IncidentStep.REVIEW): State.REVIEWED,
    **{(state, step): state for state in _OPEN for step in (IncidentStep.REVISE, IncidentStep.ESCALATE)},
    **{(state, IncidentStep.CLOSE): State.RESOLVED for state in _OPEN},
    **{(state, IncidentStep.GONE): State.RESOLVED for state in _OPEN},
    **{(state, IncidentStep.SELF_RESOLVED): State.RESOLVED for state in _OPEN},  # only while no action is under way
}


def advance(state: State, step: IncidentStep) -> State:
    """Return the state after `step`.

    Raises:
        Refused: the table has no such row.
    """
    try:
        return NEXT[state, step]
    except KeyError:
        raise IllegalStep(f"{step} is not possible while {state}") from None


def is_open(state: State) -> bool:
    """Whether an incident in this state is open. A state that this version does not know is neither open nor over."""
    return state in _OPEN


def is_over(state: State) -> bool:
    """Whether an incident in this state has ended."""
    return state in _OVER
