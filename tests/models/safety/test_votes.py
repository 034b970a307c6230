"""Votes: no command without the votes it takes and an entry in the audit, at most one command a decision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from models.safety.limits import SafetySettings
from models.safety.modes import Mode
from models.safety.signing import Refused
from models.safety.votes import KEPT, Ballot, Rules
from tests.builders import NOW, approval, decision, incident, proposal, result, switch
from tests.keys import RING
from topics.actions import Command
from topics.approvals import Approval
from topics.audit import GENESIS, Entry
from topics.decisions import DECISIONS, Decision, Verdict
from topics.incidents import State

ASKING = Rules(SafetySettings(), RING)
ALONE = Rules(SafetySettings(mode=Mode.AUTONOMOUS), RING)
TWO_VOTES = Rules(SafetySettings(quorum=2), RING)
WAITING = decision(Verdict.PENDING)
APPROVED = decision(Verdict.APPROVED)
OVER = incident(seq=9, state=State.RESOLVED, closed_as="self_resolved")


def audit(of: Decision, topic: str = DECISIONS.name) -> Entry:
    """The audit's entry that keeps a decision."""
    return Entry(
        chain=0, seq=7, ts=NOW, system="shop", topic=topic, origin=f"{topic}-0-7", previous=GENESIS, applied={},
        body=msgspec.Raw(msgspec.json.encode(of)),
    )  # fmt: skip


def told(ballot: Ballot, of: Decision, rules: Rules = ASKING, now: int = NOW) -> list[Any]:
    """What follows from a decision that is read, and then from the audit's entry of it."""
    return [*ballot.decided(of, rules, now), *ballot.audited(audit(of), rules, now)]


def waiting(rules: Rules = ASKING) -> Ballot:
    ballot = Ballot()
    assert list(ballot.decided(WAITING, rules, NOW)) == []
    return ballot


def vote(ballot: Ballot, cast: Approval, rules: Rules = ASKING, now: int = NOW) -> list[Decision]:
    return list(ballot.vote(cast, "opsloop.approvals-0-1", rules, now))


def states(made: Iterable[Any]) -> list[str]:
    return [m.state if isinstance(m, Decision) else type(m).__name__ for m in made]


def restarted(ballot: Ballot) -> Ballot:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(ballot), type=Ballot)


def test_a_yes_approves_and_the_approved_is_dispatched_once_the_audit_has_it() -> None:
    ballot = waiting()
    (approved,) = vote(ballot, approval(WAITING, reason="seen it before"), now=NOW + 100)
    assert (approved.state, approved.voters, approved.ts) == (Verdict.APPROVED, ("ana",), NOW + 100)
    assert approved.reasons[-1] == "ana: approve (seen it before)"
    assert list(ballot.decided(approved, ASKING, NOW + 150)) == [], "it is not on the audit yet"
    order, dispatched = ballot.audited(audit(approved), ASKING, NOW + 200)
    assert isinstance(order, Command)
    assert isinstance(dispatched, Decision)
    assert (order.decision, order.incident, order.target) == (WAITING.id, "i1", WAITING.proposal.target)
    assert order.expires == NOW + 200 + ASKING.settings.command_ms
    assert (order.audience, order.audit) == ("supervisor/shop", "0/7")
    assert [a.voter for a in order.approvals] == ["ana"]
    assert (dispatched.state, dispatched.command) == (Verdict.DISPATCHED, order.id)
    assert told(ballot, approved) == []
    assert told(ballot, WAITING) == []
    assert (ballot.waiting, ballot.approved, ballot.votes) == ({}, {}, {})


def test_nothing_is_dispatched_for_an_audit_entry_of_anything_else() -> None:
    ballot = Ballot()
    list(ballot.decided(APPROVED, ALONE, NOW))
    assert list(ballot.audited(audit(APPROVED, "opsloop.proposals"), ALONE, NOW)) == []
    assert list(ballot.audited(audit(WAITING), ALONE, NOW)) == []


def test_an_automatic_yes_is_dispatched_with_the_same_command_by_every_worker() -> None:
    one, other = told(Ballot(), APPROVED, ALONE)[0], told(Ballot(), APPROVED, ALONE, NOW + 7)[0]
    assert one.id == other.id
    assert isinstance(one, Command)


def test_who_only_says_that_it_was_approved_gets_no_command() -> None:
    with pytest.raises(Refused, match="unapproved: 0 of 1 votes"):
        told(Ballot(), APPROVED, ASKING)


