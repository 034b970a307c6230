"""A partition over months: what has no data ends, its number is used again, and how the log is cut changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest

from agents._partition import keep_only, through
from agents.decode import Decode, chunk_of
from agents.detect import Detect
from models.detection.settings import DetectionSettings, Pattern
from tests.packs import said, signals
from topics.batch import HOUR_MS, Names
from topics.codec import Cause, DeadLetter
from topics.frames import FrameBuilder
from topics.learning import Learning
from topics.meanings import Meanings
from topics.signals import Anomaly
from topics.spec import Raw, Record
from topics.telemetry import METRICS

START = 1_700_000_000_000 // HOUR_MS * HOUR_MS
SETTINGS = DetectionSettings(
    (
        Pattern(entities="shop/*", metrics="m1", season="day", high=90.0),
        Pattern(entities="shop/*", learners=("gaussian",), absence="series", opens_at=0.8),
        Pattern(entities="*", confirm=True),
    ),
    most_watched=3,
)
SAID = said(
    signals(sum_of_m1="m1 + m2", used="rate(c_total) / 2", all="used + 1")
    + '[[symptoms]]\nname = "slow"\nwhen = [{ signal = "m2", above = 90.0 }]\n'
)


def message(offset: int, ts: int, value: bytes, key: str = "k") -> Raw:
    return Raw(METRICS.name, 0, offset, key.encode(), value, (), ts)


def sample(offset: int, ts: int, entity: str, metrics: dict[str, float]) -> Raw:
    return message(offset, ts, orjson.dumps({"entity": entity, "ts": ts, "metrics": metrics}), entity)


def churning(days: int, pods: int = 6, each: int = 9, hours: int = 3, seed: int = 1) -> list[Raw]:
    """A cluster whose pods are replaced every day; a node stays, with a container of a new name every day."""
    rng, log = np.random.default_rng(seed), list[Raw]()
    for hour in range(0, 24 * days, hours):
        day = hour // 24
        for pod in range(pods):
            for minute in range(0, 30, 10):
                values = np.round(rng.normal(50 + 60 * (hour % 37 == 0), 5, each), 3).tolist()
                metrics = {f"m{at}": value for at, value in enumerate(values)}
                ts = START + hour * HOUR_MS + minute * 60_000 + pod
                log.append(sample(len(log), ts, f"shop/pod-{day}-{pod}", metrics))
        ts = START + hour * HOUR_MS + 31 * 60_000
        log.append(sample(len(log), ts, "shop/node", {"cpu": 1.0 + day % 3, f"container.{day}": 2.0, "m1": 50.0}))
        grown = {f'h_bucket{{day="{day}",le="{le}"}}': float(hour * n + day) for n, le in enumerate(("1", "2", "+Inf"))}
        log.append(
            sample(len(log), ts, "shop/counts", {"c_total": float(hour % 50), f"c{day}_total": 2.0 * hour, **grown})
        )
        for at, part in enumerate(("x", "y", "z")[: 2 + hour % 2]):  # a message a metric, and one of them comes seldom
            log.append(sample(len(log), ts + at, "shop/parts", {part: float(hour % 11)}))
        frame = FrameBuilder()
        frame.add(f"other/{day}", ts, {"a": float(hour % 7), "b": 1.0})
        frame.add("other/lone", ts, {"only": float(hour % 5)})
        log.append(message(len(log), ts, frame.take()))
        if hour % 48 == 24:
            control = Learning(entity=f"shop/pod-{day}-0", ts=ts, learning="open", incident=f"i{hour}")
            log.append(message(len(log), ts, orjson.dumps({"entity": control.entity, "ts": ts, "learning": "open",
                                                           "incident": control.incident})))  # fmt: skip
    return log


def cuts(log: Sequence[Raw], size: int, seed: int = 0) -> Iterator[Sequence[Raw]]:
    """The log in chunks of `size`, or of random sizes up to 40 when it is 0."""
    rng, at = random.Random(seed), 0
    while at < len(log):
        end = at + (size or rng.randint(1, 40))
        yield log[at:end]
        at = end


class Lane:
    """Both stages of a partition."""

    def __init__(self, ttl_days: int = 3, said: Meanings = SAID) -> None:
        self.hours, self.said = 24 * ttl_days, said
        self.make()

    def make(self) -> None:
        self.decode, self.detect = Decode(Names(ttl_hours=self.hours, meanings=self.said)), Detect(SETTINGS)

    def take(self, log: Sequence[Raw], cut: int, *, restart: bool = False) -> list[Anomaly | DeadLetter]:
        found: list[Any] = []
        for chunk in cuts(log, cut):
            found += through([self.decode, self.detect], chunk_of(chunk), 0)
            if restart:
                self.restart()
        assert all(isinstance(each, Record | DeadLetter) for each in found)
        return found

    def restart(self) -> None:
        before = self.state
        self.make()
        self.decode.restore(before[0])
        self.detect.restore(before[1])
        assert self.state == before

    @property
    def state(self) -> tuple[bytes, bytes]:
        return self.decode.snapshot(), self.detect.snapshot()


def test_months_give_the_same_anomalies_and_the_same_state_however_they_are_cut_and_restarted() -> None:
    log = churning(12)
    whole = Lane()
    said = whole.take(log, len(log))
    assert {a.state for a in said if isinstance(a, Anomaly)} == {"raised", "continuing", "cleared"}
    for cut, restart in ((1, False), (0, False), (0, True), (7, True)):
        lane = Lane()
        assert lane.take(log, cut, restart=restart) == said
        assert lane.state == whole.state


def test_series_entities_metrics_and_state_stop_growing_after_the_time_to_live() -> None:
    log, lane, sizes = churning(20), Lane(), []
    by_day = [[raw for raw in log if (raw.arrived - START) // (24 * HOUR_MS) == day] for day in range(20)]
    for day in by_day:
        assert not [each for each in lane.take(day, 0) if isinstance(each, DeadLetter)]
        names = lane.decode.names
        model = lane.detect.model
        sizes.append((len(names.series), len(names.entities), len(names.series.metrics), len(model.bank.tiles),
                      len(model.trajectories.open) <= 30, len(model.detectors.watches) <= 3))  # fmt: skip
    assert sizes[6] == sizes[19] != sizes[2], sizes
    assert len(lane.decode.names.series) < 5 * (6 * 10 + 8)
    assert lane.decode.names.of("shop/node")[0] == lane.decode.names.entities.index("shop/node")
    assert set(lane.detect.model.alarms.told) <= set(lane.decode.names.entities)
    assert set(lane.detect.model.hysteresis.held) <= set(lane.decode.names.entities)


def test_a_number_that_is_used_again_knows_nothing_of_what_it_stood_for() -> None:
    """A pod that gets the numbers of a forgotten one is scored as the first pod of a new partition is."""
    old = [sample(at, START + at * 60_000, "shop/old", {"a": 500.0 + at % 7, "b": 1.0}) for at in range(200)]
    later = START + 30 * 24 * HOUR_MS
    gap = [sample(at, START + at * HOUR_MS, "other/keeps", {"x": 1.0}) for at in range(4, 30 * 24)]
    new = [sample(at, later + at * 60_000, "shop/new", {"a": 3.0 + at % 7 + 90 * (at > 150), "b": 1.0})
           for at in range(200)]  # fmt: skip
    lane, fresh = Lane(), Lane()
    lane.take([*old, *gap], 0)
    lane.take(new, 0)
    fresh.take(new, 0)
    number, series = lane.decode.names.of("shop/new")
    assert number == 0
    assert series == [0, 1]
    of_new, of_fresh = lane.detect.model.bank, fresh.detect.model.bank
    assert np.array_equal(of_new.rows([0, 1]), of_fresh.rows(fresh.decode.names.of("shop/new")[1]))
    assert np.array_equal(of_new.entities[0], of_fresh.entities[0])


def test_a_partition_that_stood_still_for_a_month_forgets_nothing_at_its_first_sample() -> None:
    lane = Lane()
    lane.take([sample(at, START + at, f"shop/{at}", {"a": 1.0}) for at in range(5)], 0)
    lane.take([sample(9, START + 30 * 24 * HOUR_MS, "shop/0", {"a": 1.0})], 0)
    assert lane.decode.names.series.used == 5


def test_what_was_absent_and_is_forgotten_is_missed_no_more() -> None:
    log = [sample(at, START + at * 5_000, f"shop/{at % 2}", {"a": 1.0}) for at in range(200)]
    log += [sample(at, START + 10**6 + at * HOUR_MS // 2, "shop/0", {"a": 1.0}) for at in range(2 * 24 * 5)]
    said = [a for a in Lane().take(log, 0) if isinstance(a, Anomaly) and a.kind == "absence" and a.entity == "shop/1"]
    assert [a.state for a in said] == ["raised", "cleared"]
    assert said[0].id == said[1].id
    assert said[1].ts - START > 3 * 24 * HOUR_MS


def test_a_node_with_too_many_containers_keeps_its_known_series_and_forgets_those_silent_longest() -> None:
    names, log = Names(most_metrics=20), list[Raw]()
    decode = Decode(names)
    for hour in range(60):
        metrics = {"cpu": 1.0, "load": 2.0, f"container.{hour}": 3.0}
        log.append(sample(hour, START + hour * HOUR_MS, "node", metrics))
    found = list(decode.step(chunk_of(log), 0))
    assert not [each for each in found if isinstance(each, DeadLetter)]
    assert names.metrics("node") >= {"cpu", "load", "container.59", "container.58", "container.57"}
    assert len(names.metrics("node")) == len(names.series) == 20


def test_when_nothing_is_silent_the_new_names_are_refused_alone_and_known_series_go_on() -> None:
    decode = Decode(Names(most_metrics=3))
    known = {"a": 1.0, "b": 2.0, "c": 3.0}
    frame = FrameBuilder()
    frame.add("node", START + 2, {**known, "d": 4.0})
    frame.add("node", START + 3, {"d": 4.0})
    raws = [sample(0, START, "node", known), sample(1, START + 1, "node", {"d": 4.0, **known}),
            message(2, START + 3, frame.take()), sample(3, START + 4, "node", {"d": 4.0})]  # fmt: skip
    found = list(decode.step(chunk_of(raws), 0))
    letters = [each for each in found if isinstance(each, DeadLetter)]
    assert [(each.raw.offset, each.cause) for each in letters] == [(at, Cause.TOO_MANY_SERIES) for at in (1, 2, 3)]
    (batch,) = [each for each in found if not isinstance(each, DeadLetter)]
    assert batch.ts.tolist() == [START, START + 1, START + 2]
    assert batch.series.tolist() == [0, 1, 2] * 3
    assert batch.value.tolist() == [1.0, 2.0, 3.0] * 3


def test_a_full_partition_makes_room_for_new_entities_and_refuses_no_known_one() -> None:
    names = Names(most_series=100)
    decode = Decode(names)
    for hour in range(200):
        raws = [sample(0, START + hour * HOUR_MS, f"pod-{hour}", {"a": 1.0, "b": 2.0}),
                sample(1, START + hour * HOUR_MS + 1, "stays", {"a": 1.0})]  # fmt: skip
        assert not [each for each in decode.step(chunk_of(raws), 0) if isinstance(each, DeadLetter)]
    assert len(names.series) <= 100
    assert names.of("stays")[0] == 1


def test_what_is_known_of_a_name_does_not_depend_on_what_came_in_the_same_chunk_after_it() -> None:
    """A control for an entity that is not known yet, and names that say what their series are."""
    rng = np.random.default_rng(3)
    control = {"entity": "shop/a", "ts": START, "learning": "open", "incident": "i"}
    log = [message(0, START, orjson.dumps(control))]
    for at in range(1, 60):
        named = {"a": 1.0, "b": 2.0} if at < 5 else {"up": 1.0, "x.ratio": rng.random() / 50 + (at > 50), "a": 1.0}
        log.append(sample(at, START + at * 1000, "shop/a", named))
        log.append(sample(at, START + at * 1000, "shop/b", {"a": 1.0} if at < 7 else {"up": float(at != 50)}))
    lanes = [Lane() for _ in range(3)]
    said = [lane.take(log, cut) for lane, cut in zip(lanes, (len(log), 1, 0), strict=True)]
    assert said[0]
    assert said[0] == said[1] == said[2]
    assert lanes[0].state == lanes[1].state == lanes[2].state


@pytest.mark.parametrize("cut", [1, 0])
def test_a_state_split_in_two_by_entity_goes_on_as_the_whole_does(cut: int) -> None:
    log = churning(8)
    first, rest = log[: len(log) // 2], [raw for raw in log[len(log) // 2 :] if not raw.value.startswith(b"OPF1")]
    whole = Lane()
    whole.take(first, 0)
    state = whole.state
    halves = []
    for odd in (False, True):
        half = Lane()
        half.decode.restore(state[0])
        half.detect.restore(state[1])
        keep_only([half.decode, half.detect], lambda entity, odd=odd: (hash_of(entity) % 2 == 1) == odd)
        kept = [name for name in half.decode.names.entities if name]
        assert kept
        assert all((hash_of(name) % 2 == 1) == odd for name in kept)
        half.restart()
        own = [raw for raw in rest if (hash_of(entity_of(raw)) % 2 == 1) == odd]
        halves.append({a.id: a for a in half.take(own, cut) if isinstance(a, Anomaly) and a.kind != "absence"})
        assert half.decode.names.series.used
    said = {a.id: a for a in whole.take(rest, 0) if isinstance(a, Anomaly) and a.kind != "absence"}
    assert said
    assert halves[0] | halves[1] == said


def hash_of(entity: str) -> int:
    return sum(entity.encode())


def entity_of(raw: Raw) -> str:
    return (raw.key or b"").decode() if raw.key != b"k" else str(orjson.loads(raw.value or b"")["entity"])


GOLDEN = Path(__file__).parent / "states" / "names_4_learners_6.msgpack"  # of `golden`, written in November 2026


def golden(said: Meanings = SAID) -> tuple[Lane, list[Raw]]:
    """A partition after most of a log, with an incident open and numbers that are free, and the rest of the log."""
    log, lane, middle = churning(9), Lane(said=said), 1152
    lane.take(log[:middle], 0)
    assert lane.decode.names.series.free
    assert lane.detect.model.forks.open
    assert lane.decode.decoder.held == 1
    assert any(purse.parts for purse in lane.detect.model.alarms.purses.values())
    return lane, log[middle:]


def test_a_state_of_this_version_is_read_and_goes_on_bit_for_bit() -> None:
    before, rest = golden()
    kept = msgspec.msgpack.decode(GOLDEN.read_bytes(), type=dict[str, bytes])
    lane = Lane()
    lane.decode.restore(kept["decode"])
    lane.detect.restore(kept["detect"])
    assert lane.state == (kept["decode"], kept["detect"]) == before.state
    assert lane.take(rest, 0) == before.take(rest, len(rest))
    assert lane.state == before.state


def test_a_state_of_another_version_is_refused_with_one_line_that_says_what_to_do() -> None:
    pack = msgspec.msgpack.encode
    newer = ({"version": 7}, b"", b"")
    looks = ({"version": 3, "series": b"", "entities": b"", "forks": [], "n_series": 0}, b"", b"")
    for state in (newer, looks, {"version": 1, "series": b"", "entities": b"", "forks": []}):
        with pytest.raises(ValueError, match=r"learners .* not of version 6, .* delete the topic opsloop\.state\.lane"):
            Detect().restore(pack(state))
    for names in (
        (["e"], ["m"], b"\0" * 4, b"\0" * 4, {}),
        (["e"], [(0, "m")], {}),
        (2, (), {}),
        (3, (), {}),
        (5, (), {}),
    ):
        with pytest.raises(ValueError, match=r"names .* not of version 4, .* delete the topic opsloop\.state\.lane"):
            Decode().restore(pack(names))
