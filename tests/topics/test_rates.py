"""Counters as rates and histograms as quantiles, through the decoder, whatever the log is cut into."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import orjson
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from topics.batch import HOUR_MS, Batch, Names
from topics.codec import DeadLetter
from topics.frames import FrameBuilder
from topics.signals import Anomaly
from topics.spec import Raw
from topics.telemetry import METRICS

START = 1_700_000_000_000 // HOUR_MS * HOUR_MS
SECOND = 1_000


def sent(ts: int, metrics: Mapping[str, float], entity: str = "e", arrived: int = 0) -> Raw:
    value = orjson.dumps({"entity": entity, "ts": ts, "metrics": metrics})
    return Raw(METRICS.name, 0, 0, entity.encode(), value, (), arrived or ts)


def numbered(log: Sequence[Raw]) -> list[Raw]:
    return [Raw(r.topic, r.partition, at, r.key, r.value, r.headers, r.arrived) for at, r in enumerate(log)]


def decoded(log: Sequence[Raw], cut: int = 0, *, restart: bool = False, decode: Decode | None = None) -> list[tuple[
    int, str, dict[str, float]
]]:  # fmt: skip
    """The samples that come of a log: stamp, entity, values by the name that people see. cut: 0 is at random."""
    decode, found, rng, at = decode or Decode(), list[tuple[int, str, dict[str, float]]](), random.Random(1), 0
    log = numbered(log)
    while at < len(log):
        end = at + (cut or rng.randint(1, 9))
        for each in decode.step(chunk_of(log[at:end]), 0):
            assert not isinstance(each, DeadLetter), each.detail
            if isinstance(each, Batch):
                for number in range(len(each)):
                    own = slice(int(each.start[number]), int(each.start[number + 1]))
                    names = [each.names.series[s][1] for s in each.series[own].tolist()]
                    assert len(set(names)) == len(names)
                    whose = each.names.entities[each.entity[number]]
                    found.append((int(each.ts[number]), whose, dict(zip(names, each.value[own].tolist(), strict=True))))
        if restart:
            state = decode.snapshot()
            decode = Decode()
            decode.restore(state)
            assert decode.snapshot() == state
        at = end
    return found


def values(found: Sequence[tuple[int, str, dict[str, float]]], name: str) -> list[float]:
    return [metrics[name] for _, _, metrics in found if name in metrics]


def test_a_counter_is_its_growth_a_second_and_a_reset_is_no_sample_of_it() -> None:
    counts = [10.0, 20.0, 60.0, 60.0, 5.0, 15.0]
    log = [sent(START + at * 10 * SECOND, {"c_total": count, "g": 1.0}) for at, count in enumerate(counts)]
    found = decoded(log)
    assert [metrics for _, _, metrics in found] == [
        {"g": 1.0}, {"c.rate": 1.0, "g": 1.0}, {"c.rate": 4.0, "g": 1.0}, {"c.rate": 0.0, "g": 1.0}, {"g": 1.0},
        {"c.rate": 1.0, "g": 1.0},
    ]  # fmt: skip


def test_what_is_sent_again_or_late_is_no_growth() -> None:
    stamps, counts = [0, 10, 10, 5, 20], [10.0, 20.0, 20.0, 15.0, 30.0]
    log = [sent(START + s * SECOND, {"c_total": c}) for s, c in zip(stamps, counts, strict=True)]
    assert values(decoded(log), "c.rate") == [1.0, 1.0]


def test_a_counter_and_a_gauge_of_the_same_shown_name_are_two_series() -> None:
    log = [sent(START + at * SECOND, {"c_total": 5.0 * at, 'c_total{a="1"}': 7.0 * at}) for at in range(3)]
    assert [metrics for _, _, metrics in decoded(log)] == [{"c.rate": 5.0, 'c.rate{a="1"}': 7.0}] * 2


BOUNDS = ("0.1", "0.5", "1", "+Inf")


def histogram(
    counts: Sequence[float], total: float | None = None, name: str = "h", labels: str = ""
) -> dict[str, float]:
    found = {f'{name}_bucket{{{labels}le="{bound}"}}': count for bound, count in zip(BOUNDS, counts, strict=True)}
    return found | ({f'{name}_bucket{{{labels}le="sum"}}': total} if total is not None else {})


def test_a_cumulative_histogram_is_its_rate_quantiles_and_mean_since_the_moment_before() -> None:
    log = [sent(START, histogram([50, 50, 50, 50], 7.0)),
           sent(START + 10 * SECOND, histogram([60, 140, 150, 150], 47.0)),
           sent(START + 20 * SECOND, histogram([60, 140, 150, 150], 47.0)),
           sent(START + 30 * SECOND, histogram([1, 1, 1, 1], 0.1)),
           sent(START + 40 * SECOND, histogram([1, 1, 1, 11], 100.1))]  # fmt: skip
    found = decoded(log)
    assert [metrics.keys() for _, _, metrics in found] == [
        {"h.rate", "h.p50", "h.p95", "h.p99", "h.mean"}, {"h.rate"}, {"h.rate", "h.p50", "h.p95", "h.p99", "h.mean"},
    ]  # fmt: skip
    first = found[0][2]
    assert first["h.rate"] == 10.0
    assert first["h.p50"] == pytest.approx(0.1 + 0.4 * 40 / 80)
    assert first["h.p95"] == pytest.approx(0.5 + 0.5 * 5 / 10)
    assert first["h.p99"] == pytest.approx(0.5 + 0.5 * 9 / 10)
    assert first["h.mean"] == pytest.approx(0.4)
    assert found[2][2]["h.p50"] == 1.0  # beyond the last bound nothing is known


def test_a_bound_that_is_new_begins_where_the_one_below_it_was() -> None:
    before, after = {"1": 10.0, "+Inf": 10.0}, {"1": 10.0, "2": 20.0, "+Inf": 20.0}
    log = [sent(START + at * SECOND, {f'h_bucket{{le="{le}"}}': count for le, count in counts.items()})
           for at, counts in enumerate((before, after))]  # fmt: skip
    ((_, _, found),) = decoded(log)
    assert found == pytest.approx({"h.rate": 10.0, "h.p50": 1.5, "h.p95": 1.95, "h.p99": 1.99})


def growing(seconds: int, seed: int = 1) -> list[Raw]:
    """Counters, histograms and gauges of whole senders, and of some that send a message a metric; two restart."""
    rng, log = np.random.default_rng(seed), list[Raw]()
    counts = np.zeros((6, 4))
    for second in range(seconds):
        ts = START + second * SECOND
        counts += np.sort(rng.integers(0, 9, (6, 4)), axis=1)
        counts[second % 6] *= second % 97 != 5
        for entity in range(6):
            metrics = {f"c{at}_total": float(counts[entity, at]) for at in range(4)}
            metrics |= {"g": float(rng.random())} | histogram(counts[entity].tolist(), float(counts[entity, 0]))
            metrics |= {"extra_total": 1.0 * second} if second % 60 == 0 else {}
            parts = [{name: value} for name, value in metrics.items()] if entity % 2 else [metrics]
            log += [sent(ts - (entity % 3) * at // 3, part, f"e/{entity}", ts + at) for at, part in enumerate(parts)]
    return log


def test_rates_and_moments_are_the_same_however_the_log_is_cut_and_restarted() -> None:
    log, last = growing(130), Decode()
    whole = decoded(log, len(log), decode=last)
    assert {entity for _, entity, _ in whole} == {f"e/{at}" for at in range(6)}
    for cut, restart in ((1, False), (0, False), (0, True), (7, True)):
        decode = Decode()
        assert decoded(log, cut, restart=restart, decode=decode) == whole
        if not restart:
            assert decode.snapshot() == last.snapshot()


def test_many_series_that_were_restored_go_on_as_they_were() -> None:
    counts = [histogram([at, 2 * at, 3 * at, 4 * at]) | {"c_total": 2.0 * at, "g": 1.0} for at in range(4)]
    log = [sent(START + at * SECOND, counts[at], f"e/{n}")
           for at in range(4) for n in range(40)]  # fmt: skip
    whole = Decode()
    expected = decoded(log, 40, decode=whole)
    assert len(whole.names.series) > 256
    assert decoded(log, 40, restart=True) == expected
    assert sum("h.p99" in metrics for _, _, metrics in expected) == 3 * 40


def test_frames_and_json_give_the_same_rates() -> None:
    builder, frames, texts = FrameBuilder(), list[Raw](), list[Raw]()
    for at in range(9):
        metrics = histogram([at, 2 * at, 3 * at, 4 * at], at) | {"c_total": 3.0 * at}
        builder.add("e", START + at * SECOND, metrics)
        frames.append(Raw(METRICS.name, 0, 0, b"f", builder.take(), (), START + at * SECOND))
        texts.append(sent(START + at * SECOND, metrics))
    assert decoded(frames) == decoded(texts)
    assert len(decoded(texts)) == 8


def test_a_histogram_that_has_ended_gives_all_its_numbers_back() -> None:
    names = Names(ttl_hours=48)
    decode = Decode(names)
    log = [sent(START + at * HOUR_MS // 4, {f'h_bucket{{day="{at // 96}",le="{b}"}}': 1.0 * at for b in BOUNDS})
           for at in range(96 * 12)]  # fmt: skip
    sizes = []
    for day in range(12):
        found = decoded(log[96 * day : 96 * (day + 1)], decode=decode)
        assert len(values(found, f'h.p50{{day="{day}"}}')) == 95
        sizes.append((len(names.series), names.series.used))
    assert sizes[5] == sizes[11]
    assert len(names.series) <= 5 * 9


def told(log: Sequence[Raw]) -> list[Anomaly]:
    decode, detect = Decode(), Detect()
    return [anomaly for given in decode.step(chunk_of(numbered(log)), 0) for anomaly in detect.step([given], 0)]


def counters(rates: Mapping[str, Sequence[float]], restarts: Sequence[int] = ()) -> list[Raw]:
    """A minute's sample of each counter, which grows by its rates with some noise, a second."""
    rng, log, counts = np.random.default_rng(3), list[Raw](), dict.fromkeys(rates, 0.0)
    for at in range(len(next(iter(rates.values())))):
        for name, grows in rates.items():
            counts[name] = 0.0 if at in restarts else counts[name] + float(rng.poisson(grows[at] * 10))
        log.append(sent(START + at * 10 * SECOND, counts))
    return log


