"""The planner: one proposal at a time, the next one after a verdict, and patience with refusals that pass."""

from __future__ import annotations

import msgspec
import pytest

from models.decision.advisor import Bounds
from models.decision.planner import EARLY_KEPT, PONDER_MS, RETRY_MS, Planner
from models.safety.signing import PROPOSAL_TTL_MS
from tests.builders import BUSY, CATALOG, KNOWN, NOW, decision, hypothesis, incident, sample
from topics.decisions import PASSING, Decision, DecisionState
from topics.incidents import Incident, State, SymptomKind
from topics.proposals import Proposal

BOUNDS = Bounds()
TWO_WAYS = (hypothesis("bad_configuration"),)


def first(book: Planner, told: Incident | None = None) -> Proposal:
    """What is proposed for an incident that has just been triggered."""
    (made,) = book.incident(told or incident(hypotheses=TWO_WAYS), BOUNDS, NOW)
    return made


def refused(made: Proposal, blocked: str) -> Decision:
    return decision(DecisionState.DENIED, made, blocked=blocked)


def ticks(book: Planner, start: int, until: int) -> list[tuple[int, Proposal]]:
    return [(now, made) for now in range(start, until, 100) for made in book.expire(BOUNDS, now)]


def test_an_incident_leads_to_one_proposal_however_often_it_is_told() -> None:
    book = Planner(knowledge=KNOWN)
    made = first(book)
    assert made.action == "rollback_config"
    assert list(book.incident(incident(hypotheses=TWO_WAYS), BOUNDS, NOW)) == []
    assert list(book.incident(incident(hypotheses=TWO_WAYS, seq=1, step="revise"), BOUNDS, NOW)) == []


def test_after_a_verdict_that_it_is_still_wrong_the_next_option_is_proposed_once() -> None:
    book = Planner(knowledge=KNOWN)
    made = first(book)
    assert list(book.incident(incident(seq=1, state=State.MITIGATING, step="act"), BOUNDS, NOW)) == []
    wrong = incident(hypotheses=TWO_WAYS, seq=3, state=State.MITIGATING, step="still_wrong")
    (second,) = book.incident(wrong, BOUNDS, NOW)
    assert (second.action, second.attempt) == ("restart_service", 1)
    assert second.id != made.id
    assert list(book.incident(wrong, BOUNDS, NOW)) == [], "a repeat of the record"
    again = incident(hypotheses=TWO_WAYS, seq=6, state=State.MITIGATING, step="still_wrong")
    assert list(book.incident(again, BOUNDS, NOW)) == [], "nothing is left to try"


def test_while_an_effect_is_looked_for_nothing_is_proposed() -> None:
    assert list(Planner(knowledge=KNOWN).incident(incident(state=State.VERIFYING, step="probe"), BOUNDS, NOW)) == []


@pytest.mark.parametrize("blocked", sorted(PASSING))
def test_a_refusal_that_passes_is_tried_again_after_growing_waits(blocked: str) -> None:
    book = Planner(knowledge=KNOWN)
    made, now, ids = first(book), NOW, []
    for wait in (RETRY_MS, 2 * RETRY_MS, 4 * RETRY_MS, 8 * RETRY_MS, 16 * RETRY_MS, 32 * RETRY_MS, 32 * RETRY_MS):
        ids.append(made.id)
        book.decided(refused(made, blocked), now)
        ((at, made),) = ticks(book, now, now + wait + 100)
        assert at - now == wait
        assert (made.action, made.attempt) == ("rollback_config", 0), "the same is proposed again"
        now = at
    assert len(set(ids)) == len(ids), "a new proposal each time, or the gate would not answer it"


@pytest.mark.parametrize("blocked", ["mode", "not_allowed", "consecutive_failures", ""])
def test_a_refusal_that_does_not_pass_ends_it(blocked: str) -> None:
    book = Planner(knowledge=KNOWN)
    book.decided(refused(first(book), blocked), NOW)
    assert ticks(book, NOW, NOW + 400_000) == []
    assert list(book.incident(incident(hypotheses=TWO_WAYS, seq=1, step="revise"), BOUNDS, NOW)) == []