def test_of_a_quorum_every_vote_counts_and_nobody_votes_twice() -> None:
    ballot = waiting(TWO_VOTES)
    assert states(vote(ballot, approval(WAITING), TWO_VOTES)) == ["pending_approval"]
    with pytest.raises(Refused, match="repeated"):
        vote(ballot, approval(WAITING), TWO_VOTES)
    ballot = restarted(ballot)
    (approved,) = vote(ballot, approval(WAITING, "ben"), TWO_VOTES)
    assert (approved.state, approved.voters) == (Verdict.APPROVED, ("ana", "ben"))
    assert states(told(ballot, approved, TWO_VOTES)) == ["Command", "dispatched"]


@pytest.mark.parametrize("rules", [ASKING, TWO_VOTES], ids=["one vote", "two votes"])
def test_one_no_ends_it_for_good(rules: Rules) -> None:
    ballot = waiting(rules)
    (rejected,) = vote(ballot, approval(WAITING, vote="reject"), rules)
    assert (rejected.state, rejected.reasons[-1]) == (Verdict.REJECTED, "ana: reject")
    with pytest.raises(Refused, match="late"):
        vote(ballot, approval(WAITING, "ben"), rules)
    assert told(ballot, WAITING, rules) == []
    assert told(ballot, APPROVED, rules) == []


LATER = approval(decision(Verdict.PENDING, proposal(id="p6")))
OWN = decision(Verdict.PENDING, proposal(id="p7", requester="ana"))
LEADS = decision(Verdict.PENDING, proposal(id="p8", confidence=0.8))


