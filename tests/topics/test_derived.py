"""Derived signals through the decoder: right values, no value where one is missing, and the same however it is cut."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from agents._partition import through
from agents.decode import Decode, chunk_of
from agents.detect import Detect
from tests.packs import said, signals
from tests.topics.test_rates import SECOND, START, decoded, numbered, sent, values
from topics.batch import HOUR_MS, Forgotten, Names
from topics.codec import Cause, DeadLetter
from topics.frames import FrameBuilder
from topics.meanings import MOST_SIGNALS, NOTHING, Meanings
from topics.signals import Anomaly
from topics.spec import Raw
from topics.telemetry import METRICS

ERRORS = said(signals(errors_ratio='rate(http_requests_total{status="5*"}) / rate(http_requests_total)'))
HALF = said(signals(half="a / b"))


def counts(second: int, **by_status: float) -> Raw:
    metrics = {f'http_requests_total{{status="{status[1:]}"}}': count for status, count in by_status.items()}
    return sent(START + second * SECOND, metrics)


def gauges(*rows: Mapping[str, float], period: int = 10 * SECOND) -> list[Raw]:
    return [sent(START + at * period, row) for at, row in enumerate(rows)]


def taught(meanings: Meanings, **bounds: int) -> Decode:
    return Decode(Names(**bounds), lambda: meanings)


def shown(log: Sequence[Raw], meanings: Meanings, name: str, cut: int = 0) -> list[float]:
    return values(decoded(log, cut, decode=taught(meanings)), name)


def test_an_operand_is_the_sum_of_all_its_series_and_a_counter_counts_by_its_rate() -> None:
    log = [counts(at, s200=100.0 + 6 * at, s404=4.0 * at, s500=8.0 * at, s503=2.0 * at) for at in range(4)]
    assert shown(log, ERRORS, "errors.ratio") == [0.5, 0.5, 0.5], "the first sample of a counter has no rate"


def test_an_entity_without_all_operands_has_no_number_for_the_signal() -> None:
    decode = taught(HALF)
    decoded(gauges({"a": 1.0}, {"a": 2.0}), decode=decode)
    assert decode.names.metrics("e") == {"a"}
    decoded(gauges({"a": 1.0, "b": 2.0}), decode=decode)
    assert "=half" in decode.names.metrics("e")


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_what_was_never_counted_is_zero_of_what_else_is_counted_under_its_name(cut: int) -> None:
    log = [counts(at, s200=10.0 * at) for at in range(4)]
    log += [counts(4 + at, s200=40.0 + 5 * at, s500=5.0 * at) for at in range(3)]
    assert shown(log, ERRORS, "errors.ratio", cut) == [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]
    others = said(signals(one='rate(failed_total{kind="x"}) / rate(asked_total)', two='a{n="1"} / a'))
    log = [sent(START + at * SECOND, {"asked_total": 1.0 * at, 'a{n="2"}': 3.0}) for at in range(3)]
    assert shown(log, others, "one") == shown(log, others, "two") == [], "nothing says that it would be counted"


def test_what_is_not_counted_any_more_is_zero_after_some_periods() -> None:
    log = [counts(at, s200=10.0 * at, s500=10.0 * at) for at in range(4)] + [
        counts(at, s200=10.0 * at) for at in range(4, 12)
    ]
    assert shown(log, ERRORS, "errors.ratio") == [0.5] * 3 + [0.0] * 4, "for four periods it may come again"


@pytest.mark.parametrize("seed", range(12))
def test_a_signal_has_the_same_values_however_the_log_is_cut_also_where_its_operands_begin(seed: int) -> None:
    rng = random.Random(seed)
    said_ = said(signals(rest='a - a{x="1"}', ratio="a / b", failed='rate(n_total{s="5*"}) / rate(n_total)'))
    names = ["a", 'a{x="1"}', "b", 'n_total{s="200"}', 'n_total{s="500"}']
    begins = {name: rng.randrange(20) for name in names}
    log = [
        sent(
            START + at * SECOND,
            {n: float(at + 1) for n in names if at >= begins[n] and rng.random() < 0.7} | {"z": 1.0},
        )
        for at in range(40)
    ]
    whole = decoded(log, 0, decode=taught(said_))
    assert all(decoded(log, cut, decode=taught(said_)) == whole for cut in (1, 2, 3, 7, 11))
    assert decoded(log, 4, restart=True, decode=taught(said_)) == whole


def test_the_time_of_a_sample_is_in_seconds() -> None:
    left = said(signals(left="ends - time()"))
    log = [sent(START + at * SECOND, {"ends": START / 1000 + 60.0}) for at in range(3)]
    assert shown(log, left, "left") == [60.0, 59.0, 58.0]


def test_what_is_missing_in_a_moment_or_divided_by_zero_has_no_value_then() -> None:
    rows = [{"a": 6.0, "b": 3.0}, {"a": 6.0}, {"b": 3.0}, {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 2.0}]
    found = decoded(gauges(*rows), decode=taught(HALF))
    assert [metrics.get("half") for _, _, metrics in found] == [2.0, None, None, None, 0.0]


def test_what_is_no_finite_number_or_too_large_to_learn_from_has_no_value() -> None:
    odd = said(signals(large="a * a", infinite="a * a * a * a", nothing="infinite - infinite", small="a / a"))
    found = decoded(gauges({"a": 1e90}), decode=taught(odd))
    assert found[0][2] == {"a": 1e90, "small": 1.0}


def test_half_of_a_sum_is_no_sum_until_what_is_missing_has_been_away_for_some_periods() -> None:
    both = {'a{n="1"}': 1.0, 'a{n="2"}': 2.0, "b": 3.0}
    one = {'a{n="1"}': 1.0, "b": 3.0}
    found = decoded(gauges(both, both, *[one] * 6), decode=taught(HALF))
    assert [metrics.get("half") for _, _, metrics in found] == [1.0, 1.0, *[None] * 4, *[1 / 3] * 2]
    found = decoded(gauges(*[both, one] * 4), decode=taught(HALF))
    assert [metrics.get("half") for _, _, metrics in found] == [1.0, None] * 4, "a sender that leaves out what is alike"


def test_a_counter_that_was_reset_has_no_rate_and_the_signal_no_value_then() -> None:
    fine = [counts(at, s200=90.0 * at, s500=10.0 * at) for at in range(5)]
    after = [counts(at, s200=90.0 * (at - 5), s500=10.0 * (at - 5)) for at in range(5, 8)]
    found = decoded([*fine, *after], decode=taught(ERRORS))
    assert [metrics.get("errors.ratio") for _, _, metrics in found] == [0.1] * 6  # no sample where nothing has a rate
    alone = [counts(at, s200=90.0 * at, s500=10.0 * (at % 3)) for at in range(6)]
    found = decoded(alone, decode=taught(ERRORS))
    assert [m.get("errors.ratio") for _, _, m in found] == [0.1, 0.1, None, 0.1, 0.1], "one counter alone began anew"


def test_a_signal_may_rest_on_another_one_whose_name_is_a_pattern_too() -> None:
    chain = said(signals(outer="inner.one / 2", inner_one="a + b", alone="outer + 1"))
    found = decoded(gauges({"a": 1.0, "b": 3.0}, {"a": 1.0}), decode=taught(chain))
    assert [metrics for _, _, metrics in found] == [
        {"a": 1.0, "b": 3.0, "inner.one": 4.0, "outer": 2.0, "alone": 3.0}, {"a": 1.0},
    ]  # fmt: skip


def test_signals_that_need_themselves_are_left_out_and_others_go_on() -> None:
    circle = said(signals(one="two + a", two="one + a", half="a / b"))
    found = decoded(gauges({"a": 1.0, "b": 2.0}), decode=taught(circle))
    assert found[0][2] == {"a": 1.0, "b": 2.0, "half": 0.5}


def test_a_series_of_the_entity_takes_the_name_of_a_signal_whenever_it_comes() -> None:
    rows = [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0, "half": 9.0}, {"a": 1.0, "b": 2.0}]
    decode = taught(HALF)
    found = decoded(gauges(*rows), decode=decode)
    assert [metrics.get("half") for _, _, metrics in found] == [0.5, 9.0, None]
    assert decode.names.metrics("e") == {"a", "b", "half"}
    assert [m.get("half") for _, _, m in decoded(gauges(rows[1], rows[0]), decode=taught(HALF))] == [9.0, None]


def test_what_a_pack_calls_a_rate_is_a_counter_though_its_name_does_not_say_so() -> None:
    """As of exporters that name no types: a summary's sum and count, and the counters of databases."""
    mean = said(signals(wait_mean="rate(wait_seconds_sum) / rate(wait_seconds_count)"))
    rows = [{"wait_seconds_sum": 3.0 * at, "wait_seconds_count": 2.0 * at, "g_count": 7.0} for at in range(3)]
    found = decoded(gauges(*rows), decode=taught(mean))
    assert [metrics for _, _, metrics in found] == [
        {"g_count": 7.0},
        *[{"wait_seconds_sum.rate": 0.3, "wait_seconds.rate": 0.2, "g_count": 7.0, "wait.mean": 0.3 / 0.2}] * 2,
    ]  # fmt: skip


