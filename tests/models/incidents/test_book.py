"""The incident book: one open incident per episode, whatever comes twice, late or in another order."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from models.incidents.book import CHANGES_KEPT, STORM
from tests.builders import CATALOG, NOW, cleared, decision, deploy, proposal, sample, topology
from tests.episodes import book_of, dispatched, done, down, reported, states
from topics.decisions import DecisionState
from topics.incidents import Incident, State, SymptomKind
from topics.signals import Contribution
from topics.spec import use_domains
from topics.verdicts import Effect

CALLS = topology(("shop/gateway", "shop/catalog"), ("shop/catalog", "shop/db"))


def test_a_symptom_opens_an_incident_that_says_what_where_and_why() -> None:
    opened = down(book_of())
    assert (opened.state, opened.step, opened.seq) == (State.TRIGGERED, "confirm", 0)
    assert (opened.entity, opened.symptom, opened.onset, opened.priority) == (CATALOG, SymptomKind.DOWN, NOW, 1)
    assert [(h.cause, h.target) for h in opened.hypotheses] == [("process_gone", CATALOG)]
    assert opened.evidence == (sample(CATALOG, NOW, SymptomKind.DOWN).evidence,)


def test_a_repeat_of_the_look_opens_nothing() -> None:
    book = book_of()
    down(book)
    assert list(book.admit(sample(CATALOG, NOW, SymptomKind.DOWN), NOW + 5)) == []
    assert list(book.admit(sample(CATALOG, NOW + 200, SymptomKind.DOWN), NOW + 200)) == []


def test_two_workers_give_the_same_episode_the_same_id() -> None:
    assert down(book_of()).id == down(book_of()).id != down(book_of(), ts=NOW + 1).id


def test_what_is_felt_along_the_calls_is_attached_and_the_rest_is_an_incident_of_its_own() -> None:
    book = book_of()
    book.event(CALLS)
    first = down(book, "shop/gateway/0")
    (revised,) = book.admit(sample("shop/db/0", NOW + 100, SymptomKind.DOWN), NOW + 100)
    assert (revised.id, revised.step, revised.seq) == (first.id, "revise", 1)
    assert revised.affected == ("shop/db/0", "shop/gateway/0")
    assert [h.target for h in revised.hypotheses] == ["shop/db/0", "shop/gateway/0"]
    assert len(revised.evidence) == 2
    (other,) = book.admit(sample("shop/mail/0", NOW + 200, SymptomKind.DOWN), NOW + 200)
    (elsewhere,) = book.admit(sample("bank/db/0", NOW + 200, SymptomKind.DOWN), NOW + 200)
    assert len({first.id, other.id, elsewhere.id}) == 3


DATABASE = topology(("web/cart", "db-host/postgres"), ("web/cart", "web/stock"))


def both(book: Any) -> tuple[Incident, Incident]:
    """Symptoms in two systems of which one calls the other, with the incident that each is in."""
    book.event(msgspec.structs.replace(DATABASE, entity="web"))
    first = down(book, "web/cart/0")
    (second,) = book.admit(sample("db-host/postgres", NOW + 100, SymptomKind.DOWN), NOW + 100)
    return first, second


def test_a_call_from_one_system_to_another_joins_their_symptoms_within_a_domain() -> None:
    first, second = both(book_of())
    assert (second.id, second.affected) == (first.id, ("db-host/postgres", "web/cart/0"))
    assert second.hypotheses[0].target == "db-host/postgres", "the deepest along the calls is blamed"


def test_nothing_is_joined_across_domains_not_even_along_a_call() -> None:
    use_domains({"db-*": "databases"})
    first, second = both(book_of())
    assert (second.step, first.id == second.id) == ("confirm", False)


def test_two_faults_without_a_call_between_them_are_two_incidents_of_one_domain() -> None:
    book = book_of()
    book.event(msgspec.structs.replace(DATABASE, entity="web"))
    book.event(msgspec.structs.replace(topology(("bank/api", "bank/db")), entity="bank"))
    found = {down(book, entity).id for entity in ("web/stock/0", "db-host/postgres", "bank/db", "web-1", "web-2")}
    assert len(found) == len(book.incidents) == 5
    (joined,) = book.admit(sample("bank/api/0", NOW + 100, SymptomKind.DOWN), NOW + 100)
    assert joined.affected == ("bank/api/0", "bank/db")


def test_an_attached_symptom_can_only_raise_the_priority() -> None:
    book = book_of()
    for ts in range(NOW, NOW + 1_000, 200):
        opened = list(book.admit(sample(CATALOG, ts, SymptomKind.MEMORY), ts))
    (opened,) = opened
    (revised,) = book.admit(sample("shop/catalog/1", NOW + 1_000, SymptomKind.DOWN), NOW + 1_000)
    assert (opened.priority, revised.priority) == (2, 1)


def test_what_is_seen_after_an_action_does_not_change_the_hypotheses() -> None:
    book = book_of()
    opened = down(book)
    list(book.decided(dispatched(opened), NOW))
    (revised,) = book.admit(sample("shop/catalog/1", NOW + 100, SymptomKind.DOWN), NOW + 100)
    assert revised.hypotheses == opened.hypotheses
    assert revised.affected == (CATALOG, "shop/catalog/1")


def test_a_new_symptom_between_two_actions_changes_the_hypotheses() -> None:
    book = book_of()
    (opened,) = surplus(book, NOW)
    list(book.decided(dispatched(opened), NOW + 22_000))
    list(book.judged(reported(opened, effect=Effect.INEFFECTIVE), NOW + 23_000))
    (revised,) = book.admit(sample(CATALOG, NOW + 24_000, SymptomKind.DOWN), NOW + 24_000)
    assert (revised.id, revised.state, revised.step) == (opened.id, State.MITIGATING, "revise")
    assert (revised.hypotheses[0].cause, revised.hypotheses[0].target) == ("process_gone", CATALOG)


def told_in(order: tuple[str, ...]) -> list[Incident]:
    """The incident's states when a dispatched decision, its result and its verdict come in this order, each twice."""
    book = book_of()
    opened = down(book)
    book.observe(cleared(CATALOG, NOW + 50))
    say = {
        "decision": lambda: book.decided(dispatched(opened), NOW + 100),
        "result": lambda: book.acted(done(opened), NOW + 100),
        "verdict": lambda: book.judged(reported(opened), NOW + 100),
    }
    return [state for what in order for _ in range(2) for state in say[what]()]


