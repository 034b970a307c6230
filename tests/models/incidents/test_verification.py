"""Verification: gone, and for long enough, by looks and never by silence."""

from __future__ import annotations

from typing import Any

import pytest

from models.incidents.verification import FAILED, JUDGED_KEPT, VerificationSettings
from tests.builders import CATALOG, HURTS, NOW, cleared, decision, incident, proposal, result, sample
from tests.episodes import verifier
from topics.decisions import DecisionState
from topics.incidents import State, SymptomKind
from topics.spec import Instant
from topics.verdicts import EXPECTATION, RESULT, SYMPTOM, Effect, Verdict

SETTINGS = VerificationSettings(hold_ms=2_500, patience_ms=15_000)


def verdicts_of(book: Any, now: Instant) -> list[Verdict]:
    """The verdicts at a time, after something was read of every system."""
    return list(book.judge(book.watches.groups(), now, SETTINGS))


def hurt(*affected: str) -> Any:
    """A verifier that sees dead processes, and follows their incident."""
    book = verifier()
    book.incident(incident(affected=affected or (CATALOG,)))
    for entity in affected or (CATALOG,):
        book.observe(sample(entity, NOW - 1_000, SymptomKind.DOWN))
    return book


def judged(book: Any, start: int, until: int) -> list[tuple[int, Effect]]:
    """When verdicts came, in milliseconds after NOW, and what they were."""
    return [(v.ts - NOW, v.effect) for now in range(start, until, 100) for v in verdicts_of(book, now)]


def test_a_symptom_that_stays_away_for_the_hold_time_is_remediated() -> None:
    book = hurt()
    book.acted(result(ts=NOW))
    assert judged(book, NOW, NOW + 4_000) == []
    book.observe(cleared(CATALOG, NOW + 4_000))
    assert judged(book, NOW + 4_000, NOW + 60_000) == [(6_500, Effect.REMEDIATED)]


def test_a_symptom_that_comes_back_within_the_hold_time_was_not_gone() -> None:
    book = hurt()
    book.acted(result(ts=NOW))
    book.observe(cleared(CATALOG, NOW + 100))
    assert judged(book, NOW + 100, NOW + 2_600) == []
    book.observe(sample(CATALOG, NOW + 2_500, SymptomKind.DOWN))
    assert judged(book, NOW + 2_600, NOW + 6_000) == []
    book.observe(cleared(CATALOG, NOW + 6_000))
    assert judged(book, NOW + 6_000, NOW + 60_000) == [(8_500, Effect.REMEDIATED)]


def test_a_symptom_that_is_still_there_when_patience_ends_was_not_cured() -> None:
    book = hurt()
    book.acted(result(ts=NOW))
    assert judged(book, NOW, NOW + 14_000) == []
    book.observe(sample(CATALOG, NOW + 14_000, SymptomKind.DOWN))
    assert judged(book, NOW + 14_000, NOW + 60_000) == [(15_000, Effect.INEFFECTIVE)]


def test_a_symptom_that_was_last_seen_just_after_the_action_is_for_a_person() -> None:
    book = hurt()
    book.acted(result(ts=NOW))
    book.observe(sample(CATALOG, NOW + 7_000, SymptomKind.DOWN))
    assert judged(book, NOW + 7_000, NOW + 60_000) == [(15_000, Effect.MANUAL_REVIEW)]


@pytest.mark.parametrize("period", [1_000, 15_000, 60_000])
def test_hold_and_patience_are_so_many_samples_of_a_slow_entity(period: int) -> None:
    hold, patience = max(2_500, 2 * period), max(15_000, 10 * period)
    for until, expected in ((NOW + 4 * period, Effect.REMEDIATED), (NOW + 20 * period, Effect.INEFFECTIVE)):
        book = verifier()
        book.incident(incident())
        book.observe(sample(CATALOG, NOW - period, SymptomKind.DOWN, period_ms=period))
        book.acted(result(ts=NOW))
        found = []
        for ts in range(NOW, NOW + 30 * period + 30_000, 500):
            if (ts - NOW) % period == 0:
                book.observe(sample(CATALOG, ts, SymptomKind.DOWN) if ts < until else cleared(CATALOG, ts))
            found += [(v.ts - NOW, v.effect) for v in verdicts_of(book, ts)]
        late = until - NOW + hold if expected is Effect.REMEDIATED else patience
        assert found == [(late, expected)]


def test_a_symptom_that_is_gone_just_before_patience_ends_gets_its_hold_time() -> None:
    book = hurt()
    book.acted(result(ts=NOW))
    book.observe(cleared(CATALOG, NOW + 14_900))
    assert judged(book, NOW + 14_900, NOW + 60_000) == [(17_400, Effect.REMEDIATED)]