@pytest.mark.parametrize("state", [DecisionState.REJECTED, DecisionState.EXPIRED], ids=str)
def test_what_a_person_refused_is_not_proposed_again(state: DecisionState) -> None:
    book = Planner(knowledge=KNOWN)
    book.decided(decision(state, first(book)), NOW)
    assert ticks(book, NOW, NOW + 400_000) == []
    told = incident(hypotheses=TWO_WAYS, seq=4, state=State.MITIGATING, step="still_wrong")
    assert list(book.incident(told, BOUNDS, NOW)) == []


@pytest.mark.parametrize(
    "state", [DecisionState.PENDING, DecisionState.APPROVED, DecisionState.DISPATCHED, DecisionState.COMPLETED], ids=str
)
def test_other_answers_leave_the_proposal_on_its_way(state: DecisionState) -> None:
    book = Planner(knowledge=KNOWN)
    made = first(book)
    book.decided(decision(state, made), NOW)
    assert book.plans["i1"].open == made.id
    assert ticks(book, NOW, NOW + 400_000) == []


def test_a_proposal_that_nobody_answers_before_it_expires_is_made_again_under_another_id() -> None:
    book = Planner(knowledge=KNOWN)
    made = first(book)
    assert ticks(book, NOW, NOW + PROPOSAL_TTL_MS) == []
    ((when, again),) = ticks(book, NOW + PROPOSAL_TTL_MS, NOW + PROPOSAL_TTL_MS + 60_000)
    assert (when, again.action, again.attempt) == (NOW + PROPOSAL_TTL_MS + RETRY_MS, made.action, made.attempt)
    assert again.id != made.id


def test_a_proposal_that_was_answered_or_acted_on_is_not_made_again_when_it_expires() -> None:
    answered, acted = Planner(knowledge=KNOWN), Planner(knowledge=KNOWN)
    answered.decided(decision(DecisionState.PENDING, first(answered)), NOW)
    first(acted)
    list(acted.incident(incident(seq=1, state=State.MITIGATING, step="act"), BOUNDS, NOW))
    for book in (answered, acted):
        assert ticks(book, NOW, NOW + 2 * PROPOSAL_TTL_MS) == []


def test_a_refusal_is_counted_once() -> None:
    book = Planner(knowledge=KNOWN)
    made = first(book)
    for _ in range(3):
        book.decided(refused(made, "killed"), NOW)
    assert book.plans["i1"].retries == 1
    assert [at - NOW for at, _ in ticks(book, NOW, NOW + 60_000)] == [RETRY_MS]


def test_a_refusal_that_is_read_before_its_proposal_is_made_again_counts_too() -> None:
    """After a crash the decisions may be read again before the incidents."""
    made = first(Planner(knowledge=KNOWN))
    book = Planner(knowledge=KNOWN)
    book.decided(refused(made, "killed"), NOW)
    assert first(book) == made
    assert [at - NOW for at, _ in ticks(book, NOW, NOW + 60_000)] == [RETRY_MS]


def test_an_incident_that_is_over_is_forgotten_and_late_records_do_not_open_it() -> None:
    book = Planner(knowledge=KNOWN)
    made = first(book)
    book.decided(refused(made, "killed"), NOW)
    assert list(book.incident(incident(seq=4, state=State.RESOLVED, step="self_resolved"), BOUNDS, NOW)) == []
    assert list(book.incident(incident(seq=1, step="revise"), BOUNDS, NOW)) == []
    assert ticks(book, NOW, NOW + 60_000) == []
    assert book.plans == {}


def test_answers_that_nobody_waits_for_do_not_pile_up() -> None:
    book = Planner(knowledge=KNOWN)
    made = first(book)
    for number in range(EARLY_KEPT + 50):
        book.decided(refused(msgspec.structs.replace(made, id=f"p{number}"), "killed"), NOW)
    assert len(book.early) == EARLY_KEPT


