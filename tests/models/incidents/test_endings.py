"""How an incident ends without a verdict: its symptom stays away, or its entity is gone. What is over stays over."""

from __future__ import annotations

from typing import Any

import pytest

from models.diagnosis.symptoms import ENTITIES_KEPT
from models.incidents.book import CLOSED_KEPT, QUIET_MS
from models.incidents.lifecycle import is_open
from models.incidents.settings import IncidentSettings
from models.topology.lifetimes import EntitySettings
from tests.builders import CATALOG, NOW, alert, cleared, decision, proposal, reread, sample
from tests.episodes import book_of, dispatched, done, down, reported, states
from topics.decisions import DecisionState
from topics.incidents import Incident, State, SymptomKind
from topics.signals import Contribution
from topics.telemetry import Event, Facts
from topics.verdicts import Effect

SETTINGS = IncidentSettings(gone_ms=60_000)


def quiet(book: Any, start: int, until: int) -> list[Incident]:
    return [state for now in range(start, until, 100) for state in book.expire(now)]


def test_what_goes_by_itself_is_closed_after_it_stayed_away() -> None:
    book = book_of()
    down(book)
    assert quiet(book, NOW, NOW + 60_000) == []
    list(book.admit(cleared(CATALOG, NOW + 60_000), NOW + 60_000))
    assert quiet(book, NOW + 60_000, NOW + 60_000 + QUIET_MS) == []
    (closed,) = book.expire(NOW + 60_000 + QUIET_MS)
    assert (closed.state, closed.closed_as) == (State.RESOLVED, "self_resolved")
    assert quiet(book, NOW + 70_000, NOW + 80_000) == []


def test_the_quiet_time_begins_anew_when_it_comes_back() -> None:
    book = book_of()
    down(book)
    list(book.admit(cleared(CATALOG, NOW + 1_000), NOW + 1_000))
    quiet(book, NOW + 1_000, NOW + 1_000 + QUIET_MS)
    list(book.admit(sample(CATALOG, NOW + 3_990, SymptomKind.DOWN), NOW + 3_990))
    assert quiet(book, NOW + 3_990, NOW + 20_000) == []
    list(book.admit(cleared(CATALOG, NOW + 20_000), NOW + 20_000))
    assert quiet(book, NOW + 20_000, NOW + 20_000 + QUIET_MS) == []
    assert len(quiet(book, NOW + 20_000 + QUIET_MS, NOW + 30_000)) == 1


def test_nothing_closes_by_itself_while_an_action_is_under_way() -> None:
    book = book_of()
    opened = down(book)
    list(book.decided(dispatched(opened), NOW))
    list(book.admit(cleared(CATALOG, NOW + 1_000), NOW + 1_000))
    assert quiet(book, NOW + 1_000, NOW + 20_000) == []
    list(book.acted(done(opened), NOW + 20_000))
    assert quiet(book, NOW + 20_000, NOW + 40_000) == []


@pytest.mark.parametrize("effect", [Effect.INEFFECTIVE, Effect.MANUAL_REVIEW], ids=str)
def test_an_incident_that_no_action_cured_still_closes_when_the_symptom_goes(effect: Effect) -> None:
    book = book_of()
    opened = down(book)
    list(book.decided(dispatched(opened), NOW))
    list(book.judged(reported(opened, effect=effect), NOW))
    assert quiet(book, NOW, NOW + 20_000) == []
    list(book.admit(cleared(CATALOG, NOW + 20_000), NOW + 20_000))
    assert states(quiet(book, NOW + 20_000, NOW + 30_000)) == [("self_resolved", "resolved")]


def test_an_incident_that_is_over_stays_over_whatever_comes_late() -> None:
    book = book_of()
    opened = down(book)
    list(book.admit(cleared(CATALOG, NOW + 1_000), NOW + 1_000))
    quiet(book, NOW + 1_000, NOW + 10_000)
    late = [
        *book.admit(sample(CATALOG, NOW, SymptomKind.DOWN), NOW + 10_000),
        *book.admit(sample(CATALOG, NOW + 500, SymptomKind.DOWN), NOW + 10_000),
        *book.decided(dispatched(opened), NOW + 10_000),
        *book.acted(done(opened), NOW + 10_000),
        *book.judged(reported(opened), NOW + 10_000),
    ]
    assert late == []
    again = down(book, ts=NOW + 11_000)
    assert again.id != opened.id


