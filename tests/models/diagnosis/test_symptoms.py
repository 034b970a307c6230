"""Symptoms: what counts, for how long, and what ends them."""

from __future__ import annotations

import math

import msgspec
import pytest

from models.diagnosis.symptoms import ENTITIES_KEPT, GRACE_MS, Tracker
from models.knowledge.base import SymptomRule
from tests.builders import BUSY, CATALOG, HURTS, KNOWN, NOW, cleared, sample
from topics.incidents import SymptomKind
from topics.signals import Anomaly, Contribution
from topics.telemetry import Event, Heartbeat

RULES = [rule for pack, rule in KNOWN.rules if pack.name == "demo"]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}-{rule.when[0].signal}")
STEP = 200


def shown(tracker: Tracker, *symptoms: SymptomKind | Contribution, count: int, start: int = NOW) -> list[str]:
    """Look `count` times, 200 ms apart; the symptoms that were confirmed, in order."""
    return [s for i in range(count) for s in began(tracker, sample(CATALOG, start + i * STEP, *symptoms))]


def began(tracker: Tracker, anomaly: Anomaly) -> list[str]:
    """The symptoms that an anomaly confirms."""
    return [s.symptom for s in tracker.observe(anomaly) if s.state == "began"]


def on(tracker: Tracker, entity: str = CATALOG) -> list[str]:
    """The confirmed symptoms of an entity."""
    return sorted(s.symptom for whose, s in tracker.confirmed() if whose == entity)


def samples_for(rule: SymptomRule) -> int:
    """How many looks, 200 ms apart, a symptom takes."""
    return max(rule.periods, math.ceil(rule.lasts_ms / STEP) + 1)


@every_rule
def test_a_symptom_counts_once_it_has_lasted_and_only_once(rule: SymptomRule) -> None:
    tracker, needed = Tracker(knowledge=KNOWN), samples_for(rule)
    assert shown(tracker, SymptomKind(rule.name), count=needed - 1) == []
    assert on(tracker) == []
    assert shown(tracker, SymptomKind(rule.name), count=1, start=NOW + (needed - 1) * STEP) == [SymptomKind(rule.name)]
    assert shown(tracker, SymptomKind(rule.name), count=20, start=NOW + needed * STEP) == []
    ((_, symptom),) = tracker.confirmed()
    assert (symptom.onset, symptom.samples) == (NOW, needed + 20)


@every_rule
def test_looks_must_be_many_and_last_long(rule: SymptomRule) -> None:
    tracker = Tracker(knowledge=KNOWN)
    quick = [s for i in range(rule.periods) for s in began(tracker, sample(CATALOG, NOW + i, SymptomKind(rule.name)))]
    assert quick == ([SymptomKind(rule.name)] if rule.lasts_ms < rule.periods else [])


@every_rule
@pytest.mark.parametrize("share", [0.99, 1.01])
def test_a_deviation_counts_from_its_least_size_on(rule: SymptomRule, share: float) -> None:
    usual = HURTS[SymptomKind(rule.name)]
    sign = 1 if rule.when[0].off == "up" else -1
    least = max(rule.when[0].least, rule.when[0].ratio * abs(usual.expected))
    contribution = msgspec.structs.replace(usual, value=usual.expected + sign * share * least)
    tracker = Tracker(knowledge=KNOWN)
    assert bool(shown(tracker, contribution, count=samples_for(rule))) is (share > 1)


@every_rule
def test_a_deviation_that_is_not_unusual_for_its_series_does_not_count(rule: SymptomRule) -> None:
    usual = HURTS[SymptomKind(rule.name)]
    dull = msgspec.structs.replace(usual, z=(rule.when[0].z - 0.1) * (1 if usual.z > 0 else -1))
    assert shown(Tracker(knowledge=KNOWN), dull, count=samples_for(rule)) == []


@every_rule
def test_a_deviation_in_the_other_direction_does_not_count(rule: SymptomRule) -> None:
    usual = HURTS[SymptomKind(rule.name)]
    other = msgspec.structs.replace(usual, value=usual.expected, expected=usual.value, z=-usual.z)
    assert shown(Tracker(knowledge=KNOWN), other, count=samples_for(rule)) == []