@pytest.mark.parametrize("order", list(itertools.permutations(["decision", "result", "verdict"])), ids=" ".join)
def test_decision_result_and_verdict_close_it_in_whatever_order_they_are_read(order: tuple[str, ...]) -> None:
    """They stand on three topics, so one may overtake another."""
    told = told_in(order)
    assert states(told) == [("act", "mitigating"), ("probe", "verifying"), ("cured", "resolved")]
    assert told[-1].closed_as == "remediated"
    assert [i.seq for i in told] == [1, 2, 3]
    assert len(told[-1].attempts) == 1


def test_an_ineffective_action_sends_it_back_with_fresh_hypotheses_and_late_repeats_change_nothing() -> None:
    book = book_of()
    opened = down(book)
    told = [*book.decided(dispatched(opened), NOW), *book.acted(done(opened), NOW)]
    told += book.judged(reported(opened, effect=Effect.INEFFECTIVE), NOW)
    assert states(told)[-1] == ("still_wrong", "mitigating")
    for late in (book.acted(done(opened), NOW), book.judged(reported(opened), NOW)):
        assert list(late) == []
    told += [*book.decided(dispatched(opened, 1), NOW), *book.acted(done(opened, 1), NOW)]
    assert list(book.judged(reported(opened), NOW)) == [], "a verdict on the action before says nothing about this one"
    told += book.judged(reported(opened, 1), NOW)
    assert states(told)[-1] == ("cured", "resolved")
    assert told[-1].attempts == (dispatched(opened).id, dispatched(opened, 1).id)


