"""Votes: no command without the votes it takes and an entry in the audit, at most one command a decision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from models.safety.limits import SafetySettings
from models.safety.modes import Mode
from models.safety.signing import Refused
from models.safety.votes import KEPT, LOST_MS, ApprovalTracker, Rules
from tests.builders import NOW, approval, decision, hypothesis, incident, proposal, reread, result, switch
from tests.keys import RING
from topics.actions import Command
from topics.approvals import Approval
from topics.audit import GENESIS, AuditEntry
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.incidents import State

ASKING = Rules(SafetySettings(), RING)
ALONE = Rules(SafetySettings(mode=Mode.AUTONOMOUS), RING)
TWO_VOTES = Rules(SafetySettings(quorum=2), RING)
WAITING = decision(DecisionState.PENDING)
APPROVED = decision(DecisionState.APPROVED)
OVER = incident(seq=9, state=State.RESOLVED, closed_as="self_resolved")


def audit(of: Decision, topic: str = DECISIONS.name) -> AuditEntry:
    """The audit's entry that keeps a decision."""
    return AuditEntry(
        chain=0, seq=7, ts=NOW, domain="shop", topic=topic, origin=f"{topic}-0-7", previous=GENESIS, applied={},
        body=msgspec.Raw(msgspec.json.encode(of)),
    )  # fmt: skip


def told(tracker: ApprovalTracker, of: Decision, rules: Rules = ASKING, now: int = NOW) -> list[Any]:
    """What follows from a decision that is read, and then from the audit's entry of it."""
    return [*tracker.decided(of, rules, now), *tracker.audited(audit(of), rules, now)]


def waiting(rules: Rules = ASKING) -> ApprovalTracker:
    tracker = ApprovalTracker()
    assert list(tracker.decided(WAITING, rules, NOW)) == []
    return tracker


def vote(tracker: ApprovalTracker, cast: Approval, rules: Rules = ASKING, now: int = NOW) -> list[Decision]:
    return list(tracker.vote(cast, "opsloop.approvals-0-1", rules, now))


def states(made: Iterable[Any]) -> list[str]:
    return [m.state if isinstance(m, Decision) else type(m).__name__ for m in made]


def restarted(tracker: ApprovalTracker) -> ApprovalTracker:
    return reread(tracker)


def test_a_yes_approves_and_the_approved_is_dispatched_once_the_audit_has_it() -> None:
    tracker = waiting()
    (approved,) = vote(tracker, approval(WAITING, reason="seen it before"), now=NOW + 100)
    assert (approved.state, approved.voters, approved.ts) == (DecisionState.APPROVED, ("ana",), NOW + 100)
    assert approved.reasons[-1] == "ana: approve (seen it before)"
    assert list(tracker.decided(approved, ASKING, NOW + 150)) == [], "it is not on the audit yet"
    order, dispatched = tracker.audited(audit(approved), ASKING, NOW + 200)
    assert isinstance(order, Command)
    assert isinstance(dispatched, Decision)
    assert (order.decision, order.incident, order.target) == (WAITING.id, "i1", WAITING.proposal.target)
    assert order.expires == NOW + 200 + ASKING.settings.command_ms
    assert (order.audience, order.audit) == ("supervisor/shop", "0/7")
    assert [a.voter for a in order.approvals] == ["ana"]
    assert (dispatched.state, dispatched.command) == (DecisionState.DISPATCHED, order.id)
    assert told(tracker, approved) == []
    assert told(tracker, WAITING) == []
    assert (tracker.waiting, tracker.approved, tracker.votes) == ({}, {}, {})


def test_nothing_is_dispatched_for_an_audit_entry_of_anything_else() -> None:
    tracker = ApprovalTracker()
    list(tracker.decided(APPROVED, ALONE, NOW))
    assert list(tracker.audited(audit(APPROVED, "opsloop.proposals"), ALONE, NOW)) == []
    assert list(tracker.audited(audit(WAITING), ALONE, NOW)) == []


