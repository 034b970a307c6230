"""Parts of a moment are put together, whole samples are never held, and no stamp blinds anybody."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from app.ingest.warm_up import warm_up
from tests.topics.test_rates import SECOND, START, decoded, growing, numbered, sent, told
from topics import assembly, rates
from topics.frames import FrameBuilder
from topics.signals import Anomaly
from topics.spec import Raw
from topics.telemetry import METRICS


def parts(moments: int, names: Sequence[str], entity: str = "e", period: int = 10 * SECOND) -> list[Raw]:
    """A message for each metric of each moment."""
    return [
        sent(START + at * period, {name: float(at)}, entity, START + at * period + nth)
        for at in range(moments) for nth, name in enumerate(names)
    ]  # fmt: skip


def shape(found: Sequence[tuple[int, str, Mapping[str, float]]]) -> list[tuple[int, str]]:
    return [((ts - START) // SECOND, "".join(metrics)) for ts, _, metrics in found]


def test_messages_of_one_moment_are_one_sample_which_is_given_on_with_its_last_part() -> None:
    log = parts(5, "abc")
    assert shape(decoded(log)) == [(0, "a"), (0, "bc"), (10, "abc"), (20, "abc"), (30, "abc"), (40, "abc")]
    decode = Decode()
    decoded(log[:-1], decode=decode)
    assert shape(decoded(log[-1:], decode=decode)) == [(40, "abc")]


def test_plugins_that_measure_a_few_milliseconds_apart_are_one_sample() -> None:
    """As collectd's are."""
    log = [sent(START + at * 10 * SECOND + 40 * nth, {name: 1.0}) for at in range(5) for nth, name in enumerate("abc")]
    assert shape(decoded(log))[3:] == [(10, "abc"), (20, "abc"), (30, "abc"), (40, "abc")]


