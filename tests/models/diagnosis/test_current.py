"""The symptoms that are on, as their topic tells them: who is well, what repeats change, what is forgotten."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from models.diagnosis.current import ENTITIES_KEPT, Current
from models.diagnosis.symptoms import Tracker
from models.knowledge.base import Condition
from tests.builders import BUSY, CATALOG, KNOWN, NOW, cleared, reread, sample
from topics.incidents import SymptomKind
from topics.signals import Anomaly, Symptom

STEP = 200


class Told:
    """What is on, after anomalies that a tracker was given."""

    def __init__(self) -> None:
        self.tracker, self.current = Tracker(knowledge=KNOWN), Current(knowledge=KNOWN)
        self.records: list[Symptom] = []

    def observe(self, *anomalies: Anomaly) -> list[str]:
        """The symptoms that are added."""
        said = [symptom for anomaly in anomalies for symptom in self.tracker.observe(anomaly)]
        self.records += said
        return [s.symptom for told in said if (s := self.current.take(told))]


def test_an_entity_is_well_by_a_later_look_or_because_its_alarm_has_ended() -> None:
    told = Told()
    assert not told.current.is_well(CATALOG, NOW), "nobody has looked"
    told.observe(sample(CATALOG, NOW, SymptomKind.DOWN))
    assert not told.current.is_well(CATALOG, NOW)
    told.observe(sample(CATALOG, NOW + 2_000, BUSY))
    assert told.current.is_well(CATALOG, NOW + 1_999)
    assert not told.current.is_well(CATALOG, NOW + 2_000), "its alarm is on, so there is a later look to wait for"
    told.observe(cleared(CATALOG, NOW + 3_000))
    assert told.current.is_well(CATALOG, NOW + 60_000)


def test_too_much_capacity_makes_nobody_unwell() -> None:
    told = Told()
    looks = [sample(CATALOG, NOW + n * STEP, SymptomKind.SURPLUS) for n in range(150)]
    assert told.observe(*looks) == [SymptomKind.SURPLUS]
    assert told.current.is_well(CATALOG, NOW)


def test_services_are_told_apart() -> None:
    told = Told()
    for entity in ("shop/a/0", "shop2/a/0", "web-1"):
        told.observe(sample(entity, NOW, SymptomKind.DOWN))
    assert [s.entity for s in told.current.confirmed(["shop/a"])] == ["shop/a/0"]
    assert [s.entity for s in told.current.confirmed(["web-1"])] == ["web-1"]
    assert len(list(told.current.confirmed())) == 3


def test_what_the_last_look_of_an_entity_meets_is_known() -> None:
    told, more = Told(), Condition(signal="http.server.request_rate", off="up")
    told.observe(sample(CATALOG, NOW, SymptomKind.LATENCY, BUSY))
    assert told.current.meets(CATALOG, more) == BUSY
    assert told.current.meets(CATALOG, msgspec.structs.replace(more, above=90.0)) is None
    told.observe(sample(CATALOG, NOW + STEP, SymptomKind.LATENCY, msgspec.structs.replace(BUSY, value=20.0, z=-9.0)))
    assert told.current.meets(CATALOG, more) is None


def test_repeats_and_late_records_change_nothing() -> None:
    told = Told()
    told.observe(*(sample(CATALOG, NOW + n * STEP, SymptomKind.DOWN, SymptomKind.ERRORS) for n in range(4)))
    told.observe(cleared(CATALOG, NOW + 2_000))
    before = msgspec.msgpack.encode(told.current)
    assert {record.state for record in told.records} == {"began", "continuing", "ended"}
    for record in told.records:
        assert told.current.take(record) is None
    assert msgspec.msgpack.encode(told.current) == before


def test_it_is_the_same_for_who_reads_some_records_twice() -> None:
    told, other = Told(), Current(knowledge=KNOWN)
    told.observe(*(sample(CATALOG, NOW + n * STEP, SymptomKind.DOWN, SymptomKind.ERRORS) for n in range(4)))
    told.observe(sample(CATALOG, NOW + 2_000, SymptomKind.LATENCY), cleared(CATALOG, NOW + 3_000))
    for one, after in itertools.pairwise(told.records):
        other.take(one)
        other.take(after)
        other.take(one)
    assert msgspec.msgpack.encode(other) == msgspec.msgpack.encode(told.current)


def test_a_record_in_a_word_of_a_newer_version_changes_nothing() -> None:
    told = Told()
    (down,) = told.tracker.observe(sample(CATALOG, NOW, SymptomKind.DOWN))
    assert told.current.take(msgspec.structs.replace(down, state="muted")) is None
    assert told.current.seen(CATALOG) == 0
    assert told.current.take(down) == down


def test_a_symptom_is_added_once_and_again_when_it_begins_anew() -> None:
    told = Told()
    assert told.observe(sample(CATALOG, NOW, SymptomKind.DOWN), sample(CATALOG, NOW + 200, SymptomKind.DOWN)) == [
        "down"
    ]
    told.observe(cleared(CATALOG, NOW + 400))
    assert told.observe(sample(CATALOG, NOW + 600, SymptomKind.DOWN)) == ["down"]
    assert len({record.id for record in told.records if record.symptom == "down"}) == 2


@pytest.mark.parametrize("period", [0, 15_000])
def test_the_period_of_the_slowest_entity_counts(period: int) -> None:
    told = Told()
    told.observe(sample(CATALOG, NOW, SymptomKind.DOWN, period_ms=1_000))
    told.observe(sample("shop/cart/0", NOW, SymptomKind.DOWN, period_ms=period))
    assert told.current.period_ms([CATALOG, "shop/cart/0"]) == max(period, 1_000)
    assert told.current.period_ms(["shop/cart/0", "shop/nobody/0"]) == period


def test_what_is_forgotten_leaves_nothing_and_there_is_a_bound() -> None:
    told = Told()
    told.observe(sample(CATALOG, NOW, SymptomKind.DOWN, period_ms=1_000))
    told.current.forget(CATALOG)
    assert msgspec.msgpack.encode(told.current) == msgspec.msgpack.encode(Current(knowledge=KNOWN))
    for number in range(ENTITIES_KEPT + 10):
        told.observe(sample(f"shop/many/{number}", NOW, SymptomKind.DOWN, period_ms=1_000))
    current = told.current
    books = (current.newest, current.on, current.context, current.periods)
    assert all(len(book) == ENTITIES_KEPT and "shop/many/9" not in book for book in books)
    assert reread(current) == current