def test_what_verification_could_not_see_needs_a_person_and_no_next_action() -> None:
    book = book_of()
    opened = down(book)
    told = [*book.decided(dispatched(opened), NOW), *book.acted(done(opened), NOW)]
    told += book.judged(reported(opened, effect=Effect.MANUAL_REVIEW), NOW)
    assert states(told)[-1] == ("escalate", "verifying")


@pytest.mark.parametrize("state", [DecisionState.REJECTED, DecisionState.EXPIRED], ids=str)
def test_a_refusal_by_people_is_escalated_once(state: DecisionState) -> None:
    book = book_of()
    refusal = decision(state, proposal(incident=down(book).id))
    assert states([*book.decided(refusal, NOW), *book.decided(refusal, NOW)]) == [("escalate", "triggered")]


@pytest.mark.parametrize("state", [DecisionState.PENDING, DecisionState.APPROVED, DecisionState.COMPLETED], ids=str)
def test_other_states_of_a_decision_say_nothing_about_the_incident(state: DecisionState) -> None:
    book = book_of()
    assert list(book.decided(decision(state, proposal(incident=down(book).id)), NOW)) == []


def surplus(book: Any, start: int) -> list[Incident]:
    """What 21 s of looks at too many replicas of the mail service lead to."""
    return [
        state for ts in range(start, start + 21_000, 500)
        for state in book.admit(sample("shop/catalog", ts, SymptomKind.SURPLUS), ts)
    ]  # fmt: skip


def test_less_capacity_is_not_asked_for_while_something_else_hurts_but_afterwards() -> None:
    book = book_of()
    opened = down(book)
    assert surplus(book, NOW + 1_000) == []
    list(book.decided(dispatched(opened), NOW + 30_000))
    told = list(book.judged(reported(opened), NOW + 30_000))
    assert states(told)[1:] == [("cured", "resolved"), ("confirm", "triggered")]
    assert told[-1].symptom is SymptomKind.SURPLUS
    assert [h.cause for h in told[-1].hypotheses] == ["idle_capacity"]


def test_a_surplus_alone_is_an_incident_of_least_priority() -> None:
    (opened,) = surplus(book_of(), NOW)
    assert (opened.symptom, opened.priority) == (SymptomKind.SURPLUS, 4)


def test_changes_are_suspects_in_the_order_of_their_times_once_each_and_not_for_ever() -> None:
    book = book_of()
    newer, older = deploy("shop/catalog", NOW - 1_000, "8", "7"), deploy("shop/catalog", NOW - 9_000, "7", "6")
    for event in (newer, older, newer):
        book.event(event)
    assert [book.changes[key] for key in sorted(book.changes)] == [older, newer]
    for number in range(CHANGES_KEPT + 20):
        book.event(deploy("shop/cart", NOW + number, str(number), "0"))
    assert len(book.changes) == CHANGES_KEPT


def test_a_later_look_that_explains_it_better_revises_the_incident_as_long_as_nothing_was_done() -> None:
    slow = Contribution("http.server.own_duration.p95", 20.0, 0.6, 0.13)
    busy = Contribution("http.server.request_rate", 8.0, 55.0, 19.0)
    book, told = book_of(), []
    for ts in range(NOW, NOW + 1_500, 250):
        told += book.admit(sample(CATALOG, ts, slow), ts)
    assert [h.cause for h in told[-1].hypotheses] == ["slowness"]
    (revised,) = book.admit(sample(CATALOG, NOW + 1_500, slow, busy), NOW + 1_500)
    assert (revised.step, revised.hypotheses[0].cause) == ("revise", "overload")
    assert list(book.admit(sample(CATALOG, NOW + 1_750, slow), NOW + 1_750)) == [], "and it stays so"


