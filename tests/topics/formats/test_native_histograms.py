"""Native histograms of Prometheus: the same figures as OpenTelemetry's, whatever they are written in."""

from __future__ import annotations

import math
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.received import double, native
from tests.topics.test_rates import decoded
from topics.codec import encode
from topics.formats.histograms import exponential, since_start
from topics.formats.native_histograms import CUSTOM, GAUGE, RESET, read
from topics.formats.protobuf import message, varint
from topics.formats.tolerance import NOT_AS_IT_SAYS
from topics.spec import Raw
from topics.telemetry import METRICS, Sample

NOW = 1_795_238_437_267


def observed(seed: int, count: int) -> list[float]:
    draw = random.Random(seed)
    return [draw.lognormvariate(-2.0, 1.0) for _ in range(count)]


def counts(values: list[float], schema: int) -> dict[int, int]:
    """By the number of their bucket, as Prometheus' documents define it."""
    found: dict[int, int] = {}
    for value in values:
        at = math.ceil(math.log2(value) * 2.0**schema)
        found[at] = found.get(at, 0) + 1
    return found


def figures(*messages: bytes) -> list[dict[str, float]]:
    """What the lane makes of histograms that come one after the other."""
    log = []
    for at, each in enumerate(messages):
        ts, metrics = read(each, "took")
        record = Sample(entity="a", ts=ts, metrics=metrics)
        log.append(Raw(METRICS.name, 0, at, b"a", encode(record).value, (), ts))
    return [metrics for _, _, metrics in decoded(log)]


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("schema", [-1, 0, 2, 3, 8])
def test_quantiles_are_those_of_what_was_observed_within_a_bucket(schema: int, floats: bool) -> None:
    first, more = observed(1, 500), observed(2, 1_000)
    (found,) = figures(*(
        native(NOW + 10_000 * at, sum(values), counts(values, schema), schema=schema, floats=floats)
        for at, values in enumerate((first, first + more))
    ))  # fmt: skip
    assert found["took.rate"] == 100.0
    assert found["took.mean"] == pytest.approx(sum(more) / len(more))
    width = 2.0 ** (2.0 ** -min(schema, 2))  # at most four buckets from a number to its double are kept
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        true = sorted(more)[math.ceil(share * len(more)) - 1]
        assert true / width <= found[f"took.{name}"] <= true * width


@pytest.mark.parametrize("floats", [False, True])
def test_it_says_what_the_same_values_say_by_opentelemetry(floats: bool) -> None:
    values = observed(3, 300)
    theirs = {math.ceil(math.log2(value) * 4.0) - 1: 0.0 for value in values}  # OTLP: above the i-th power
    for value in values:
        theirs[math.ceil(math.log2(value) * 4.0) - 1] += 1.0
    wanted = since_start("took", exponential(2, 5.0, theirs, 2.0, 7.0))
    assert read(native(NOW, 7.0, counts(values, 2), schema=2, zeros=5, negative={0: 2}, floats=floats), "took") == (
        NOW, pytest.approx(wanted),
    )  # fmt: skip


def test_a_bucket_holds_its_upper_bound_as_prometheus_has_it() -> None:
    """Schema 0: bucket 1 is above 1 and up to 2, bucket 0 above 0.5 and up to 1."""
    metrics = read(native(NOW, 3.0, {0: 1, 1: 1}), "m").metrics
    assert metrics == {'m_bucket{le="0.5"}': 0.0, 'm_bucket{le="1"}': 1.0, 'm_bucket{le="2"}': 2.0,
                       'm_bucket{le="+Inf"}': 2.0, 'm_bucket{le="sum"}': 3.0}  # fmt: skip


@pytest.mark.parametrize("floats", [False, True])
def test_buckets_of_their_own_bounds_are_taken_by_these(floats: bool) -> None:
    metrics = read(native(NOW, 9.0, {0: 2, 2: 3}, schema=CUSTOM, bounds=(0.5, 1.0), floats=floats), "m").metrics
    assert metrics == {'m_bucket{le="0.5"}': 2.0, 'm_bucket{le="1"}': 2.0, 'm_bucket{le="+Inf"}': 5.0,
                       'm_bucket{le="sum"}': 9.0}  # fmt: skip


def test_what_is_zero_or_below_is_one_bucket() -> None:
    metrics = read(native(NOW, 0.0, {1: 1}, zeros=2, negative={-3: 4, 5: 1}), "m").metrics
    assert metrics['m_bucket{le="0"}'] == 7.0
    assert metrics['m_bucket{le="+Inf"}'] == 8.0


def test_hints_and_markers() -> None:
    stale = varint(15, NOW) + bytes([3 << 3 | 1]) + struct.pack("<Q", 0x7FF0000000000002)
    assert read(stale, "m") == (NOW, {})
    gauge = read(native(NOW, 6.0, {1: 4}, hint=GAUGE), "m").metrics
    assert gauge.keys() == {"m.p50", "m.p95", "m.p99", "m.mean"}
    assert gauge["m.mean"] == 1.5
    nothing = read(varint(15, NOW), "m").metrics
    assert nothing == {'m_bucket{le="+Inf"}': 0.0, 'm_bucket{le="sum"}': 0.0}
    unknown = read(varint(1, 3) + double(3, math.nan) + varint(15, NOW), "m").metrics
    assert 'm_bucket{le="sum"}' not in unknown


def test_a_reset_is_no_sample_also_when_it_has_grown_beyond_what_was_there() -> None:
    found = figures(
        native(NOW, 10.0, {1: 10}), native(NOW + 10_000, 30.0, {1: 20, 2: 5}),
        native(NOW + 20_000, 90.0, {1: 90}, hint=RESET), native(NOW + 30_000, 100.0, {1: 100}),
    )  # fmt: skip
    assert [each.get("took.rate") for each in found] == [1.5, 10.0]


@pytest.mark.parametrize("bad", [
    native(NOW, 1.0, {1: 1}, schema=30), native(NOW, 1.0, {1: 1}, schema=-30), native(NOW, 1.0, {10**6: 1}),
    native(NOW, 1.0, {7: 1}, schema=CUSTOM, bounds=(1.0,)), native(NOW, 1.0, {1: 1}, schema=CUSTOM, bounds=(2.0, 1.0)),
    native(NOW, 1.0, {1: 1}) + message(11, varint(2, 1)), native(NOW, 1.0, {}) + message(11, varint(2, 2**40)),
    native(NOW, 1.0, {1: -1, 2: 2}), native(NOW, 1.0, {}) + double(2, math.nan), b"\xff",
])  # fmt: skip
def test_what_is_no_histogram_is_an_error(bad: bytes) -> None:
    with pytest.raises(NOT_AS_IT_SAYS):
        read(bad, "m")


@given(st.data())
def test_whatever_is_done_to_a_histogram_it_is_read_or_refused(data: st.DataObject) -> None:
    drawn: dict[str, Any] = {"floats": data.draw(st.booleans()), "schema": data.draw(st.integers(-4, 8))}
    body = native(NOW, 5.0, {1: 3, 4: 2}, **drawn)
    at, end = sorted((data.draw(st.integers(0, len(body))), data.draw(st.integers(0, len(body)))))
    try:
        found = read(body[:at] + data.draw(st.binary(max_size=20)) + body[end:], "m")
    except NOT_AS_IT_SAYS:
        return
    assert all(value >= 0.0 or name.endswith('"sum"}') or "." in name for name, value in found.metrics.items())