def test_what_a_pack_names_as_a_level_too_stays_one() -> None:
    both = said(signals(grows="rate(depth)", level="depth / 2"))
    found = decoded(gauges(*({"depth": 2.0 * at} for at in range(3))), decode=taught(both))
    assert [metrics for _, _, metrics in found] == [{"depth": 2.0 * at, "level": 1.0 * at} for at in range(3)]


def test_the_rate_of_the_sum_of_a_histogram_is_its_mean_as_often_as_it_was_observed() -> None:
    mean = said(signals(wait_mean="rate(wait_seconds_sum) / rate(wait_seconds_count)"))
    rows = []
    for at in range(4):
        rows.append({})
        for route, seconds in (("/a", 1.0), ("/b", 3.0)):
            labels = f'route="{route}",le='
            rows[-1] |= {f'wait_seconds_bucket{{{labels}"2"}}': 10.0 * at if seconds < 2 else 0.0,
                         f'wait_seconds_bucket{{{labels}"+Inf"}}': 10.0 * at,
                         f'wait_seconds_bucket{{{labels}"sum"}}': 10.0 * at * seconds}  # fmt: skip
    assert shown(gauges(*rows), mean, "wait.mean") == pytest.approx([2.0, 2.0, 2.0])


def test_parts_of_one_moment_are_put_together_before_anything_follows_from_them() -> None:
    log = [
        sent(START + at * 10 * SECOND, {name: value}, "e", START + at * 10 * SECOND + nth)
        for at in range(5) for nth, (name, value) in enumerate({"a": 4.0, "b": 2.0, "c": 1.0}.items())
    ]  # fmt: skip
    found = decoded(log, decode=taught(HALF))
    assert [(ts - START) // SECOND for ts, _, metrics in found if "half" in metrics] == [10, 20, 30, 40]
    assert {metrics["half"] for _, _, metrics in found if "half" in metrics} == {2.0}


def test_frames_have_them_too() -> None:
    frame = FrameBuilder()
    for at in range(3_000):
        frame.add(f"e{at % 3}", START + at, {"a": float(at), "b": 2.0} if at % 3 else {"a": 1.0})
    found = decoded([Raw(METRICS.name, 0, 0, b"", frame.take(), (), START + 5_000)], decode=taught(HALF))
    assert values(found, "half") == [at / 2 for at in range(3_000) if at % 3]


def test_a_name_that_stands_for_a_derived_signal_is_no_name_of_a_metric() -> None:
    found = list(Decode().step(chunk_of([sent(START, {"=half": 1.0})]), 0))
    assert [each.cause for each in found if isinstance(each, DeadLetter)] == [Cause.WRONG_TYPE]


def test_a_signal_ends_with_the_last_series_of_an_operand_and_comes_back_with_it() -> None:
    decode = taught(HALF, ttl_hours=48)
    decoded([sent(START, {"a": 1.0, "b": 2.0})], decode=decode)
    hours = [sent(START + hour * HOUR_MS, {"a": 1.0}) for hour in range(60)]
    decoded(hours, decode=decode)
    assert decode.names.metrics("e") == {"a"}
    assert shown([*hours, sent(START + 61 * HOUR_MS, {"a": 1.0, "b": 2.0})], HALF, "half") == [0.5]


def test_where_there_is_no_room_the_signal_is_left_out_and_not_the_series() -> None:
    decode = taught(HALF, most_metrics=3)
    found = decoded(gauges({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0, "c": 3.0}), decode=decode)
    assert [metrics for _, _, metrics in found] == [{"a": 1.0, "b": 2.0, "half": 0.5}, {"a": 1.0, "b": 2.0, "c": 3.0}]
    decode = taught(HALF, most_metrics=2)
    assert decoded(gauges({"a": 1.0, "b": 2.0}), decode=decode)[0][2] == {"a": 1.0, "b": 2.0}
    many = said(signals(**{f"s{at}": f"a + {at}" for at in range(2 * MOST_SIGNALS)}))
    assert len(decoded(gauges({"a": 1.0}), decode=taught(many))[0][2]) == 1 + MOST_SIGNALS


def mixed(moments: int, seed: int = 2) -> list[Raw]:
    """Three entities: counters with labels that come and go and are reset, parts, and a frame now and then."""
    rng, log, total = np.random.default_rng(seed), list[Raw](), dict[str, float]()
    for at in range(moments):
        ts = START + at * 5 * SECOND
        for status in ("200", "404", "500", "503"):
            total[status] = 0.0 if at % 70 == 69 else total.get(status, 0.0) + float(rng.integers(0, 9))
        by_status = {f"s{s}": n for s, n in total.items() if rng.random() > 0.1}
        log.append(sent(ts, {**counts_of(by_status), "x": float(rng.integers(0, 3))}, "shop/a"))
        log += [sent(ts, {name: float(rng.integers(0, 5))}, "shop/parts", ts + n) for n, name in enumerate("abx")]
        if at % 5 == 0:
            frame = FrameBuilder()
            frame.add("shop/frame", ts, {"a": float(rng.integers(0, 5)), "b": 1.0, f"c{at % 4}": 1.0})
            log.append(Raw(METRICS.name, 0, 0, b"", frame.take(), (), ts))
    return numbered(log)


def counts_of(by_status: Mapping[str, float]) -> dict[str, float]:
    return {f'http_requests_total{{status="{status[1:]}"}}': count for status, count in by_status.items()}


MANY = said(signals(
    errors_ratio='rate(http_requests_total{status="5*"}) / rate(http_requests_total)', half="a / b", all="half + x",
    odd="errors.ratio * x",
))  # fmt: skip
OTHER = said(signals(half="a / b", all="half - x", more="x + 1"))


class Lane:
    """Both stages of a partition that is told what packs say after so many messages."""

    def __init__(self, *told: tuple[int, Meanings]) -> None:
        self.told, self.taken = told, 0
        self.make()

    def make(self) -> None:
        self.decode, self.detect = Decode(None, self.said), Detect()

    def said(self) -> Meanings | None:
        return next((meanings for first, meanings in reversed(self.told) if self.taken >= first), None)

    def take(self, log: Sequence[Raw], cut: int, *, restart: bool = False) -> list[Anomaly]:
        found, rng, at = list[Anomaly](), random.Random(cut), 0
        borders = [first for first, _ in self.told if first] + [len(log)]
        while at < len(log):
            end = min(at + (cut or rng.randint(1, 40)), next(border for border in borders if border > at))
            self.taken = at
            found += through([self.decode, self.detect], chunk_of(log[at:end]), 0)  # type: ignore[arg-type]
            at = end
            if restart:
                before = self.state
                self.make()
                self.decode.restore(before[0])
                self.detect.restore(before[1])
                assert self.state == before
        return found

    @property
    def state(self) -> tuple[bytes, bytes]:
        return self.decode.snapshot(), self.detect.snapshot()


@pytest.mark.parametrize("told", [((0, MANY),), ((0, MANY), (400, OTHER), (900, NOTHING), (1200, MANY))])
def test_scores_and_states_are_equal_bit_for_bit_however_the_log_is_cut_and_restarted(
    told: tuple[tuple[int, Meanings], ...],
) -> None:
    log, whole = mixed(400), Lane(*told)
    anomalies = whole.take(log, len(log))
    assert {name for name in whole.decode.names.metrics("shop/parts") if name.startswith("=")} == {"=half", "=all"}
    for cut, restart in ((1, False), (0, False), (0, True), (13, True)):
        lane = Lane(*told)
        assert lane.take(log, cut, restart=restart) == anomalies
        assert lane.state == whole.state


def test_packs_that_change_end_and_begin_what_they_name_and_nothing_else() -> None:
    now = [MANY]
    decode = Decode(None, lambda: now[0])
    log = gauges(*({"a": 4.0, "b": 2.0, "x": 1.0, "wait_count": float(at)} for at in range(12)))

    def take(at: int) -> tuple[list[object], dict[str, float]]:
        given, metrics = list[object](), dict[str, float]()
        for each in decode.step(chunk_of(numbered(log)[at : at + 1]), 0):
            given.append(each)
            if hasattr(each, "value"):
                names = [each.names.series[number][1] for number in each.series.tolist()]
                metrics = dict(zip(names, each.value.tolist(), strict=True))
        return given, metrics

    assert take(0)[1] == {"a": 4.0, "b": 2.0, "x": 1.0, "wait_count": 0.0, "half": 2.0, "all": 3.0}
    half, whole = (decode.names.held(0)[name] for name in ("=half", "=all"))
    now[0] = said(signals(half="a / b", all="half - x", more="rate(wait_count)"))
    given, metrics = take(1)
    assert [each.series.tolist() for each in given if isinstance(each, Forgotten)] == [[whole]]
    assert decode.names.held(0)["=half"] == half, "it goes on"
    assert metrics == {"a": 4.0, "b": 2.0, "x": 1.0, "half": 2.0, "all": 1.0}, "a counter has no rate at first"
    assert take(2)[1] == {"a": 4.0, "b": 2.0, "x": 1.0, "half": 2.0, "all": 1.0, "wait.rate": 0.1, "more": 0.1}
    now[0] = NOTHING
    assert take(3)[1] == {"a": 4.0, "b": 2.0, "x": 1.0, "wait_count": 3.0}
    assert decode.names.metrics("e") == {"a", "b", "x", "wait_count"}


def test_while_it_is_not_known_what_packs_say_a_partition_goes_on_with_what_it_kept() -> None:
    decode, again = taught(HALF), Decode(None, lambda: None)
    log = gauges(*[{"a": 4.0, "b": 2.0}] * 4)
    decoded(log[:2], decode=decode)
    again.restore(decode.snapshot())
    assert values(decoded(log[2:], decode=again), "half") == [2.0, 2.0]


def test_no_name_of_a_derived_signal_teaches_the_detectors_unless_its_pack_says_what_it_is_like() -> None:
    text = signals(x_ratio="a / b", up="b", known="a / b") + 'like = "http.server.error_ratio"\n'
    decode, detect = taught(said(text)), Detect()
    list(through([decode, detect], chunk_of(gauges({"a": 1.0, "b": 4.0})), 0))
    rows = {
        name: tuple(detect.model.bank.rows([number])[0])
        for name, number in decode.names.held(0).items()
    }  # fmt: skip
    bare, known = Detect(), Detect()
    for each, name in ((bare, "x"), (known, "http.server.error_ratio")):
        list(through([Decode(), each], chunk_of(gauges({"q": 1.0, name: 0.25})), 0))
    assert rows["=x.ratio"] == tuple(bare.model.bank.rows([1])[0])
    assert rows["=known"] == tuple(known.model.bank.rows([1])[0]) != rows["=x.ratio"]


def test_entities_without_one_cost_no_copy() -> None:
    decode = taught(HALF)
    decoded(gauges({"a": 1.0, "b": 1.0}), decode=decode)
    log = [sent(START + at, {"p": 1.0}, "other") for at in range(3)]
    (batch,) = decode.step(chunk_of(numbered(log)), 0)
    derived = decode.decoder._derived
    assert derived.take(batch) is batch


def test_plans_that_change_over_and_over_do_not_grow() -> None:
    decode, log = taught(said(signals(total="a + b"))), list[Raw]()
    for at in range(3_000):
        log.append(sent(START + at * HOUR_MS, {f'a{{n="{at}"}}': 1.0, "b": 1.0}))
    found = decoded(log, 50, decode=decode)
    assert len(decode.decoder._derived.cells.pool) <= 4_096
    assert values(found, "total")[-1] == 2.0
    assert [m.get("total") for _, _, m in itertools.islice(found, 6)] == [2.0, *[None] * 5]