def test_closed_incidents_are_forgotten_oldest_first() -> None:
    book = book_of()
    first = down(book, ts=NOW)
    for number in range(CLOSED_KEPT + 20):
        ts = NOW + number * 10_000
        down(book, ts=ts) if number else None
        list(book.admit(cleared(CATALOG, ts + 1_000), ts + 1_000))
        list(book.expire(ts + 1_000))
        list(book.expire(ts + 1_000 + QUIET_MS))
    assert (len(book.incidents), len(book.closed)) == (0, CLOSED_KEPT)
    assert book.find(first.id) is None
    assert not any(is_open(i.state) for i in book.closed.values())
    assert (book.quiet_until, book.judged_last) == ({}, {})
    assert reread(book.book) == book.book


def gone(book: Any, start: int, seconds: int) -> list[Incident]:
    return [state for now in range(start, start + seconds * 1_000, 1_000) for state in book.expire(now, SETTINGS)]


def test_the_incident_of_an_entity_that_was_deleted_ends_as_gone_at_the_stated_time() -> None:
    book = book_of()
    down(book)
    assert gone(book, NOW, 60) == []
    (closed,) = gone(book, NOW + 60_000, 2)
    assert (closed.state, closed.step, closed.closed_as) == (State.RESOLVED, "gone", "gone")
    assert closed.note == f"no sample of {CATALOG} any more"
    assert gone(book, NOW + 62_000, 100) == []
    assert list(book.symptoms.confirmed()) == []


def test_it_ends_whatever_was_being_done_for_it() -> None:
    for effect in (None, Effect.MANUAL_REVIEW, Effect.INEFFECTIVE):
        book = book_of()
        opened = down(book)
        list(book.decided(dispatched(opened), NOW))
        if effect is not None:
            list(book.judged(reported(opened, effect=effect), NOW))
        assert [i.closed_as for i in gone(book, NOW, 70)] == ["gone"], effect


def test_what_still_hurts_keeps_it_open_without_what_is_gone() -> None:
    book = book_of()
    down(book)
    list(book.admit(sample("shop/catalog/1", NOW, SymptomKind.DOWN), NOW))
    told: list[Incident] = []
    for now in range(NOW + 1_000, NOW + 100_000, 1_000):
        told += [*book.admit(sample("shop/catalog/1", now, SymptomKind.DOWN), now), *book.expire(now, SETTINGS)]
    (revised,) = told
    assert (revised.step, revised.affected) == ("revise", ("shop/catalog/1",))
    assert [h.target for h in revised.hypotheses] == ["shop/catalog/1"]
    list(book.admit(cleared("shop/catalog/1", NOW + 100_000), NOW + 100_000))
    assert [i.closed_as for i in gone(book, NOW + 100_000, 30)] == ["self_resolved"]


def test_an_entity_that_was_better_before_it_went_is_gone_too() -> None:
    """Its last look showed no symptom, and its alarm never ended."""
    book = book_of()
    opened = down(book)
    list(book.admit(sample(CATALOG, NOW + 5_000), NOW + 5_000))
    list(book.decided(decision(DecisionState.REJECTED, proposal(incident=opened.id)), NOW + 6_000))
    assert [i.closed_as for i in gone(book, NOW + 6_000, 70)] == ["gone"]


def test_silence_is_not_counted_while_nobody_read() -> None:
    book = book_of()
    down(book)
    assert gone(book, NOW, 30) == []
    hours_later = NOW + 7_200_000
    assert gone(book, hours_later, 59) == []
    assert [i.closed_as for i in gone(book, hours_later + 59_000, 3)] == ["gone"]


def test_an_incident_beyond_the_entities_that_are_remembered_ends_too() -> None:
    book = book_of()
    opened = down(book)
    for number in range(ENTITIES_KEPT + 1):
        book.observe(sample(f"other/s{number}/0", NOW + 1))
    assert CATALOG not in book.symptoms.newest
    assert [(i.id, i.closed_as) for i in gone(book, NOW, 70)] == [(opened.id, "gone")]


def test_a_deadline_that_is_asked_for_exactly_when_it_comes_is_kept() -> None:
    book = book_of()
    down(book)
    book.note(NOW, SETTINGS)
    assert [i.closed_as for i in book.expire(NOW + 60_000, SETTINGS)] == ["gone"]


def told_kind(entity: str, kind: str) -> Event:
    return Event(entity=entity, ts=NOW, kind="entity", text="", facts=Facts("labels", 0.8, kind))