def test_without_a_look_since_the_action_nobody_calls_it_cured() -> None:
    book = hurt()
    book.observe(sample(CATALOG, NOW - 100))
    book.acted(result(ts=NOW))
    verdicts = [v for now in range(NOW, NOW + 60_000, 100) for v in verdicts_of(book, now)]
    assert [v.effect for v in verdicts] == [Effect.MANUAL_REVIEW]
    assert verdicts[0].reasons == (f"no look at {CATALOG} since the action: telemetry is missing",)


def test_an_entity_whose_alarm_had_ended_before_the_action_is_not_waited_for() -> None:
    book = hurt(CATALOG, "shop/gateway/0")
    book.observe(cleared("shop/gateway/0", NOW - 500))
    book.acted(result(ts=NOW))
    book.observe(cleared(CATALOG, NOW + 1_000))
    assert judged(book, NOW + 1_000, NOW + 60_000) == [(3_500, Effect.REMEDIATED)]


def test_every_affected_entity_must_be_well_those_that_came_later_too() -> None:
    book = hurt(CATALOG, "shop/gateway/0")
    book.acted(result(ts=NOW))
    book.observe(cleared(CATALOG, NOW + 100))
    assert judged(book, NOW + 100, NOW + 6_000) == []
    book.incident(incident(seq=1, affected=(CATALOG, "shop/gateway/0", "shop/cart/0")))
    book.observe(sample("shop/cart/0", NOW + 6_000, SymptomKind.DOWN))
    book.observe(cleared("shop/gateway/0", NOW + 6_000))
    assert judged(book, NOW + 6_000, NOW + 10_000) == []
    book.observe(cleared("shop/cart/0", NOW + 10_000))
    assert judged(book, NOW + 10_000, NOW + 60_000) == [(12_500, Effect.REMEDIATED)]


@pytest.mark.parametrize("outcome", FAILED)
def test_an_action_that_failed_is_judged_at_once(outcome: str) -> None:
    book = hurt()
    book.acted(result(ts=NOW, outcome=outcome, detail="no such process"))
    (verdict,) = verdicts_of(book, NOW)
    assert verdict.effect is Effect.INEFFECTIVE
    assert verdict.reasons == (f"restart_service on {CATALOG} {outcome}: no such process",)
    assert (verdict.entity, verdict.incident, verdict.command) == (CATALOG, "i1", "c1")


def test_an_action_whose_outcome_is_unknown_is_judged_by_its_effect() -> None:
    book = hurt()
    book.acted(result(ts=NOW, outcome="unknown"))
    book.observe(cleared(CATALOG, NOW + 100))
    assert judged(book, NOW + 100, NOW + 60_000) == [(2_600, Effect.REMEDIATED)]


@pytest.mark.parametrize(
    ("symptom", "effect"), [(SymptomKind.SURPLUS, Effect.INEFFECTIVE), (SymptomKind.SATURATION, Effect.REMEDIATED)]
)
def test_a_surplus_matters_only_to_an_incident_about_it(symptom: SymptomKind, effect: Effect) -> None:
    book = verifier()
    book.incident(incident(affected=("shop/catalog",), symptom=symptom))
    book.acted(result(ts=NOW))
    for ts in range(NOW - 30_000, NOW + 15_000, 500):
        book.observe(sample("shop/catalog", ts, SymptomKind.SURPLUS))
    assert [effect for _, effect in judged(book, NOW, NOW + 60_000)] == [effect]


def test_a_result_that_comes_again_is_judged_once() -> None:
    book = hurt()
    verdicts: list[Verdict] = []
    for _ in range(3):
        book.acted(result(ts=NOW, outcome="failed"))
        verdicts += verdicts_of(book, NOW)
    assert len(verdicts) == 1


def test_a_result_that_comes_before_its_incident_waits_for_it_but_not_for_ever() -> None:
    book = verifier()
    book.acted(result(ts=NOW, outcome="failed"))
    assert judged(book, NOW, NOW + 1_000) == []
    book.incident(incident())
    assert judged(book, NOW + 1_000, NOW + 1_100) == [(1_000, Effect.INEFFECTIVE)]
    book.acted(result(command="c2", incident="i2", ts=NOW))
    judged(book, NOW, NOW + 15_100)
    assert book.watches == {}


def test_an_incident_that_is_over_is_watched_no_more_nor_opened_by_late_records() -> None:
    book = hurt()
    book.acted(result(ts=NOW))
    book.incident(incident(seq=5, state=State.RESOLVED))
    book.incident(incident(seq=1))
    book.acted(result(ts=NOW, command="c2"))
    assert (book.watches, book.incidents.open) == ({}, {})


def test_verdicts_have_ids_that_any_worker_gives_them() -> None:
    def verdict() -> Verdict:
        book = hurt()
        book.acted(result(outcome="failed"))
        return verdicts_of(book, NOW)[0]

    assert verdict() == verdict()


def test_the_memory_of_judged_commands_has_a_bound() -> None:
    book = hurt()
    for number in range(JUDGED_KEPT + 20):
        book.acted(result(command=f"c{number}", outcome="failed"))
        verdicts_of(book, NOW)
    assert len(book.judged) == JUDGED_KEPT


