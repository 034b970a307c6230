"""Every pair of a state and a step is a row of the table, or refused."""

from __future__ import annotations

import itertools

import pytest

from models.incidents.lifecycle import IllegalStep, IncidentStep, advance, is_open
from topics.incidents import State

CLOSES = {"self_resolved": "resolved", "close": "resolved", "gone": "resolved"}
ROWS = {
    "candidate": {"confirm": "triggered"},
    "triggered": {"acknowledge": "acknowledged", "act": "mitigating", **CLOSES,
                  "revise": "triggered", "escalate": "triggered"},
    "acknowledged": {"act": "mitigating", **CLOSES, "revise": "acknowledged",
                     "escalate": "acknowledged"},
    "mitigating": {"act": "mitigating", "probe": "verifying", **CLOSES,
                   "revise": "mitigating", "escalate": "mitigating"},
    "verifying": {"cured": "resolved", "still_wrong": "mitigating", **CLOSES,
                  "revise": "verifying", "escalate": "verifying"},
    "resolved": {"return": "triggered", "review": "reviewed"},
    "reviewed": {},
}  # fmt: skip


@pytest.mark.parametrize(("state", "step"), list(itertools.product(State, IncidentStep)), ids=str)
def test_a_step_leads_where_the_table_says_or_is_refused_with_both_names(state: State, step: IncidentStep) -> None:
    expected = ROWS[state].get(step)
    if expected is None:
        with pytest.raises(IllegalStep, match=f"{step} is not possible while {state}"):
            advance(state, step)
    else:
        assert advance(state, step) == expected


def test_an_incident_is_open_until_it_is_resolved() -> None:
    assert {state for state in State if is_open(state)} == {
        State.TRIGGERED, State.ACKNOWLEDGED, State.MITIGATING, State.VERIFYING,
    }  # fmt: skip


def test_from_every_open_state_an_end_can_be_reached() -> None:
    for state in filter(is_open, State):
        reached, edge = {state}, [state]
        while edge:
            following = {State(after) for after in ROWS[edge.pop()].values()} - reached
            reached |= following
            edge += following
        assert State.RESOLVED in reached