@pytest.mark.parametrize(
    ("of", "cast", "now", "code"),
    [
        (OWN, approval(OWN), NOW, "self_approval"),
        (WAITING, approval(WAITING), WAITING.expires, "late"),
        (WAITING, approval(WAITING, "mallory"), NOW, "unknown_key"),
        (WAITING, approval(WAITING, "vera"), NOW, "wrong_role"),
        (LEADS, approval(LEADS, "ben"), NOW, "wrong_role"),
        (WAITING, approval(WAITING, subject="another command"), NOW, "altered"),
        (WAITING, approval(WAITING, expires=NOW), NOW, "expired"),
        (WAITING, msgspec.structs.replace(approval(WAITING), reason="forged"), NOW, "forged"),
        (WAITING, msgspec.structs.replace(approval(WAITING), signature=b""), NOW, "unsigned"),
        (WAITING, msgspec.structs.replace(approval(WAITING), voter="ben"), NOW, "forged"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_vote_that_does_not_count_is_refused_and_changes_nothing(
    of: Decision, cast: Approval, now: int, code: str
) -> None:
    ballot = Ballot()
    list(ballot.decided(of, ASKING, NOW))
    with pytest.raises(Refused) as refused:
        vote(ballot, cast, now=now)
    assert refused.value.code == code
    assert list(ballot.waiting) == [of.id]
    assert not any(ballot.votes.values())


def test_a_vote_in_the_last_millisecond_counts() -> None:
    assert states(vote(waiting(), approval(WAITING), now=WAITING.expires - 1)) == ["approved"]


def test_a_vote_that_is_read_before_its_decision_counts_when_that_comes() -> None:
    ballot = Ballot()
    assert vote(ballot, approval(WAITING)) == []
    assert states(restarted(ballot).decided(WAITING, ASKING, NOW)) == ["approved"]


def test_what_nobody_approves_in_time_is_refused_once() -> None:
    ballot = waiting()
    assert list(ballot.expire(ASKING, WAITING.expires - 1)) == []
    (refused,) = ballot.expire(ASKING, WAITING.expires)
    assert (refused.state, refused.reasons[-1]) == (Verdict.EXPIRED, "nobody approved it in time")
    assert list(ballot.expire(ASKING, WAITING.expires + 1)) == []
    assert told(ballot, WAITING) == []


def test_what_the_audit_does_not_keep_in_time_is_refused() -> None:
    ballot = Ballot()
    list(ballot.decided(APPROVED, ALONE, NOW))
    assert list(ballot.expire(ALONE, NOW + ALONE.settings.approval_ms - 1)) == []
    assert states(ballot.expire(ALONE, NOW + ALONE.settings.approval_ms)) == ["expired"]
    assert list(ballot.audited(audit(APPROVED), ALONE, NOW)) == []


@pytest.mark.parametrize("first", ["decision", "incident"])
@pytest.mark.parametrize("of", [WAITING, APPROVED], ids=lambda d: d.state)
def test_nothing_is_dispatched_for_an_incident_that_is_over(first: str, of: Decision) -> None:
    """The two are on different topics: the end of the incident may be read before the decision."""
    ballot = waiting() if first == "decision" else Ballot()
    made = [*ballot.incident(OVER, NOW), *told(ballot, of, ALONE)]
    assert states(made) == ["expired"]
    assert made[0].reasons[-1] == "the incident is over"
    assert ballot.waiting == {}


def test_a_yes_is_worth_nothing_when_the_incident_ended_meanwhile() -> None:
    ballot = waiting()
    (approved,) = vote(ballot, approval(WAITING))
    assert list(ballot.incident(OVER, NOW)) == []
    assert states(told(ballot, approved)) == ["expired"]


def test_what_was_approved_is_withdrawn_when_the_incident_ends_before_the_audit_has_it() -> None:
    ballot = Ballot()
    list(ballot.decided(APPROVED, ALONE, NOW))
    made = [*ballot.incident(OVER, NOW), *ballot.audited(audit(APPROVED), ALONE, NOW)]
    assert states(made) == ["expired"]


def test_an_incident_that_goes_on_withdraws_nothing() -> None:
    ballot = waiting()
    assert list(ballot.incident(incident(), NOW)) == []
    assert list(ballot.incident(incident(id="i2", state=State.RESOLVED), NOW)) == []
    assert list(ballot.waiting) == [WAITING.id]


def test_with_the_kill_switch_on_an_approved_decision_is_denied_for_good() -> None:
    ballot = waiting()
    (approved,) = vote(ballot, approval(WAITING))
    ballot.switch.take(switch("on"), RING, NOW)
    ballot = restarted(ballot)
    (denied,) = told(ballot, approved)
    assert (denied.state, denied.blocked) == (Verdict.DENIED, "killed")
    ballot.switch.take(switch("off", NOW + 1), RING, NOW + 1)
    assert told(ballot, approved) == []


def test_two_commands_are_never_at_work_on_one_service() -> None:
    ballot = Ballot()
    told(ballot, APPROVED, ALONE)
    second = decision(Verdict.APPROVED, proposal(id="p2", target="shop/catalog/1"))
    (denied,) = told(ballot, second, ALONE)
    assert (denied.state, denied.blocked) == (Verdict.DENIED, "lease_held")
    list(ballot.acted(result(decision=APPROVED.id), NOW))
    third = decision(Verdict.APPROVED, proposal(id="p3", target="shop/catalog/1"))
    assert states(told(ballot, third, ALONE)) == ["Command", "dispatched"]


def test_the_epoch_of_a_service_grows_with_every_command_also_when_the_clock_stands() -> None:
    ballot, epochs = Ballot(), []
    for number in range(5):
        approved = decision(Verdict.APPROVED, proposal(id=f"p{number}"))
        order, _ = told(ballot, approved, ALONE)
        epochs.append(order.epoch)
        list(ballot.acted(result(decision=approved.id), NOW))
        ballot = restarted(ballot)
    assert epochs == sorted(set(epochs))


def test_a_result_completes_its_decision_once() -> None:
    ballot = Ballot()
    told(ballot, APPROVED, ALONE)
    done = result(decision=APPROVED.id, outcome="timed_out", detail="no answer")
    (completed,) = ballot.acted(done, NOW)
    assert (completed.state, completed.reasons[-1]) == (Verdict.COMPLETED, "timed_out: no answer")
    assert list(ballot.acted(done, NOW)) == []
    assert list(ballot.acted(result(decision="unknown"), NOW)) == []
    assert told(ballot, APPROVED, ALONE) == []


@pytest.mark.parametrize("state", [s for s in Verdict if s not in (Verdict.PENDING, Verdict.APPROVED)], ids=str)
def test_states_that_need_nothing_lead_to_nothing(state: Verdict) -> None:
    assert told(Ballot(), decision(state), ALONE) == []


def test_memory_has_bounds() -> None:
    ballot = Ballot()
    ballot.epochs = {f"s{number}/a": number for number in range(KEPT)}
    told(ballot, APPROVED, ALONE)
    for number in range(KEPT + 20):
        list(ballot.incident(incident(id=f"x{number}", state=State.RESOLVED), NOW))
        list(ballot.vote(LATER, f"opsloop.approvals-0-{number}", ASKING, NOW))
    assert [len(book) for book in (ballot.epochs, ballot.over, ballot.early)] == [KEPT] * 3


DENIED = decision(Verdict.DENIED, blocked="recently_remediated")


@pytest.mark.parametrize("order", [(DENIED, APPROVED), (APPROVED, DENIED), (DENIED, APPROVED, DENIED)])
def test_what_one_gate_denies_no_copy_of_the_proposal_at_another_gate_gets_done(order: tuple[Decision, ...]) -> None:
    ballot = Ballot()
    assert [made for of in order for made in ballot.decided(of, ALONE, NOW)] == []
    assert list(restarted(ballot).audited(audit(APPROVED), ALONE, NOW)) == []
    with pytest.raises(Refused, match="late"):
        vote(ballot, approval(WAITING))