@pytest.mark.parametrize(
    ("blocked", "step"), [("not_allowed", "escalate"), ("frozen", "confirm"), ("killed", "confirm")]
)
def test_a_refusal_that_no_waiting_changes_needs_a_person(blocked: str, step: str) -> None:
    book = book_of()
    opened = down(book)
    refused = decision(DecisionState.DENIED, proposal(incident=opened.id), blocked=blocked)
    list(book.decided(refused, NOW + 10))
    assert book.incidents[opened.id].step == step


def test_a_verdict_that_is_not_known_needs_a_person_and_no_next_action() -> None:
    book = book_of()
    opened = down(book)
    told = [*book.decided(dispatched(opened), NOW), *book.acted(done(opened), NOW)]
    told += book.judged(reported(opened, effect=Effect("worsened")), NOW)
    assert states(told)[-1] == ("escalate", "verifying")


@pytest.mark.parametrize("changes", [{"state": "muted"}, {"view": "third"}], ids=str)
def test_a_look_in_words_that_are_not_known_neither_opens_nor_ends_anything(changes: dict[str, str]) -> None:
    book = book_of()
    assert list(book.admit(sample(CATALOG, NOW, SymptomKind.DOWN, **changes), NOW)) == []
    down(book, ts=NOW + 1)
    list(book.admit(sample(CATALOG, NOW + 2, **changes), NOW + 2))
    assert [s.symptom for s in book.symptoms.confirmed()] == [SymptomKind.DOWN]


def test_a_symptom_of_a_newer_version_in_the_state_breaks_nothing() -> None:
    book = book_of()
    opened = down(book)
    (known,) = book.symptoms.on[CATALOG]
    book.symptoms.on[CATALOG] = (msgspec.structs.replace(known, symptom="flapping"),)
    list(book.admit(sample("shop/catalog/1", NOW + 1, SymptomKind.DOWN), NOW + 1))
    assert book.incidents[opened.id].hypotheses


PROBED = Contribution("probe_success", -30.0, 0.0, 1.0)


@pytest.mark.parametrize("felt_first", [True, False])
def test_what_is_felt_where_nobody_knows_the_calls_joins_what_hurts_in_the_same_system(felt_first: bool) -> None:
    looks = [("shop/probe", PROBED), ("shop/catalog/0", SymptomKind.DOWN)]
    book, told = book_of(), []
    for n, (entity, shown) in enumerate(looks if felt_first else looks[::-1]):
        for at in range(3):
            ts = NOW + 3_000 * n + 1_000 * at
            told += book.admit(sample(entity, ts, shown), ts)
    assert len({incident.id for incident in told}) == 1
    assert told[-1].affected == ("shop/catalog/0", "shop/probe")
    assert (told[-1].hypotheses[0].cause, told[-1].hypotheses[0].target) == ("process_gone", "shop/catalog/0")
    assert told[-1].priority == 1


@pytest.mark.parametrize(("others", "joins"), [(STORM, True), (STORM + 1, False)])
def test_in_a_storm_of_incidents_what_is_felt_says_nothing_of_where_it_comes_from(others: int, joins: bool) -> None:
    book = book_of()
    opened = {down(book, f"shop/service{number}/0").id for number in range(others)}
    told = [i for n in range(3) for i in book.admit(sample("shop/probe", NOW + n * 1_000, PROBED), NOW)]
    assert {incident.id in opened for incident in told} == {joins}


def test_what_is_felt_where_the_calls_are_known_is_an_incident_of_its_own() -> None:
    for calls in (("shop/probe", "shop/cart"), ("shop/cart", "shop/probe")):
        book = book_of()
        book.event(topology(calls))
        down(book)
        told = [i for n in range(3) for i in book.admit(sample("shop/probe", NOW + n * 1_000, PROBED), NOW)]
        assert [incident.affected for incident in told] == [("shop/probe",)]