@pytest.mark.parametrize(
    ("rule", "better"),
    [(rule, metric) for rule in RULES for metric in rule.unless],
    ids=lambda x: getattr(x, "name", x),
)
def test_a_symptom_that_something_else_explains_does_not_count(rule: SymptomRule, better: str) -> None:
    explained = Contribution(better.replace("*", "catalog"), 9.0, 1.0, 0.1)
    assert SymptomKind(rule.name) not in shown(
        Tracker(knowledge=KNOWN), SymptomKind(rule.name), explained, count=samples_for(rule)
    )
    falling = msgspec.structs.replace(explained, z=-9.0)
    assert SymptomKind(rule.name) in shown(
        Tracker(knowledge=KNOWN), SymptomKind(rule.name), falling, count=samples_for(rule)
    )


def test_one_look_in_between_that_does_not_show_it_ends_nothing() -> None:
    tracker = Tracker(knowledge=KNOWN)
    assert shown(tracker, SymptomKind.ERRORS, count=2) == []
    tracker.observe(sample(CATALOG, NOW + 2 * STEP, BUSY))
    assert shown(tracker, SymptomKind.ERRORS, count=1, start=NOW + 3 * STEP) == [SymptomKind.ERRORS]


def test_what_is_not_seen_for_longer_than_the_grace_begins_anew() -> None:
    tracker = Tracker(knowledge=KNOWN)
    shown(tracker, SymptomKind.ERRORS, count=3)
    tracker.observe(sample(CATALOG, NOW + 2 * STEP + GRACE_MS + 1, BUSY))
    assert on(tracker) == []
    assert shown(tracker, SymptomKind.ERRORS, count=2, start=NOW + 5_000) == []


@pytest.mark.parametrize("period", [1_000, 15_000, 60_000])
def test_at_any_rate_of_sampling_one_look_in_between_ends_nothing_and_three_do(period: int) -> None:
    def confirmed(missed: int) -> bool:
        tracker = Tracker(knowledge=KNOWN)
        shown = [SymptomKind.ERRORS] * 2 + [BUSY] * missed + [SymptomKind.ERRORS]
        found = [
            began(tracker, sample(CATALOG, NOW + n * period, one, period_ms=period)) for n, one in enumerate(shown)
        ]
        return bool(found[-1])

    assert confirmed(missed=1)
    assert not confirmed(missed=3)


def test_nothing_is_read_from_silence_and_a_cleared_look_ends_everything() -> None:
    tracker = Tracker(knowledge=KNOWN)
    shown(tracker, SymptomKind.ERRORS, SymptomKind.LATENCY, count=6)
    assert on(tracker) == [SymptomKind.ERRORS, SymptomKind.LATENCY]
    tracker.observe(sample("shop/other/0", NOW + 3_600_000))
    assert len(list(tracker.confirmed())) == 2
    tracker.observe(cleared(CATALOG, NOW + 3_600_000))
    assert on(tracker) == []


def test_an_alarm_that_its_budget_suppressed_wakes_nobody_and_ends_nothing() -> None:
    tracker = Tracker(knowledge=KNOWN)
    for at in range(6):
        tracker.observe(
            msgspec.structs.replace(sample(CATALOG, NOW + at * STEP, SymptomKind.ERRORS), suppressed="entity")
        )
    assert on(tracker) == []
    shown(tracker, SymptomKind.ERRORS, count=6, start=NOW + 10 * STEP)
    tracker.observe(msgspec.structs.replace(cleared(CATALOG, NOW + 3_600_000), suppressed="entity"))
    assert on(tracker) == [SymptomKind.ERRORS]


def test_a_repeated_or_late_look_changes_nothing() -> None:
    tracker = Tracker(knowledge=KNOWN)
    shown(tracker, SymptomKind.ERRORS, count=2)
    tracker.observe(cleared(CATALOG, NOW + 1_000))
    before = msgspec.msgpack.encode(tracker)
    assert shown(tracker, SymptomKind.ERRORS, count=6) == []
    tracker.observe(cleared(CATALOG, NOW + 1_000))
    assert msgspec.msgpack.encode(tracker) == before


