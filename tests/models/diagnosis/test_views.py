"""All views count: a fault that several see is one symptom, and it ends when none of them shows it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from models.diagnosis.symptoms import ENTITIES_KEPT, Tracker
from models.diagnosis.views import VIEWS_KEPT
from models.knowledge.base import read
from models.knowledge.knowledge import Knowledge
from tests.builders import BUSY, CATALOG, GARDEN, KNOWN, NOW, alert, cleared, reread, sample
from topics.incidents import SymptomKind
from topics.signals import Anomaly, Contribution, Symptom
from topics.telemetry import Heartbeat

SECOND = 1_000
HOT = Contribution("room.heat", 1.5, 41.0, 30.0)
ATTIC = """[pack]
name = "attic"
kind = "room"

[[symptoms]]
name = "hot"
when = [{ signal = "room.heat", above = 40.0 }]
"""


def second(ts: int, *shown: Contribution, state: str = "raised", **changes: Any) -> Anomaly:
    """An anomaly of a detector beside the bank."""
    return sample(CATALOG, ts, *shown, state=state, view="second", **({"detector": "range"} | changes))


def bounded(ts: int, shown: Contribution = HOT, state: str = "raised", high: float = 30.0, onset: int = NOW) -> Anomaly:
    """A value out of the range that a person has set."""
    return second(ts, shown, state=state, onset=onset, low=-1e9, high=high)


def absent(ts: int, state: str = "raised", metric: str = "*", entity: str = CATALOG) -> Anomaly:
    shown = () if state == "cleared" else (Contribution(metric, -2.0, 20.0, 2.0),)
    return sample(
        entity, ts, *shown, state=state, view="second", detector="absence", kind="absence", metric=metric, onset=NOW
    )


def said(told: list[Symptom]) -> list[tuple[str, str]]:
    return [(s.symptom, s.state) for s in told]


def knowing(*texts: str) -> Tracker:
    return Tracker(knowledge=Knowledge.of([*KNOWN.packs, *map(read, texts)]))


def test_an_entity_that_falls_silent_is_silent_until_it_is_back() -> None:
    tracker = knowing()
    (began,) = tracker.observe(absent(NOW + 20_000))
    assert (began.symptom, began.state, began.onset, began.ts) == ("silent", "began", NOW, NOW + 20_000)
    assert (began.value, began.expected, began.metric) == (20.0, 2.0, "*")
    assert (began.view, began.detector) == ("second", "absence")
    assert tracker.observe(absent(NOW + 20_000)) == [], "a repeat"
    assert said(tracker.observe(absent(NOW + 90_000, "cleared"))) == [("silent", "ended"), ("none", "ended")]
    assert tracker.views == tracker.symptoms == {}


def test_a_series_that_is_absent_alone_is_no_symptom_and_its_silence_is_no_value() -> None:
    assert knowing(ATTIC.replace("40.0", "1.0")).observe(absent(NOW, metric="room.heat")) == []


def test_a_range_of_a_person_is_a_symptom_at_once_and_one_of_a_pack_is_the_packs() -> None:
    own, packs = knowing(), knowing(ATTIC)
    (began,) = own.observe(bounded(NOW))
    assert (began.symptom, began.state, began.metric, began.value) == ("out_of_range", "began", "room.heat", 41.0)
    assert said(packs.observe(bounded(NOW))) == [("hot", "began")]
    below = msgspec.structs.replace(HOT, value=35.0)
    assert said(knowing(ATTIC).observe(bounded(NOW, below))) == [("out_of_range", "began")], "less than the pack's"
    assert knowing(ATTIC).observe(bounded(NOW, below, high=40.0)) == [], "the range is the pack's, and not its symptom"


def test_two_alerts_of_one_rule_are_one_symptom_until_both_are_resolved() -> None:
    tracker, name = knowing(), "PostgresqlTooManyConnections"

    def told(which: str, state: str, ts: int) -> list[tuple[str, str]]:
        event = msgspec.structs.replace(alert(name, state, "db-1", ts), revision=which)
        return said(tracker.event(event, "e"))

    assert told("a", "firing", NOW) == [("connections_exhausted", "began")]
    assert ("connections_exhausted", "ended") not in told("b", "firing", NOW + 1)
    assert ("connections_exhausted", "ended") not in told("a", "resolved", NOW + 5)
    assert ("connections_exhausted", "ended") in told("b", "resolved", NOW + 9)


def test_alerts_that_no_pack_names_end_no_symptom_however_many_there_are() -> None:
    tracker = knowing()
    tracker.event(alert("Zero", "firing", "db-1"), "e")
    tracker.event(alert("PostgresqlTooManyConnections", "firing", "db-1", NOW + 1), "e")
    for number in range(3 * VIEWS_KEPT):
        told = tracker.event(alert(f"Other{number}", "firing", "db-1", NOW + 2 + number), "e")
        assert ("connections_exhausted", "ended") not in said(told)
    assert [s.symptom for _, s in tracker.confirmed()] == ["connections_exhausted"]


def test_an_alert_with_a_name_without_end_is_none() -> None:
    tracker = knowing()
    assert tracker.event(alert("x" * 201), "e") == []
    assert not tracker.views


@pytest.mark.parametrize(("onset", "shows"), [(0, False), (1, False), (2, True)])
def test_a_rule_takes_its_periods_of_an_alarm_that_is_told_late(onset: int, shows: bool) -> None:
    tracker = knowing(ATTIC.replace("above = 40.0", "above = 40.0, periods = 3"))
    told = second(NOW + 2 * SECOND, HOT, detector="shift", onset=NOW + (2 - onset) * SECOND, period_ms=SECOND)
    assert said(tracker.observe(told)) == ([("hot", "began")] if shows else [])


@pytest.mark.parametrize("detector", ["shift", "half_space_trees"])
def test_what_no_rule_names_opens_nothing_unless_it_is_a_range(detector: str) -> None:
    tracker = knowing()
    assert tracker.observe(second(NOW, HOT, detector=detector)) == []
    assert tracker.observe(second(NOW + 1, HOT, state="cleared", detector=detector)) == []
    asked = ATTIC.split("when")[0] + f'shown_by = ["{detector}"]\n'
    assert said(knowing(asked).observe(second(NOW, HOT, detector=detector))) == [("hot", "began")]


def test_a_fault_that_two_views_see_is_one_symptom_and_ends_with_the_last_of_them() -> None:
    tracker = knowing(ATTIC)
    (began,) = tracker.observe(sample(CATALOG, NOW, HOT))
    (again,) = tracker.observe(bounded(NOW))
    assert (began.id, began.state, again.id, again.state) == (again.id, "began", began.id, "continuing")
    assert (again.samples, again.detector) == (1, "range"), "one sample"
    (goes_on,) = tracker.observe(cleared(CATALOG, NOW + 5 * SECOND))
    assert (goes_on.id, goes_on.state, goes_on.alarm, goes_on.view) == (began.id, "continuing", False, "second")
    ended, well = tracker.observe(bounded(NOW + 6 * SECOND, state="cleared"))
    assert (ended.id, ended.state, well.symptom, well.state) == (began.id, "ended", "none", "ended")


def test_a_view_that_ends_does_not_end_what_the_first_view_shows() -> None:
    tracker = knowing(ATTIC)
    tracker.observe(bounded(NOW))
    tracker.observe(sample(CATALOG, NOW + SECOND, HOT, period_ms=SECOND))
    assert "ended" not in [state for _, state in said(tracker.observe(bounded(NOW + SECOND, state="cleared")))]
    assert said(tracker.observe(cleared(CATALOG, NOW + 2 * SECOND))) == [("hot", "ended"), ("none", "ended")]


def test_samples_of_the_first_view_do_not_end_what_another_view_goes_on_showing() -> None:
    tracker = knowing(ATTIC)
    tracker.observe(bounded(NOW))
    for n in range(1, 20):
        assert said(tracker.observe(sample(CATALOG, NOW + n * SECOND, BUSY))) == [("hot", "continuing")]
    (last,) = tracker.observe(sample(CATALOG, NOW + 20 * SECOND, BUSY))
    assert (last.last, last.samples) == (NOW, 1), "no sample has shown it since"
    assert {c.metric for c in last.attribution} == {BUSY.metric, HOT.metric}


def test_conditions_of_a_rule_may_be_met_by_different_views() -> None:
    both = ATTIC.replace("when = [", f'when = [{{ signal = "{BUSY.metric}", off = "up" }}, ')
    tracker = knowing(both)
    assert said(tracker.observe(sample(CATALOG, NOW, BUSY))) == [("none", "continuing")]
    assert said(tracker.observe(bounded(NOW, high=40.0))) == [("hot", "began")]
    assert said(tracker.observe(bounded(NOW + SECOND, high=40.0, state="cleared")))[0] == ("hot", "ended")


def test_a_learner_that_comes_and_goes_says_nothing_of_who_is_well() -> None:
    tracker = knowing()
    tracker.observe(sample(CATALOG, NOW, SymptomKind.DOWN))
    for n in range(1, 9):
        state = "raised" if n % 2 else "cleared"
        assert tracker.observe(second(NOW + n, BUSY, state=state, detector="adwin", onset=NOW + n)) == []


def test_an_alert_from_outside_is_the_symptom_that_a_pack_names_it_until_it_is_resolved() -> None:
    tracker, name = knowing(), "PostgresqlTooManyConnections"
    (began,) = tracker.event(alert(name, "firing", "db-1"), "opsloop.telemetry.events-0-7")
    assert (began.symptom, began.state, began.entity) == ("connections_exhausted", "began", "db-1")
    assert (began.metric, began.evidence) == (f'ALERTS{{alertname="{name}"}}', "opsloop.telemetry.events-0-7")
    assert tracker.event(alert(name, "firing", "db-1"), "opsloop.telemetry.events-0-8") == [], "a repeat"
    assert tracker.event(alert("NobodyKnowsThis", "firing", "db-1", NOW + 5), "e") == []
    told = tracker.event(alert(name, "resolved", "db-1", NOW + 9), "e")
    assert said(told) == [("connections_exhausted", "ended"), ("none", "ended")]


@pytest.mark.parametrize("changes", [{"state": "pending"}, {"name": ""}, {"kind": "log"}], ids=str)
def test_an_event_that_is_no_alert_is_no_symptom(changes: dict[str, str]) -> None:
    event = msgspec.structs.replace(alert("PostgresqlTooManyConnections"), **changes)
    assert knowing().event(event, "e") == []


def test_an_alert_has_the_causes_of_the_pack_that_names_it() -> None:
    series = 'ALERTS{alertname="PostgresqlTooManyConnections"}'
    assert [cause.name for _, cause in KNOWN.causes("connections_exhausted", series)] == ["connections_held"]
    assert KNOWN.causes("connections_exhausted", 'ALERTS{alertname="Other"}') == ()


def beat(number: int, period_ms: int = SECOND, ts: int | None = None) -> Heartbeat:
    at = NOW + number * period_ms if ts is None else ts
    return Heartbeat(node="edge-1", ts=at, seq=number, period_ms=period_ms)


@pytest.mark.parametrize(("period", "silent"), [(500, 4_000), (1_000, 5_000), (15_000, 75_000)])
def test_a_node_whose_beats_stop_is_unreachable_and_back_with_the_next_one(period: int, silent: int) -> None:
    tracker, now = knowing(), NOW
    for number in range(5):
        now = NOW + number * period
        assert tracker.beat(beat(number, period), f"h-0-{number}", now) == []
    found = [(at, s) for at in range(now, now + 3 * silent, 100) for s in tracker.expire(at)]
    ((at, began),) = found
    assert (at - now, began.symptom, began.state, began.entity) == (silent, "unreachable", "began", "edge-1")
    assert (began.onset, began.evidence, began.value) == (now, "h-0-4", silent / 1000)
    told = tracker.beat(beat(0, period, ts=NOW - 60_000), "h-0-5", now + 4 * silent)
    assert said(told) == [("unreachable", "ended"), ("none", "ended")], "although its clock was set back"
    assert tracker.expire(now + 4 * silent + 100) == []


def test_beats_that_wait_to_be_read_after_an_outage_are_not_missed() -> None:
    tracker, late = knowing(), NOW + 600_000
    tracker.beat(beat(0), "h-0-0", NOW)
    assert tracker.expire(late) == [], "it is asked for"
    assert tracker.beat(beat(1), "h-0-1", late + 500) == []
    assert tracker.expire(late + 3_000) == []


def test_a_beat_that_comes_twice_is_no_sign_of_life() -> None:
    tracker = knowing()
    tracker.beat(beat(0), "h-0-0", NOW)
    tracker.beat(beat(0), "h-0-0", NOW + 3_900)
    assert tracker.expire(NOW + 4_000) == []
    assert said(tracker.expire(NOW + 5_000)) == [("unreachable", "began")]


def test_alarms_of_an_entity_and_entities_have_bounds() -> None:
    tracker = knowing()
    tracker.observe(sample(CATALOG, NOW, SymptomKind.DOWN))
    for number in range(3 * VIEWS_KEPT):
        tracker.observe(bounded(NOW + number, msgspec.structs.replace(HOT, metric=f"m{number}"), onset=NOW + number))
    views = tracker.views[CATALOG]
    assert len(views) == VIEWS_KEPT
    assert [view.name for view in views if view.kind == "first"] == [""]
    assert len(tracker.newest[CATALOG].taken) == 2 * VIEWS_KEPT
    for number in range(ENTITIES_KEPT + 5):
        tracker.observe(absent(NOW + 9_000, entity=f"shop/many/{number}"))
    assert all(len(book) == ENTITIES_KEPT for book in (tracker.newest, tracker.views, tracker.symptoms))
    assert reread(tracker) == tracker


def test_a_symptom_ends_when_the_pack_that_named_it_does_not_any_more() -> None:
    tracker = Tracker(knowledge=Knowledge.of([read(GARDEN)]))
    dry = Contribution("soil.moisture", -3.0, 0.05, 0.3)
    told = [s for n in range(2) for s in tracker.observe(sample("bed", NOW + n * SECOND, dry, period_ms=SECOND))]
    assert said(told) == [("none", "continuing"), ("dry", "began")]
    tracker.know(Knowledge.of([]))
    told = [s for n in range(2, 6) for s in tracker.observe(sample("bed", NOW + n * SECOND, dry, period_ms=SECOND))]
    assert ("dry", "ended") in said(told)
    assert tracker.symptoms == {}


def test_what_only_a_view_showed_ends_with_it_at_once_although_the_first_view_is_on() -> None:
    tracker = knowing(ATTIC)
    tracker.observe(sample(CATALOG, NOW, BUSY))
    tracker.observe(bounded(NOW + 100))
    told = tracker.observe(bounded(NOW + 200, state="cleared"))
    assert said(told) == [("hot", "ended"), ("none", "continuing")]


def test_what_another_view_tells_later_is_no_sample_that_ends_a_symptom() -> None:
    tracker = knowing(ATTIC)
    tracker.observe(sample(CATALOG, NOW, HOT, period_ms=SECOND))
    assert tracker.observe(second(NOW + 60 * SECOND, BUSY, detector="adwin")) == []
    (ended, _) = tracker.observe(sample(CATALOG, NOW + 61 * SECOND, BUSY))
    assert (ended.symptom, ended.state, ended.last) == ("hot", "ended", NOW)


def test_records_of_an_entity_never_go_back_in_time() -> None:
    """An absence is told as of the sample of another entity, which may be ahead."""
    tracker = knowing()
    (silent,) = tracker.observe(absent(NOW + 20_000))
    down = tracker.observe(sample(CATALOG, NOW + 19_000, SymptomKind.DOWN))
    assert [(s.symptom, s.ts, s.seq, s.onset) for s in down if s.state == "began"] == [
        ("down", silent.ts, silent.seq + 1, NOW + 19_000)
    ]
