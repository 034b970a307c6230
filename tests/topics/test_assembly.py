"""What is sent again, or comes late, changes neither what is learned nor what is said, whoever sends it and how."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence

import orjson
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from tests.topics.test_rates import SECOND, START, decoded, numbered, sent, values
from topics.codec import DeadLetter, encode
from topics.spec import Raw

MINUTE = 60 * SECOND
Sent = tuple[int, int, dict[str, float]]  # arrival, stamp, metrics
SHARED = "two senders of one metric"
Sender = Callable[[random.Random, int], Iterator[Sent]]  # seconds


def whole(rng: random.Random, seconds: int) -> Iterator[Sent]:
    for at in range(seconds):
        ts = START + at * SECOND
        far = 40.0 if 200 <= at < 220 else 0.0
        yield ts + rng.randrange(300), ts, {name: rng.gauss(10, 1) + far for name in "abcd"} | {"n_total": 3.0 * at}


def apart(period: int, between: int) -> Sender:
    """A message a metric, some ms after each other."""

    def sender(rng: random.Random, seconds: int) -> Iterator[Sent]:
        for at in range(0, seconds * SECOND, period):
            for nth, name in enumerate("abcd"):
                ts = START + at + nth * between
                yield ts + rng.randrange(20), ts, {name: rng.gauss(10, 1) + 40.0 * (at // SECOND in range(200, 220))}

    return sender


def two_senders(second: str) -> Sender:
    """Of whole samples under one name, near each other now and then."""

    def sender(rng: random.Random, seconds: int) -> Iterator[Sent]:
        for at in range(seconds):
            for names, after in (("ab", 0), (second, rng.choice((200, 400)))):
                ts = START + at * SECOND + after
                yield ts + rng.randrange(20), ts, {name: rng.gauss(10, 1) for name in names}

    return sender


def shifted(by: int, since: int = 0) -> Sender:
    """Whole samples of a clock that is `by` ms ahead from a second on."""

    def sender(rng: random.Random, seconds: int) -> Iterator[Sent]:
        for at, (arrived, ts, metrics) in enumerate(whole(rng, seconds)):
            yield arrived, ts + (by if at >= since else 0), metrics

    return sender


SENDERS: dict[str, Sender] = {
    "whole samples": whole,
    "a metric a message": apart(SECOND, 0),
    "a metric a message, milliseconds apart": apart(SECOND, 40),
    "a metric a message, every fifth of a second": apart(200, 0),
    "two senders": two_senders("cd"),
    SHARED: two_senders("acd"),
    "a clock a little ahead": shifted(2 * SECOND),
    "a clock far ahead": shifted(120 * SECOND),
    "a clock that is set forward": shifted(30 * SECOND, 150),
    "a clock far behind": shifted(-400 * SECOND),
}


def log_of(name: str, seed: int, *, again: float = 0.0, late: float = 0.0) -> list[Raw]:
    """What one sender sends, in the order of arrival: a share of it twice, or up to half a minute late."""
    rng = random.Random(f"{name} {seed}")
    queue: list[tuple[int, int, Raw]] = []
    for number, (arrived, ts, metrics) in enumerate(SENDERS[name](rng, 300)):
        delays = [rng.randrange(30 * SECOND) if rng.random() < late else 0]
        delays += [rng.randrange(30 * SECOND)] if rng.random() < again else []
        for delay in delays:
            heapq.heappush(queue, (arrived + delay, number, sent(ts, metrics, arrived=arrived + delay)))
    return numbered([heapq.heappop(queue)[2] for _ in range(len(queue))])


def newer(log: Sequence[Raw]) -> list[Raw]:
    """Without what is not newer than the newest of its metric."""
    newest: dict[str, int] = {}
    kept = []
    for raw in log:
        sample = orjson.loads(raw.value or b"")
        fresh = {name: value for name, value in sample["metrics"].items() if sample["ts"] > newest.get(name, 0)}
        newest |= dict.fromkeys(fresh, sample["ts"])
        if fresh:
            value = orjson.dumps(sample | {"metrics": fresh})
            kept.append(Raw(raw.topic, raw.partition, raw.offset, raw.key, value, (), raw.arrived))
    return kept


def outcome(log: Sequence[Raw]) -> tuple[list[bytes], bytes, list[bytes], bytes]:
    """What is said and learned, what is said of the fresh samples that follow, and all state then."""
    decode, detect = Decode(), Detect()

    def said(raws: Sequence[Raw]) -> list[bytes]:
        found = []
        for given in decode.step(chunk_of(raws), 0):
            assert not isinstance(given, DeadLetter)
            found += [encode(anomaly).value for anomaly in detect.step([given], 0)]
        return found

    other = sent(START + 400 * SECOND, {"x": 1.0}, "other")  # ends what is held of the last moment
    first, learned = (
        said([*log, Raw(other.topic, 0, 10**5, other.key, other.value, (), other.arrived)]),
        detect.snapshot(),
    )
    fresh = [sent(START + at * SECOND, dict.fromkeys("abcd", 50.0)) for at in range(500, 520)]
    then = said([Raw(r.topic, 0, 10**6 + at, r.key, r.value, (), r.arrived) for at, r in enumerate(fresh)])
    return first, learned, then, decode.snapshot() + detect.snapshot()


@pytest.mark.parametrize(
    ("name", "again", "late"),
    [
        (name, again, late)
        for name in SENDERS
        for again, late in ((0.3, 0.0), (0.1, 0.1))
        if not (late and name == SHARED)
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_sent_again_or_late_changes_nothing(name: str, again: float, late: float, seed: int) -> None:
    log = log_of(name, seed, again=again, late=late)
    tidy = newer(log)
    assert len(tidy) < len(log)
    assert outcome(log) == outcome(tidy)


def test_a_metric_of_a_moment_that_is_over_and_sent_again_is_no_part_of_the_next() -> None:
    """Though they are near each other, and its own has not come yet."""
    log = [sent(START + at * 200, {name: 10.0 * at + nth}) for at in range(8) for nth, name in enumerate("abc")]
    again = [*log[:-2], log[-5], *log[-2:]]  # b of the seventh after a of the eighth
    found = decoded(log)
    assert found[-1] == (START + 1_400, "e", {"a": 70.0, "b": 71.0, "c": 72.0})
    assert decoded(again) == [*found[:-1], (START + 1_200, "e", {"b": 61.0}), found[-1]], "which is known, as it was"


def test_a_metric_that_is_sent_again_is_not_learned_before_its_moment() -> None:
    log = [sent(START + at * SECOND + 40 * nth, {name: 1.0}) for at in range(8) for nth, name in enumerate("abc")]
    again = [*log[:-1], log[-3], log[-1]]  # a, which is held with b until c comes
    assert decoded(again) == decoded(log)


def test_a_metric_that_is_late_is_given_on_alone_unless_a_newer_one_is_held() -> None:
    log = [sent(START + at * SECOND, {name: 1.0}) for at in range(8) for name in "abc"]
    late = [*log[:-5], log[-4], log[-3], log[-2], log[-5], log[-1]]  # b of the seventh after that of the eighth
    assert decoded(late)[-2:] == [
        (START + 6 * SECOND, "e", {"a": 1.0, "c": 1.0}), (START + 7 * SECOND, "e", {"a": 1.0, "b": 1.0, "c": 1.0}),
    ]  # fmt: skip
    late = [*log[:-5], log[-4], log[-3], log[-5], *log[-2:]]  # and before it
    assert decoded(late)[-2:] == [
        (START + 6 * SECOND, "e", {"b": 1.0}), (START + 7 * SECOND, "e", {"a": 1.0, "b": 1.0, "c": 1.0}),
    ]  # fmt: skip


def test_an_entity_that_sends_in_parts_is_known_at_once_though_an_old_sample_is_sent_again_between_them() -> None:
    old = [sent(START + at * SECOND, {"a": 1.0, "b": 1.0}) for at in range(-5, 0)]
    log = [*old, *(sent(START + at * SECOND, {name: 1.0}) for at in range(3) for name in "ab")]
    again = [*log[:6], old[1], *log[6:]]
    found = decoded(log)
    assert [each for each in decoded(again) if each[0] >= START] == [each for each in found if each[0] >= START]


def test_an_entity_whose_samples_are_whole_again_is_not_held_though_each_is_sent_twice() -> None:
    parts = [sent(START + at * SECOND, {name: 1.0}) for at in range(5) for name in "ab"]
    whole = [sent(START + at * SECOND, {"a": 1.0, "b": 1.0}) for at in range(10, 20) for _ in range(2)]
    decode = Decode()
    decoded([*parts, *whole], decode=decode)
    assert len(decoded([sent(START + 30 * SECOND, {"a": 1.0})], decode=decode)) == 1


@pytest.mark.parametrize("ahead", [1_500, 2_000, 120_000])
def test_a_repeat_of_a_clock_that_is_ahead_has_its_first_stamp(ahead: int) -> None:
    """Also where it is not ahead of its arrival any more."""

    def at(second: int, arrived: int) -> Raw:
        return sent(START + second * SECOND + ahead, {"n_total": 3.0 * second}, arrived=START + arrived)

    log = [at(second, second * SECOND + second % 3 * 100) for second in range(20)]
    found = decoded(log)
    assert [(ts - START) // SECOND for ts, _, _ in found] == [*range(1, 20)]
    assert values(found, "n.rate")[2:] == [3.0] * 17  # by its own clock, however long each was under way
    again = [*log[:-1], *(at(second, 18_500) for second in (0, 5, 16, 17, 18)), log[-1]]
    assert decoded(again) == found


def test_a_repeat_of_a_clock_that_was_set_back_has_its_first_stamp() -> None:
    def at(second: int, arrived: int) -> Raw:
        ts = START + (second - 200 if second >= 100 else second) * SECOND
        return sent(ts, {"n_total": 3.0 * second}, arrived=START + arrived)

    log = [at(second, second * SECOND + second % 3 * 100) for second in range(200)]
    found = decoded(log)
    late = [(ts - START) // SECOND for ts, _, _ in found]
    assert late == [*range(1, 100), *range(161, 200)]
    assert values(found, "n.rate")[-38:] == [3.0] * 38
    again = [*log[:-1], *(at(second, 198_500) for second in (50, 99, 150, 170, 198)), log[-1]]
    assert decoded(again) == found


def test_a_stamp_in_the_future_that_is_sent_again_is_learned_once() -> None:
    log = [sent(START + at * SECOND, {"m": 1.0}) for at in range(20)]
    bad = [sent(START + 300 * SECOND, {"m": 5.0}, arrived=START + 10 * SECOND + later) for later in (500, 5_500)]
    found = decoded([*log[:11], bad[0], *log[11:16], bad[1], *log[16:]])
    assert [(ts - START, metrics["m"]) for ts, _, metrics in found if metrics["m"] > 1.0] == [(10_500, 5.0)] * 2
    assert len(found) == 22