def test_an_automatic_yes_is_dispatched_with_the_same_command_by_every_worker() -> None:
    one, other = told(ApprovalTracker(), APPROVED, ALONE)[0], told(ApprovalTracker(), APPROVED, ALONE, NOW + 7)[0]
    assert one.id == other.id
    assert isinstance(one, Command)


def test_who_only_says_that_it_was_approved_gets_no_command() -> None:
    with pytest.raises(Refused, match="unapproved: 0 of 1 votes"):
        told(ApprovalTracker(), APPROVED, ASKING)


def test_of_a_quorum_every_vote_counts_and_nobody_votes_twice() -> None:
    tracker = waiting(TWO_VOTES)
    assert states(vote(tracker, approval(WAITING), TWO_VOTES)) == ["pending_approval"]
    with pytest.raises(Refused, match="repeated"):
        vote(tracker, approval(WAITING), TWO_VOTES)
    tracker = restarted(tracker)
    (approved,) = vote(tracker, approval(WAITING, "ben"), TWO_VOTES)
    assert (approved.state, approved.voters) == (DecisionState.APPROVED, ("ana", "ben"))
    assert states(told(tracker, approved, TWO_VOTES)) == ["Command", "dispatched"]


@pytest.mark.parametrize("rules", [ASKING, TWO_VOTES], ids=["one vote", "two votes"])
def test_one_no_ends_it_for_good(rules: Rules) -> None:
    tracker = waiting(rules)
    (rejected,) = vote(tracker, approval(WAITING, vote="reject"), rules)
    assert (rejected.state, rejected.reasons[-1]) == (DecisionState.REJECTED, "ana: reject")
    with pytest.raises(Refused, match="late"):
        vote(tracker, approval(WAITING, "ben"), rules)
    assert told(tracker, WAITING, rules) == []
    assert told(tracker, APPROVED, rules) == []


LATER = approval(decision(DecisionState.PENDING, proposal(id="p6")))
OWN = decision(DecisionState.PENDING, proposal(id="p7", requester="ana"))
LEADS = decision(DecisionState.PENDING, proposal(id="p8", confidence=0.8))


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
    tracker = ApprovalTracker()
    list(tracker.decided(of, ASKING, NOW))
    with pytest.raises(Refused) as refused:
        vote(tracker, cast, now=now)
    assert refused.value.code == code
    assert list(tracker.waiting) == [of.id]
    assert not any(tracker.votes.values())


def test_a_vote_in_the_last_millisecond_counts() -> None:
    assert states(vote(waiting(), approval(WAITING), now=WAITING.expires - 1)) == ["approved"]


def test_a_vote_that_is_read_before_its_decision_counts_when_that_comes() -> None:
    tracker = ApprovalTracker()
    assert vote(tracker, approval(WAITING)) == []
    assert states(restarted(tracker).decided(WAITING, ASKING, NOW)) == ["approved"]


def test_what_nobody_approves_in_time_is_refused_once() -> None:
    tracker = waiting()
    assert list(tracker.expire(ASKING, WAITING.expires - 1)) == []
    (refused,) = tracker.expire(ASKING, WAITING.expires)
    assert (refused.state, refused.reasons[-1]) == (DecisionState.EXPIRED, "nobody approved it in time")
    assert list(tracker.expire(ASKING, WAITING.expires + 1)) == []
    assert told(tracker, WAITING) == []


def test_what_the_audit_does_not_keep_in_time_is_refused() -> None:
    tracker = ApprovalTracker()
    list(tracker.decided(APPROVED, ALONE, NOW))
    assert list(tracker.expire(ALONE, NOW + ALONE.settings.approval_ms - 1)) == []
    assert states(tracker.expire(ALONE, NOW + ALONE.settings.approval_ms)) == ["expired"]
    assert list(tracker.audited(audit(APPROVED), ALONE, NOW)) == []