def test_whole_samples_are_given_on_at_once_also_after_one_that_came_in_parts() -> None:
    whole = [sent(START + at * SECOND, {"a": 1.0, "b": 2.0}) for at in range(100, 130)]
    for log in (whole, [*parts(5, "ab"), *whole]):
        decode = Decode()
        decoded(log[:-30], decode=decode)
        for raw in log[-30:]:
            assert shape(decoded([raw], decode=decode)) == [((raw.arrived - START) // SECOND, "ab")]


def test_two_senders_of_whole_samples_under_one_name_are_not_held() -> None:
    log = [sent(START + at * SECOND + ahead, {name: 1.0}) for at in range(20) for ahead, name in ((0, "a"), (500, "b"))]
    decode = Decode()
    for raw in log:
        assert len(decoded([raw], decode=decode)) == 1


def test_a_sender_that_is_soon_again_with_fewer_metrics_is_not_held() -> None:
    """A process that was killed is told by what is left: `up`."""
    log = [sent(START + at * 200, {"cpu": 0.5, "up": 1.0} if at < 10 else {"up": 0.0}) for at in range(20)]
    decode = Decode()
    for raw in log:
        assert len(decoded([raw], decode=decode)) == 1


def test_a_part_that_is_lost_holds_the_others_until_the_next_moment_or_for_a_second_of_arrival() -> None:
    log = [raw for at, raw in enumerate(parts(6, "abc")) if at != 10]
    assert shape(decoded(log))[2:] == [(10, "abc"), (20, "abc"), (30, "ac"), (40, "abc"), (50, "abc")]
    lost = log[:11]  # of the moment at 30 s
    other = [sent(START + 30 * SECOND + late, {"x": 1.0}, "other") for late in (900, 1_100)]
    found = decoded([*lost, *other])
    assert [entity for _, entity, _ in found][-3:] == ["other", "e", "other"]


def test_a_metric_that_comes_every_sixth_moment_holds_up_no_other_moment() -> None:
    log = [sent(START + at * SECOND, {name: 1.0}) for at in range(60) for name in ("abcd" if at % 6 == 0 else "abc")]
    decode, late = Decode(), 0
    for at, raw in enumerate(log):
        found = decoded([raw], decode=decode)
        late += any(ts < raw.arrived for ts, _, metrics in found if len(metrics) > 1) if at > 12 else 0
    assert late == 0


def test_parts_are_the_same_however_the_log_is_cut_and_restarted() -> None:
    rng, log = random.Random(5), list[Raw]()
    for at in range(300):
        for name in "abcdef":
            if rng.random() < 0.97:
                ts = START + at * SECOND
                log.append(
                    sent(ts + rng.choice((0, 0, 40)), {name: rng.random()}, f"e/{at % 3}", ts + rng.randint(0, 3000))
                )
    last = Decode()
    whole = decoded(log, len(log), decode=last)
    assert max(len(metrics) for _, _, metrics in whole) == 6
    for cut, restart in ((1, False), (0, True), (13, True)):
        decode = Decode()
        assert decoded(log, cut, restart=restart, decode=decode) == whole
        if not restart:
            assert decode.snapshot() == last.snapshot()


def test_a_metric_a_message_is_told_with_its_attribution_and_no_sample_calls_it_well() -> None:
    """As the same metrics in one message are."""
    rng, whole, single = np.random.default_rng(2), list[Raw](), list[Raw]()
    for at in range(400):
        ts, far = START + at * 10 * SECOND, 50.0 * (at >= 300)
        metrics = {f"m{n}": float(rng.normal() + far) for n in range(6)}
        whole.append(sent(ts, metrics))
        single += [sent(ts, {name: value}) for name, value in metrics.items()]

    def seen(log: Sequence[Raw]) -> list[tuple[str, int, str, int]]:
        return [(a.state, a.ts, a.metric, len(a.attribution)) for a in told(log) if a.view == "first"]

    assert ("raised", START + 3_000 * SECOND) in [each[:2] for each in seen(whole)]
    assert all(count for *_, count in seen(single))
    assert [each[:2] for each in seen(single)][:20] == [each[:2] for each in seen(whole)][:20]


# --- clocks -----------------------------------------------------------------------------------------------------------


def noise(
    count: int, first: int = 0, *, ahead: int = 0, entity: str = "e", far: float = 0.0, arrived: int = 0
) -> list[Raw]:
    """Samples a second, whose stamps are so many ms ahead of their arrival."""
    rng = np.random.default_rng(first + 1)
    return [
        sent(START + at * SECOND + ahead, {f"m{n}": float(rng.normal() + far) for n in range(4)}, entity,
             arrived or START + at * SECOND)
        for at in range(first, first + count)
    ]  # fmt: skip


def raised(found: Sequence[Anomaly]) -> list[int]:
    return [(a.ts - START) // SECOND for a in found if a.state == "raised" and a.view == "first"]


@pytest.mark.parametrize("ahead", [2 * SECOND, 599 * SECOND])
def test_one_stamp_in_the_future_harms_one_sample_of_one_entity(ahead: int) -> None:
    bad = noise(1, 300, ahead=ahead)
    found = told([*noise(300), *bad, *noise(9, 301), *noise(30, 310, far=50.0)])
    assert raised(found)[:1] == [310]


def test_one_stamp_in_the_future_makes_nobody_absent_and_blinds_no_absence() -> None:
    log = [raw for at in range(200) for raw in (noise(1, at, entity="a"), noise(1, at, entity="b"))]
    steady = [raw[0] for raw in log]
    bad = noise(1, 200, ahead=599 * SECOND, entity="a")
    rest = [raw for at in range(201, 260) for raw in noise(1, at, entity="a")]
    absent = [a for a in told([*steady, *bad, *rest]) if a.kind == "absence"]
    assert [(a.entity, a.state) for a in absent] == [("b", "raised")]
    assert 205 <= (absent[0].ts - START) // SECOND <= 215


@pytest.mark.parametrize("by", [3_600, 200])
def test_a_clock_that_is_set_back_blinds_its_entity_for_a_minute_at_most(by: int) -> None:
    back = noise(100, 300, ahead=-by * SECOND)
    found = told([*noise(300), *back, *noise(30, 400, ahead=-by * SECOND, far=50.0)])
    assert raised(found)[:1] == [400]
    again = told([*noise(300), *back, *noise(100, 400), *noise(30, 500, far=50.0)])  # and forward again
    assert raised(again)[:1] == [500]


def test_a_clock_that_is_always_ahead_is_followed_by_arrival() -> None:
    found = told([*noise(300, ahead=120 * SECOND), *noise(30, 300, ahead=120 * SECOND, far=50.0)])
    assert raised(found)[:1] == [300]


@pytest.mark.parametrize("ahead", [5, 120])
def test_a_clock_that_was_ahead_and_is_right_again_blinds_its_entity_for_a_minute_at_most(ahead: int) -> None:
    log = [*noise(200, ahead=ahead * SECOND), *noise(100, 200), *noise(30, 300, far=50.0)]
    assert raised(told(log))[:1] == [300]


def test_a_sample_ahead_between_others_of_a_clock_that_is_ahead_harms_one_sample() -> None:
    log = [*noise(300, ahead=2 * SECOND), *noise(1, 300, ahead=599 * SECOND), *noise(9, 301, ahead=2 * SECOND)]
    assert raised(told([*log, *noise(30, 310, ahead=2 * SECOND, far=50.0)]))[:1] == [310]


def test_what_comes_late_after_an_outage_is_learned_and_raises_no_alarm() -> None:
    calm, outage = noise(300), START + 4_000 * SECOND
    late = [
        *noise(600, 300, arrived=outage),
        *noise(300, 900, far=50.0, arrived=outage),
        *noise(2_700, 1200, arrived=outage),
    ]
    fresh = noise(100, 4_000)
    assert raised(told([*calm, *late, *fresh])) == []
    assert raised(told([*calm, *noise(600, 300), *noise(300, 900, far=50.0)]))[:1] == [900]
    rows = []
    for arrived in (outage, 0):
        decode, detect = Decode(), Detect()
        log = [*calm, *noise(600, 300, arrived=arrived), *noise(300, 900, far=50.0, arrived=arrived)]
        for given in decode.step(chunk_of(numbered(log)), 0):
            list(detect.step([given], 0))
        rows.append(detect.model.bank.series)
    assert np.array_equal(*rows)  # learned as if it had come in time


def test_a_fault_that_lasts_beyond_what_came_late_is_told_with_the_first_fresh_sample() -> None:
    late = START + 2_700 * SECOND
    far = [raw for at in range(2_270, 2_300) for raw in noise(1, at, far=50.0, arrived=late)]
    found = told([*noise(300), *noise(1_970, 300, arrived=late), *far, *noise(30, 2_700, far=50.0)])
    assert raised(found) == [2_700]


def test_a_worker_compiles_all_of_it_before_the_first_record() -> None:
    """Else the first part or counter would hold its partition up for seconds."""
    kernels: list[Any] = [assembly.follow, assembly.assemble, assembly.give, rates.convert]
    warm_up()
    before = [len(each.signatures) for each in kernels]
    builder = FrameBuilder()
    for at in range(3_000):
        builder.add("e", START + at * SECOND, {"c_total": 1.0 * at, "g": 1.0})
    frame = Raw(METRICS.name, 0, 0, b"f", builder.take(), (), START + 3_000 * SECOND)
    decoded([*growing(30), frame, *growing(40)[-60:]], 7)
    assert [len(each.signatures) for each in kernels] == before