METRIC = HURTS[SymptomKind.SATURATION].metric


def asked_for(expects: str = METRIC, *, outcome: str = "succeeded", known: bool = True) -> Any:
    """A verifier of an action on the catalogue that somebody has asked for without an incident."""
    book = verifier()
    proposed = proposal(incident="", requester="olga", target="shop/catalog", expects=expects)
    made = decision(DecisionState.DISPATCHED, proposed, command="c1")
    book.observe(sample(CATALOG, NOW - 500, SymptomKind.SATURATION))
    if known:
        book.decided(made)
    book.acted(result(ts=NOW, incident="", decision=made.id, target="shop/catalog", outcome=outcome))
    return book


def verdicts(book: Any, start: int = NOW, until: int = NOW + 60_000) -> list[tuple[int, Effect, str]]:
    return [(v.ts - NOW, v.effect, v.basis) for now in range(start, until, 100) for v in verdicts_of(book, now)]


def test_what_was_asked_for_with_an_expectation_is_judged_by_it() -> None:
    book = asked_for()
    assert verdicts(book, until=NOW + 4_000) == []
    book.observe(cleared(CATALOG, NOW + 4_000))
    assert verdicts(book, NOW + 4_000) == [(6_500, Effect.REMEDIATED, EXPECTATION)]


def test_an_expectation_that_is_not_met_in_time_was_disappointed() -> None:
    book = asked_for("http.server.*")
    book.observe(sample(CATALOG, NOW + 8_000, SymptomKind.LATENCY))
    (verdict,) = [v for now in range(NOW, NOW + 60_000, 100) for v in verdicts_of(book, now)]
    assert (verdict.ts - NOW, verdict.effect, verdict.basis) == (15_000, Effect.INEFFECTIVE, EXPECTATION)
    assert verdict.reasons == ("http.server.* of shop/catalog/0 is still off after 15 s",)
    assert (verdict.entity, verdict.incident, verdict.command) == ("shop/catalog", "", "c1")


def test_an_expectation_that_no_look_has_answered_since_is_for_a_person() -> None:
    assert verdicts(asked_for()) == [(15_000, Effect.MANUAL_REVIEW, EXPECTATION)]


@pytest.mark.parametrize(
    ("outcome", "effect"),
    [("succeeded", Effect.REMEDIATED), ("failed", Effect.INEFFECTIVE), ("timed_out", Effect.INEFFECTIVE),
     ("refused", Effect.MANUAL_REVIEW), ("canceled", Effect.MANUAL_REVIEW), ("unknown", Effect.MANUAL_REVIEW)],
)  # fmt: skip
def test_without_an_expectation_the_actuators_own_result_decides_and_the_verdict_says_so(
    outcome: str, effect: Effect
) -> None:
    (verdict,) = verdicts_of(asked_for("", outcome=outcome), NOW)
    assert (verdict.effect, verdict.basis) == (effect, RESULT)
    assert verdict.reasons == (f"by the actuator's own result: {outcome}, done",)


def test_an_action_that_failed_has_met_no_expectation() -> None:
    assert verdicts(asked_for(outcome="failed")) == [(0, Effect.INEFFECTIVE, RESULT)]


def test_an_expectation_that_nothing_has_ever_shown_says_nothing_and_the_result_decides() -> None:
    book = asked_for("process.memory.usage")
    (verdict,) = [v for now in range(NOW, NOW + 60_000, 100) for v in verdicts_of(book, now)]
    assert (verdict.ts - NOW, verdict.effect, verdict.basis) == (15_000, Effect.REMEDIATED, RESULT)
    assert "because no look has shown process.memory.usage off" in verdict.reasons[0]


def test_a_result_without_its_decision_waits_for_it_but_not_for_ever() -> None:
    assert verdicts(asked_for(known=False)) == [(15_000, Effect.REMEDIATED, RESULT)]


def test_what_was_asked_for_is_judged_once_and_forgotten() -> None:
    book = asked_for("")
    assert len(verdicts(book)) == 1
    book.acted(result(incident="", decision="d9"))
    book.decided(decision(DecisionState.DISPATCHED, proposal(incident=""), command="c1"))
    assert (verdicts(book), book.watches, book.expected) == ([], {}, {})


def test_a_verdict_for_an_incident_says_that_it_rests_on_the_symptom_or_on_the_failure() -> None:
    book = hurt()
    book.acted(result(ts=NOW))
    book.observe(cleared(CATALOG, NOW + 100))
    assert verdicts(book, NOW + 100) == [(2_600, Effect.REMEDIATED, SYMPTOM)]
    failed = hurt()
    failed.acted(result(ts=NOW, outcome="failed"))
    assert verdicts(failed) == [(0, Effect.INEFFECTIVE, RESULT)]
