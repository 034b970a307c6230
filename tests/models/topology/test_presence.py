"""Entities are told of when they are new, grow, fall silent and come back, and never with each sample."""

from __future__ import annotations

import orjson
import pytest

from agents.decode import Decode
from models.topology.presence import CHECK_MS, MOST_MS, SILENT_MS
from topics.batch import Batch, Forgotten
from topics.chunk import chunk_of
from topics.codec import encode
from topics.learning import Ended
from topics.spec import Raw
from topics.telemetry import METRICS, Event

NOW = 1_795_238_437_000


class Lane:
    """The decoder with counted time."""

    def __init__(self) -> None:
        self.decode, self.now, self.offset = Decode(), NOW, 0

    def send(self, *values: bytes) -> list[object]:
        raws = [Raw(METRICS.name, 0, self.offset + at, b"k", value, (), self.now) for at, value in enumerate(values)]
        self.offset += len(values)
        return list(self.decode.step(chunk_of(raws) if raws else (), self.now))

    def run(self, seconds: int, *entities: str, every: int = 1, metrics: int = 2) -> list[tuple[str, str]]:
        """What is told while entities send for some seconds."""
        told: list[Event] = []
        for second in range(seconds):
            self.now += 1_000
            values = [sample(entity, self.now, metrics) for entity in entities] if second % every == 0 else []
            told += [each for each in self.send(*values) if isinstance(each, Event)]
            told += [each for each in self.decode.step((), self.now) if isinstance(each, Event)]
        self.last = told
        return [(event.entity, event.kind) for event in told]


def sample(entity: str, ts: int, metrics: int = 2) -> bytes:
    return orjson.dumps({"entity": entity, "ts": ts, "metrics": {f"m{n}": float(n) for n in range(metrics)}})


def test_an_entity_is_told_once_however_many_samples_come() -> None:
    lane = Lane()
    assert lane.run(300, "a", "b") == [("a", "entity"), ("b", "entity")]
    assert lane.last[0].series == ("m0", "m1")


def test_one_that_falls_silent_is_told_with_its_last_sample_and_so_is_its_return() -> None:
    lane = Lane()
    lane.run(20, "a", "b")
    ended = lane.now
    assert lane.run(300, "b") == [("a", "silent")]
    assert lane.last[0].ts == ended
    assert lane.run(20, "a", "b") == [("a", "entity")]
    assert lane.run(20, "a", "b") == []


@pytest.mark.parametrize("every", [30, 120, 600])
def test_a_slow_sender_is_not_told_silent_again_and_again(every: int) -> None:
    lane = Lane()
    lane.run(20 * every, "slow", every=every)
    assert lane.run(10 * every, "slow", every=every) == []


def test_a_pause_of_the_reader_makes_nobody_silent() -> None:
    lane = Lane()
    lane.run(20, "a")
    lane.now += 3_600_000
    assert lane.run(60, "a") == []
    lane.now += 3_600_000
    assert lane.run(SILENT_MS // 1000 - 20) == []


def test_many_more_series_are_told_and_a_few_more_are_not() -> None:
    lane = Lane()
    lane.run(20, "a", metrics=10)
    assert lane.run(20, "a", metrics=15) == []
    assert lane.run(20, "a", metrics=20) == [("a", "entity")]


def test_after_a_restart_those_that_stay_away_are_told_silent_too() -> None:
    lane = Lane()
    lane.run(20, "a", "b")
    again = Lane()
    again.now, again.offset = lane.now, lane.offset
    again.decode.restore(lane.decode.snapshot())
    told = again.run(120, "b")
    assert sorted(told) == [("a", "silent"), ("b", "entity")]


def test_the_end_of_an_entity_ends_its_series_at_its_place_in_the_log_and_a_new_one_begins_after_it() -> None:
    lane = Lane()
    lane.run(20, "a", "b")
    ended = encode(Ended(entity="a", ts=lane.now, ended=lane.now)).value
    found = lane.send(
        sample("a", lane.now + 1_000), ended, sample("b", lane.now + 1_000), sample("a", lane.now + 2_000)
    )
    forgotten = [each for each in found if isinstance(each, Forgotten)]
    assert [list(each.entities.values()) for each in forgotten] == [["a"]]
    order = [type(each) for each in found if isinstance(each, Batch | Forgotten)]
    assert order == [Batch, Forgotten, Batch]
    assert sorted(lane.decode.names.entities) == ["a", "b"]
    assert lane.send(encode(Ended(entity="nobody", ts=lane.now, ended=lane.now)).value) == []


def test_the_bounds_are_in_order() -> None:
    assert CHECK_MS < SILENT_MS < MOST_MS