@pytest.mark.parametrize("first", ["decision", "incident"])
@pytest.mark.parametrize("of", [WAITING, APPROVED], ids=lambda d: d.state)
def test_nothing_is_dispatched_for_an_incident_that_is_over(first: str, of: Decision) -> None:
    """The two are on different topics: the end of the incident may be read before the decision."""
    tracker = waiting() if first == "decision" else ApprovalTracker()
    made = [*tracker.incident(OVER, NOW), *told(tracker, of, ALONE)]
    assert states(made) == ["expired"]
    assert made[0].reasons[-1] == "the incident is over"
    assert tracker.waiting == {}


def test_a_yes_is_worth_nothing_when_the_incident_ended_meanwhile() -> None:
    tracker = waiting()
    (approved,) = vote(tracker, approval(WAITING))
    assert list(tracker.incident(OVER, NOW)) == []
    assert states(told(tracker, approved)) == ["expired"]


def test_what_was_approved_is_withdrawn_when_the_incident_ends_before_the_audit_has_it() -> None:
    tracker = ApprovalTracker()
    list(tracker.decided(APPROVED, ALONE, NOW))
    made = [*tracker.incident(OVER, NOW), *tracker.audited(audit(APPROVED), ALONE, NOW)]
    assert states(made) == ["expired"]


def test_an_incident_that_goes_on_withdraws_nothing() -> None:
    tracker = waiting()
    assert list(tracker.incident(incident(), NOW)) == []
    assert list(tracker.incident(incident(id="i2", state=State.RESOLVED), NOW)) == []
    assert list(tracker.waiting) == [WAITING.id]


def test_what_waits_for_a_cause_that_the_incident_does_not_name_any_more_is_withdrawn() -> None:
    tracker = waiting()
    other = (hypothesis("overload", "shop/catalog"),)
    assert list(tracker.incident(incident(hypotheses=other, ts=WAITING.proposal.ts - 1), NOW)) == [], "an older state"
    (gone,) = tracker.incident(incident(hypotheses=other, ts=WAITING.proposal.ts + 1), NOW + 1)
    assert (gone.id, gone.state, gone.blocked) == (WAITING.id, DecisionState.DENIED, "superseded")
    assert told(tracker, WAITING) == []


def test_with_the_kill_switch_on_an_approved_decision_is_denied_for_good() -> None:
    tracker = waiting()
    (approved,) = vote(tracker, approval(WAITING))
    tracker.switch.take(switch("on"), RING, NOW)
    tracker = restarted(tracker)
    (denied,) = told(tracker, approved)
    assert (denied.state, denied.blocked) == (DecisionState.DENIED, "killed")
    tracker.switch.take(switch("off", NOW + 1), RING, NOW + 1)
    assert told(tracker, approved) == []


def test_two_commands_are_never_at_work_on_one_service() -> None:
    tracker = ApprovalTracker()
    told(tracker, APPROVED, ALONE)
    second = decision(DecisionState.APPROVED, proposal(id="p2", target="shop/catalog/1"))
    (denied,) = told(tracker, second, ALONE)
    assert (denied.state, denied.blocked) == (DecisionState.DENIED, "lease_held")
    list(tracker.acted(result(decision=APPROVED.id), NOW))
    third = decision(DecisionState.APPROVED, proposal(id="p3", target="shop/catalog/1"))
    assert states(told(tracker, third, ALONE)) == ["Command", "dispatched"]


def test_the_epoch_of_a_service_grows_with_every_command_also_when_the_clock_stands() -> None:
    tracker, epochs = ApprovalTracker(), []
    for number in range(5):
        approved = decision(DecisionState.APPROVED, proposal(id=f"p{number}"))
        order, _ = told(tracker, approved, ALONE)
        epochs.append(order.epoch)
        list(tracker.acted(result(decision=approved.id), NOW))
        tracker = restarted(tracker)
    assert epochs == sorted(set(epochs))