def test_a_weak_proposal_is_pondered_and_a_better_cause_that_shows_meanwhile_is_taken() -> None:
    weak, strong = (hypothesis("slowness", "shop/catalog", 0.55),), (hypothesis("overload", "shop/catalog", 0.94),)
    book = Planner(knowledge=KNOWN)
    assert list(book.incident(incident(hypotheses=weak), BOUNDS, NOW)) == []
    assert list(book.expire(BOUNDS, NOW + PONDER_MS - 1)) == []
    (made,) = book.incident(incident(hypotheses=strong, seq=1, step="revise"), BOUNDS, NOW + 1_000)
    assert made.action == "scale_out"


def test_a_weak_proposal_is_made_when_nothing_better_shows() -> None:
    book = Planner(knowledge=KNOWN)
    assert list(book.incident(incident(hypotheses=(hypothesis("slowness", "shop/catalog", 0.55),)), BOUNDS, NOW)) == []
    ((at, made),) = ticks(book, NOW, NOW + PONDER_MS + 1_000)
    assert (at, made.action) == (NOW + PONDER_MS, "restart_service")


IDLE = (hypothesis("idle_capacity", "shop/catalog", 0.80),)
KILLED = (hypothesis(), *IDLE)


@pytest.mark.parametrize("answer", [None, DecisionState.PENDING, DecisionState.REJECTED, DecisionState.EXPIRED])
def test_a_new_first_hypothesis_is_proposed_for_at_once_whatever_became_of_the_proposal_before(
    answer: DecisionState | None,
) -> None:
    """Too much capacity was found first, and then an instance died within the same incident."""
    book = Planner(knowledge=KNOWN)
    before = first(book, incident(hypotheses=IDLE, symptom=SymptomKind.SURPLUS, priority=4))
    if answer:
        book.decided(decision(answer, before), NOW)
    revised = incident(hypotheses=KILLED, seq=1, step="revise", ts=NOW + 9_000)
    (made,) = book.incident(revised, BOUNDS, NOW + 9_000)
    assert (before.action, made.action, made.target) == ("scale_in", "restart_service", CATALOG)
    assert list(book.incident(incident(hypotheses=KILLED, seq=2, step="revise"), BOUNDS, NOW + 9_500)) == []


def test_a_proposal_stays_when_the_new_first_hypothesis_asks_for_the_same() -> None:
    book = Planner(knowledge=KNOWN)
    made = first(book, incident(hypotheses=(hypothesis("process_hung"),)))
    told = incident(hypotheses=(hypothesis(), hypothesis("process_hung")), seq=1, step="revise")
    assert list(book.incident(told, BOUNDS, NOW)) == []
    assert book.plans["i1"].open == made.id


def test_a_proposal_that_was_replaced_can_be_made_again_under_another_id() -> None:
    book = Planner(knowledge=KNOWN)
    made = [first(book, incident(hypotheses=IDLE))]
    for seq, known in enumerate((KILLED, IDLE, KILLED), start=1):
        made += book.incident(incident(hypotheses=known, seq=seq, step="revise"), BOUNDS, NOW + seq)
    assert [m.action for m in made] == ["scale_in", "restart_service", "scale_in", "restart_service"]
    assert len({m.id for m in made}) == 4


def test_what_was_dispatched_although_it_had_been_replaced_counts_as_tried() -> None:
    book = Planner(knowledge=KNOWN)
    before = first(book, incident(hypotheses=IDLE))
    (made,) = book.incident(incident(hypotheses=KILLED, seq=1, step="revise"), BOUNDS, NOW)
    book.decided(decision(DecisionState.DISPATCHED, before), NOW)
    book.decided(decision(DecisionState.DISPATCHED, made), NOW)
    wrong = incident(hypotheses=IDLE, seq=4, state=State.MITIGATING, step="still_wrong")
    assert list(book.incident(wrong, BOUNDS, NOW)) == [], "both were tried"


@pytest.mark.parametrize(("period", "age", "used"), [(0, 29, True), (0, 31, False), (60, 119, True), (60, 121, False)])
def test_a_load_is_used_for_half_a_minute_or_two_sample_periods(period: int, age: int, used: bool) -> None:
    book = Planner(knowledge=KNOWN)
    book.observe(sample(CATALOG, NOW - age * 1_000, BUSY, period_ms=period * 1_000))
    assert (first(book).context["load"] == 3.0) is used
