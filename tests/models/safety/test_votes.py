"""Votes: no command without a valid yes, at most one command a decision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from models.safety.limits import SafetySettings
from models.safety.votes import KEPT, Ballot
from tests.builders import NOW, approval, decision, incident, proposal, result, switch
from topics.actions import Command
from topics.decisions import Decision, Verdict
from topics.incidents import State

SETTINGS = SafetySettings()
WAITING = decision(Verdict.PENDING)
APPROVED = decision(Verdict.APPROVED)
OVER = incident(seq=9, state=State.RESOLVED, closed_as="self_resolved")


def told(ballot: Ballot, of: Decision, now: int = NOW) -> list[Decision | Command]:
    return list(ballot.decided(of, SETTINGS, now))


def waiting() -> Ballot:
    ballot = Ballot()
    assert told(ballot, WAITING) == []
    return ballot


def states(made: Iterable[Any]) -> list[str]:
    return [m.state if isinstance(m, Decision) else "command" for m in made]


def test_a_yes_approves_and_the_approved_is_dispatched_once() -> None:
    ballot = waiting()
    (approved,) = ballot.vote(approval(WAITING, reason="seen it before"), NOW + 100)
    assert (approved.state, approved.voters, approved.ts) == (Verdict.APPROVED, ("ana",), NOW + 100)
    assert approved.reasons[-1] == "ana: approve (seen it before)"
    order, dispatched = told(ballot, approved, NOW + 200)
    assert isinstance(order, Command)
    assert isinstance(dispatched, Decision)
    assert (order.decision, order.incident, order.target) == (WAITING.id, "i1", WAITING.proposal.target)
    assert order.expires == NOW + 200 + SETTINGS.command_ms
    assert (dispatched.state, dispatched.command) == (Verdict.DISPATCHED, order.id)
    assert told(ballot, approved, NOW + 300) == []
    assert told(ballot, WAITING, NOW + 300) == []
    assert ballot.waiting == {}


def test_an_automatic_yes_is_dispatched_with_the_same_command_by_every_worker() -> None:
    one, other = told(Ballot(), APPROVED, NOW)[0], told(Ballot(), APPROVED, NOW + 7)[0]
    assert isinstance(one, Command)
    assert isinstance(other, Command)
    assert one.id == other.id


def test_a_no_ends_it_for_good() -> None:
    ballot = waiting()
    (rejected,) = ballot.vote(approval(WAITING, vote="reject"), NOW)
    assert (rejected.state, rejected.reasons[-1]) == (Verdict.REJECTED, "ana: reject")
    assert list(ballot.vote(approval(WAITING, "ben"), NOW)) == []
    assert told(ballot, WAITING) == []
    assert told(ballot, APPROVED) == []


@pytest.mark.parametrize(
    ("vote", "now"),
    [
        (approval(WAITING, "decide"), NOW),  # a requester on its own proposal
        (approval(WAITING), WAITING.expires),  # too late
        (approval(decision(proposed=proposal(id="p2"))), NOW),  # on something else
    ],
    ids=["by the requester", "late", "on another decision"],
)
def test_a_vote_that_does_not_count_changes_nothing(vote: Any, now: int) -> None:
    ballot = waiting()
    before = msgspec.msgpack.encode(ballot)
    assert list(ballot.vote(vote, now)) == []
    assert msgspec.msgpack.encode(ballot) == before


def test_a_vote_in_the_last_millisecond_counts() -> None:
    assert states(waiting().vote(approval(WAITING), WAITING.expires - 1)) == ["approved"]


def test_a_vote_that_comes_twice_counts_once() -> None:
    ballot = waiting()
    made = [m for _ in range(2) for m in ballot.vote(approval(WAITING), NOW)]
    assert states(made) == ["approved"]


def test_what_nobody_approves_in_time_is_refused_once() -> None:
    ballot = waiting()
    assert list(ballot.expire(WAITING.expires - 1)) == []
    (refused,) = ballot.expire(WAITING.expires)
    assert (refused.state, refused.reasons[-1]) == (Verdict.EXPIRED, "nobody approved it in time")
    assert list(ballot.expire(WAITING.expires + 1)) == []
    assert told(ballot, WAITING) == []
    assert list(ballot.vote(approval(WAITING), NOW)) == []


@pytest.mark.parametrize("first", ["decision", "incident"])
@pytest.mark.parametrize("of", [WAITING, APPROVED], ids=lambda d: d.state)
def test_nothing_is_dispatched_for_an_incident_that_is_over(first: str, of: Decision) -> None:
    """The two are on different topics: the end of the incident may be read before the decision."""
    ballot = waiting() if first == "decision" else Ballot()
    made = [*ballot.incident(OVER, NOW), *told(ballot, of)]
    assert states(made) == ["expired"]
    assert made[0].reasons[-1] == "the incident is over"  # type: ignore[union-attr]
    assert ballot.waiting == {}


def test_a_yes_is_worth_nothing_when_the_incident_ended_meanwhile() -> None:
    ballot = waiting()
    (approved,) = ballot.vote(approval(WAITING), NOW)
    assert list(ballot.incident(OVER, NOW)) == []
    assert states(told(ballot, approved)) == ["expired"]


def test_an_incident_that_goes_on_withdraws_nothing() -> None:
    ballot = waiting()
    assert list(ballot.incident(incident(), NOW)) == []
    assert list(ballot.incident(incident(id="i2", state=State.RESOLVED), NOW)) == []
    assert list(ballot.waiting) == [WAITING.id]


def test_with_the_kill_switch_on_an_approved_decision_is_denied_for_good() -> None:
    ballot = waiting()
    (approved,) = ballot.vote(approval(WAITING), NOW)
    ballot.set(switch("on"))
    ballot = msgspec.msgpack.decode(msgspec.msgpack.encode(ballot), type=Ballot)
    (denied,) = told(ballot, approved)
    assert isinstance(denied, Decision)
    assert (denied.state, denied.blocked) == (Verdict.DENIED, "killed")
    ballot.set(switch("off"))
    assert told(ballot, approved) == []


def test_a_result_completes_its_decision_once() -> None:
    ballot = Ballot()
    told(ballot, APPROVED)
    done = result(decision=APPROVED.id, outcome="timed_out", detail="no answer")
    (completed,) = ballot.acted(done, NOW)
    assert (completed.state, completed.reasons[-1]) == (Verdict.COMPLETED, "timed_out: no answer")
    assert list(ballot.acted(done, NOW)) == []
    assert list(ballot.acted(result(decision="unknown"), NOW)) == []
    assert told(ballot, APPROVED) == []


@pytest.mark.parametrize("state", [s for s in Verdict if s not in (Verdict.PENDING, Verdict.APPROVED)], ids=str)
def test_states_that_need_nothing_lead_to_nothing(state: Verdict) -> None:
    assert told(Ballot(), decision(state)) == []


def test_a_restart_changes_no_answer() -> None:
    ballot = waiting()
    told(ballot, decision(Verdict.APPROVED, proposal(id="p2")))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(ballot), type=Ballot)
    for one in (ballot, again):
        assert states(told(one, decision(Verdict.APPROVED, proposal(id="p2")))) == []
        assert states(one.vote(approval(WAITING), NOW)) == ["approved"]
    assert ballot == again


def test_memory_has_bounds() -> None:
    ballot = Ballot()
    for number in range(2 * KEPT + 100):
        told(ballot, decision(Verdict.APPROVED, proposal(id=f"p{number}", incident=f"i{number}")))
        list(ballot.incident(incident(id=f"x{number}", state=State.RESOLVED), NOW))
    assert (len(ballot.dispatched), len(ballot.over)) == (KEPT, KEPT)