@pytest.mark.parametrize(("kind", "seconds"), [("pod", 900), ("lathe", 20), ("press", 60)])
def test_how_long_an_entity_may_stay_away_is_said_by_its_kind(kind: str, seconds: int) -> None:
    entities = EntitySettings(ttl_s={"lathe": 20.0})
    book = book_of()
    book.event(told_kind(CATALOG, kind))
    down(book)
    ends = [
        (now - NOW) // 1_000
        for now in range(NOW, NOW + 1_000_000, 1_000)
        for state in book.expire(now, SETTINGS, entities)
        if state.closed_as == "gone"
    ]
    assert ends == [pytest.approx(seconds, abs=4)]
    assert book.kinds == {}


def test_a_host_that_is_silent_keeps_its_incident_for_days() -> None:
    """Its kind follows from the pack of the series that are off."""
    book = book_of()
    cpu = Contribution("node_load1", 30.0, 32.0, 0.5)
    for now in range(NOW, NOW + 90_000, 1_000):
        list(book.admit(sample("web-1", now, cpu), now))
    assert book.incidents
    ends = [now for now in range(NOW + 90_000, NOW + 4 * 86_400_000, 60_000) for _ in book.expire(now, SETTINGS)]
    assert len(ends) == 1
    assert ends[0] - NOW == pytest.approx(3 * 86_400_000, abs=120_000)


def test_an_entity_that_is_told_to_be_gone_ends_its_incident_at_once() -> None:
    book = book_of()
    opened = down(book)
    (closed,) = book.gone(CATALOG, NOW + 5_000)
    assert (closed.id, closed.closed_as) == (opened.id, "gone")
    assert list(book.gone(CATALOG, NOW + 6_000)) == []
    ended = book.tracker.event(Event(entity=CATALOG, ts=NOW + 5_000, kind="gone", text=""), "e")
    assert [i for s in ended for i in book.book.admit(s, NOW + 6_000)] == []
    assert quiet(book, NOW + 6_000, NOW + 20_000) == []


def test_an_incident_of_others_goes_on_without_the_one_that_is_gone() -> None:
    book = book_of()
    down(book)
    list(book.admit(sample("shop/catalog/1", NOW, SymptomKind.DOWN), NOW))
    (left,) = book.gone(CATALOG, NOW + 5_000)
    assert (is_open(left.state), left.affected) == (True, ("shop/catalog/1",))


def test_an_entity_that_was_gone_and_is_back_with_its_symptom_has_a_new_incident() -> None:
    book = book_of()
    opened = down(book)
    assert [i.closed_as for i in gone(book, NOW, 70)] == ["gone"]
    (again,) = book.admit(sample(CATALOG, NOW + 90_000, SymptomKind.DOWN), NOW + 90_000)
    assert (again.id != opened.id, again.onset, again.state) == (True, NOW + 90_000, State.TRIGGERED)
    assert book.admit(sample(CATALOG, NOW + 91_000, SymptomKind.DOWN), NOW + 91_000) == []


@pytest.mark.parametrize(("period", "after"), [(1_000, 3_000), (15_000, 30_000), (60_000, 120_000)])
def test_what_is_sampled_slowly_resolves_by_itself_after_two_samples(period: int, after: int) -> None:
    book = book_of()
    list(book.admit(sample(CATALOG, NOW, SymptomKind.DOWN, period_ms=period), NOW))
    list(book.admit(cleared(CATALOG, NOW + period), NOW + period))
    assert quiet(book, NOW + period, NOW + period + after) == []
    assert [i.closed_as for i in book.expire(NOW + period + after)] == ["self_resolved"]


def test_what_is_sampled_once_a_minute_is_gone_after_ten_samples() -> None:
    book = book_of()
    list(book.admit(sample(CATALOG, NOW, SymptomKind.DOWN, period_ms=60_000), NOW))
    assert gone(book, NOW, 600) == []
    assert [i.closed_as for i in gone(book, NOW + 600_000, 10)] == ["gone"]


def test_an_alert_that_goes_on_firing_keeps_its_entity() -> None:
    book = book_of()
    fires = alert("PostgresqlTooManyConnections", "firing", "db-1")
    (opened,) = [i for s in book.tracker.event(fires, "e") for i in book.book.admit(s, NOW)]
    assert (opened.symptom, opened.evidence) == ("connections_exhausted", ("e",))
    assert gone(book, NOW, 3_600) == []
    over = alert("PostgresqlTooManyConnections", "resolved", "db-1", NOW + 3_600_000)
    assert [i for s in book.tracker.event(over, "e") for i in book.book.admit(s, NOW + 3_600_000)] == []
    assert [i.closed_as for i in quiet(book, NOW + 3_600_000, NOW + 3_604_000)] == ["self_resolved"]