def test_a_look_that_comes_twice_counts_once() -> None:
    tracker = Tracker(knowledge=KNOWN)
    for ts in (NOW, NOW + 400, NOW + 400):
        assert began(tracker, sample(CATALOG, ts, SymptomKind.ERRORS)) == []
    assert began(tracker, sample(CATALOG, NOW + 600, SymptomKind.ERRORS)) == [SymptomKind.ERRORS]


def test_the_entities_that_were_looked_at_longest_ago_are_forgotten() -> None:
    tracker = Tracker(knowledge=KNOWN)
    tracker.observe(sample(CATALOG, NOW, SymptomKind.DOWN))
    for number in range(ENTITIES_KEPT + 10):
        tracker.observe(sample(f"shop/many/{number}", NOW, SymptomKind.DOWN))
        if number % 1_000 == 0:
            tracker.observe(sample(CATALOG, NOW + number + 1, SymptomKind.DOWN))
    books = (tracker.newest, tracker.symptoms, tracker.views)
    assert all(len(book) <= ENTITIES_KEPT and CATALOG in book and "shop/many/0" not in book for book in books)
    assert len(msgspec.msgpack.encode(tracker)) * 4 / 3 < 10_000_000, "a snapshot of it fits in one record"


def test_an_alarm_that_ends_as_another_begins_in_the_same_sample_does_not_end_its_symptoms() -> None:
    tracker = Tracker(knowledge=KNOWN)
    assert shown(tracker, SymptomKind.ERRORS, count=4) == [SymptomKind.ERRORS]
    at = NOW + 1_000
    ended, *_ = tracker.observe(cleared(CATALOG, at))
    (goes_on,) = tracker.observe(sample(CATALOG, at, SymptomKind.ERRORS, state="raised"))
    assert (ended.state, goes_on.state, goes_on.id) == ("ended", "continuing", ended.id)
    assert (goes_on.ts, goes_on.seq > ended.seq, goes_on.samples) == (at, True, 5)
    assert tracker.observe(sample(CATALOG, at, SymptomKind.ERRORS, state="raised")) == [], "a repeat"


def gone(entity: str, ts: int) -> Event:
    return Event(entity=entity, ts=ts, kind="gone", text="")


@pytest.mark.parametrize("late", [-86_400_000, 0, 86_400_000])
def test_the_symptoms_of_an_entity_that_is_gone_end_with_its_last_sample_whatever_the_clock_of_who_tells(
    late: int,
) -> None:
    tracker, other = Tracker(knowledge=KNOWN), sample("shop/other", NOW, SymptomKind.DOWN)
    shown(tracker, SymptomKind.DOWN, count=20)
    assert on(tracker) == ["down"]
    tracker.observe(other)
    last = tracker.newest[CATALOG]
    told = tracker.event(gone(CATALOG, NOW + late), "e")
    assert [(s.symptom, s.state, s.alarm) for s in told] == [("down", "ended", False), ("none", "ended", False)]
    assert [(s.ts, s.seq) for s in told] == [(last.ts, last.seq + 1), (last.ts, last.seq + 2)]
    assert all(CATALOG not in book for book in (tracker.views, tracker.symptoms, tracker.newest))
    assert tracker.event(gone(CATALOG, NOW + late), "e") == []
    assert list(tracker.views) == [other.entity]


def test_a_node_that_is_gone_is_not_asked_for_its_heartbeat_any_more() -> None:
    tracker = Tracker(knowledge=KNOWN)
    tracker.beat(Heartbeat(node="web-1", ts=NOW, seq=0), "e", NOW)
    tracker.event(gone("web-1", NOW), "e")
    assert [s for at in range(NOW, NOW + 60_000, 500) for s in tracker.expire(at)] == []
    tracker.beat(Heartbeat(node="web-1", ts=NOW, seq=0), "e", NOW)
    assert [s for at in range(NOW, NOW + 60_000, 500) for s in tracker.expire(at)]