def raised(anomalies: Sequence[Anomaly]) -> list[int]:
    return [(a.ts - START) // (10 * SECOND) for a in anomalies if a.state == "raised" and a.view == "first"]


def test_ten_counters_whose_rates_grow_tenfold_are_told_and_restarts_are_not() -> None:
    usual = [20.0] * 600
    assert raised(told(counters({f"c{at}_total": usual for at in range(10)}, (150, 152, 400)))) == []
    grows = [20.0] * 500 + [200.0] * 100
    found = told(counters({f"c{at}_total": grows for at in range(10)}))
    assert raised(found)[:1] == [500]
    assert {a.metric for a in found[0].attribution} <= {f"c{at}.rate" for at in range(10)}


def test_a_counter_that_stands_still_after_growing_is_told() -> None:
    stops = [20.0] * 500 + [0.0] * 100
    assert raised(told(counters({"c_total": stops})))[:1] == [500]
    assert raised(told(counters({f"c{at}_total": stops for at in range(10)})))[:1] == [500]


def test_errors_that_grow_by_fifty_instead_of_two_are_told() -> None:
    rates = {"requests_total": [30.0] * 600, "errors_total": [0.2] * 500 + [5.0] * 100, "bytes_total": [900.0] * 600}
    assert 500 <= raised(told(counters(rates)))[0] <= 502