def test_a_result_completes_its_decision_once() -> None:
    tracker = ApprovalTracker()
    told(tracker, APPROVED, ALONE)
    done = result(decision=APPROVED.id, outcome="timed_out", detail="no answer")
    (completed,) = tracker.acted(done, NOW)
    assert (completed.state, completed.reasons[-1]) == (DecisionState.COMPLETED, "timed_out: no answer")
    assert completed.outcome == "timed_out"
    assert list(tracker.acted(done, NOW)) == []
    assert list(tracker.acted(result(decision="unknown"), NOW)) == []
    assert told(tracker, APPROVED, ALONE) == []


@pytest.mark.parametrize(
    "state", [s for s in DecisionState if s not in (DecisionState.PENDING, DecisionState.APPROVED)], ids=str
)
def test_states_that_need_nothing_lead_to_nothing(state: DecisionState) -> None:
    assert told(ApprovalTracker(), decision(state), ALONE) == []


def test_memory_has_bounds() -> None:
    tracker = ApprovalTracker()
    tracker.epochs.update({f"s{number}/a": number for number in range(KEPT)})
    told(tracker, APPROVED, ALONE)
    for number in range(KEPT + 20):
        list(tracker.incident(incident(id=f"x{number}", state=State.RESOLVED), NOW))
        list(tracker.vote(LATER, f"opsloop.approvals-0-{number}", ASKING, NOW))
    assert [len(book) for book in (tracker.epochs, tracker.over, tracker.early)] == [KEPT] * 3


@pytest.mark.parametrize(
    ("state", "rules", "ends"),
    [
        (DecisionState.PENDING, ASKING, DecisionState.EXPIRED),
        (DecisionState.APPROVED, ALONE, DecisionState.COMPLETED),
    ],
)
def test_an_open_decision_for_which_there_is_no_room_is_ended_and_said_to_be(
    state: DecisionState, rules: Rules, ends: DecisionState
) -> None:
    tracker = ApprovalTracker()
    tracker.waiting.most = tracker.approved.most = tracker.dispatched.most = 2
    many = [decision(state, proposal(id=f"p{n}", target=f"shop/s{n}"), expires=NOW + 1_000) for n in range(3)]
    made = [m for of in many for m in told(tracker, of, rules) if isinstance(m, Decision) and m.state is ends]
    assert [(m.id, m.outcome) for m in made] == [(many[0].id, "unknown" if ends is DecisionState.COMPLETED else "")]
    assert many[0].id in tracker.ended


def test_a_decision_of_which_no_result_comes_ends_as_unknown_after_a_day() -> None:
    tracker = ApprovalTracker()
    told(tracker, APPROVED, ALONE)
    assert states(tracker.expire(ALONE, NOW + LOST_MS - 1)) == []
    (ended,) = restarted(tracker).expire(ALONE, NOW + LOST_MS)
    assert (ended.id, ended.state, ended.outcome) == (APPROVED.id, DecisionState.COMPLETED, "unknown")


def test_a_pending_decision_that_says_no_time_does_not_wait_for_ever() -> None:
    tracker = ApprovalTracker()
    list(tracker.decided(decision(DecisionState.PENDING, expires=0), ASKING, NOW))
    assert states(tracker.expire(ASKING, NOW)) == ["expired"]


DENIED = decision(DecisionState.DENIED, blocked="recently_remediated")


@pytest.mark.parametrize("order", [(DENIED, APPROVED), (APPROVED, DENIED), (DENIED, APPROVED, DENIED)])
def test_what_one_gate_denies_no_copy_of_the_proposal_at_another_gate_gets_done(order: tuple[Decision, ...]) -> None:
    tracker = ApprovalTracker()
    assert [made for of in order for made in tracker.decided(of, ALONE, NOW)] == []
    assert list(restarted(tracker).audited(audit(APPROVED), ALONE, NOW)) == []
    with pytest.raises(Refused, match="late"):
        vote(tracker, approval(WAITING))


def test_a_vote_in_a_word_that_is_not_known_is_neither_a_yes_nor_a_no() -> None:
    tracker = waiting()
    with pytest.raises(Refused, match="unknown_vote"):
        vote(tracker, approval(decision(), vote="abstain"))
    assert tracker.approved == {}
    assert len(tracker.waiting) == 1
