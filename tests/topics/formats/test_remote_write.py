"""Prometheus remote write, both versions: what its messages say, and every damage to them."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.received import double, sample, series, write_v1, write_v2
from topics.codec import Cause
from topics.formats.naming import Naming
from topics.formats.protobuf import message, text, varint
from topics.formats.records import prometheus
from topics.formats.remote_write import Series, read_v1, read_v2
from topics.formats.tolerance import NOT_AS_IT_SAYS

NOW = 1_795_238_437_267
UP = (("__name__", "up"), ("instance", "web-1:9100"), ("job", "node"))
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
HISTOGRAM = varint(1, 4) + double(3, 10.0) + varint(15, NOW)


def one(found: list[Series]) -> Series:
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("found", [
    [*read_v1(write_v1(series(UP, sample(NOW, 1.0), sample(NOW + 1, 0.0))))],
    [*read_v2(write_v2((UP, [sample(NOW, 1.0), sample(NOW + 1, 0.0)], [])))],
])  # fmt: skip
def test_both_versions_say_the_same_as_a_record_of_the_kafka_adapter(found: list[Series]) -> None:
    read = one(found)
    record = {"name": "up", "value": "1", "timestamp": NOW, "labels": dict(UP)}
    (adapter,) = prometheus(record, Naming())
    assert (read.identity.entity, read.identity.metric) == (adapter.entity, next(iter(adapter.metrics)))
    assert read.samples == [(NOW, 1.0), (NOW + 1, 0.0)], "proto3 leaves out zeros"


def test_a_series_keeps_its_name_and_what_follows_from_its_name_is_as_for_the_kafka_adapter() -> None:
    for name, labels in (
        ("node_load1", {}), ("took_seconds_sum", {"route": "/"}), ("took_seconds_count", {}), ("pg_activity_count", {}),
        ("took_seconds_bucket", {"le": "0.5", "route": "/"}), ("a_total", {"code": "500"}), ("gc", {"quantile": "0.5"}),
    ):  # fmt: skip
        own = (("__name__", name), ("instance", "a"), *labels.items())
        read = one([*read_v1(write_v1(series(own, sample(NOW, 1.0))))])
        (adapter,) = prometheus({"name": name, "value": "1", "timestamp": NOW, "labels": dict(own)}, Naming())
        assert [read.identity.metric] == [*adapter.metrics]
    assert one([*read_v1(write_v1(series([("__name__", "node_load1")])))]).identity.metric == "node_load1"


@pytest.mark.parametrize(("kind", "name", "metric"), [
    (1, "accepted", "accepted_total"), (2, "limit_total", "limit_total.value"), (3, "h_count", 'h_bucket{le="+Inf"}'),
    (5, "s_sum", 's_bucket{le="sum"}'), (0, "accepted", "accepted"), (9, "accepted", "accepted"),
    (2, "took_sum", "took_sum"), (7, "state", "state"),
])  # fmt: skip
def test_version_2_says_the_type_of_a_series(kind: int, name: str, metric: str) -> None:
    symbols = b"".join(text(4, word) for word in ("", "__name__", name))
    held = message(1, b"\x01\x02") + message(2, sample(NOW, 1.0)) + message(5, varint(1, kind))
    assert one([*read_v2(symbols + message(5, held))]).identity.metric == metric


def test_a_series_without_an_instance_is_its_jobs() -> None:
    read = one([*read_v1(write_v1(series([("__name__", "job:up:sum"), ("job", "api")], sample(NOW, 1.0))))])
    assert read.identity.entity == "api"


@pytest.mark.parametrize("found", [
    [*read_v1(write_v1(series(UP, histograms=[HISTOGRAM])))], [*read_v2(write_v2((UP, [], [HISTOGRAM])))],
])  # fmt: skip
def test_both_versions_hold_native_histograms_as_messages(found: list[Series]) -> None:
    assert one(found).histograms == [HISTOGRAM]


def test_a_stale_marker_is_a_value_that_is_no_number() -> None:
    assert math.isnan(one([*read_v1(write_v1(series(UP, sample(NOW, STALE))))]).samples[0][1])


def test_a_time_before_1970_is_negative() -> None:
    assert one([*read_v1(write_v1(series(UP, varint(2, (1 << 64) - 5))))]).samples == [(-5, 0.0)]


@pytest.mark.parametrize(("labels", "words"), [
    ([("__name__", "up"), ("a", "1"), ("a", "2")], "stands twice"),
    ([("__name__", "up"), ("", "1")], "no name"),
    ([("instance", "a")], "no __name__"),
    ([("__name__", ""), ("instance", "a")], "no __name__"),
    ([], "no __name__"),
])  # fmt: skip
def test_a_series_whose_labels_are_wrong_is_refused_alone(labels: list[tuple[str, str]], words: str) -> None:
    good = series(UP, sample(NOW, 1.0))
    first, second = read_v1(write_v1(series(labels, sample(NOW, 1.0)), good))
    assert first.refused is not None
    assert first.refused.cause is Cause.WRONG_TYPE
    assert words in first.refused.detail
    assert second.refused is None
    assert second.samples == [(NOW, 1.0)]


@pytest.mark.parametrize("bad", [
    message(1, b"\xff\xff"), message(1, text(1, "__name__") + message(2, b"\xff\xfe")),
    series(UP) + message(2, b"\x09\x00"),
    varint(1, 7), series(UP) + message(2, bytes([1 << 3 | 5]) + b"1234"), series(UP) + varint(2, 5),
    series(UP) + message(2, message(2, b"late")),
])  # fmt: skip
def test_a_series_that_is_no_message_is_refused_alone(bad: bytes) -> None:
    first, second = read_v1(write_v1(bad, series(UP, sample(NOW, 1.0))))
    assert first.refused is not None
    assert first.refused.cause is Cause.MALFORMED
    assert second.samples


@pytest.mark.parametrize("refs", [b"\x63\x01", b"\x01", b"\x01\x80", b"\xff" * 12])
def test_a_label_of_version_2_that_refers_to_nothing_refuses_its_series_alone(refs: bytes) -> None:
    good = write_v2((UP, [sample(NOW, 1.0)], []))
    first, second = read_v2(good + message(5, message(1, refs) + message(2, sample(NOW, 2.0))))
    assert first.refused is None
    assert second.refused is not None


def test_labels_of_version_2_may_come_one_by_one() -> None:
    body = b"".join(text(4, word) for word in ("", "__name__", "up"))
    read = one([*read_v2(body + message(5, varint(1, 1) + varint(1, 2) + message(2, sample(NOW, 2.0))))])
    assert read.identity.labels == (("__name__", "up"),)


def test_a_request_without_series_says_nothing() -> None:
    assert [*read_v1(b"")] == [*read_v2(b"")] == [*read_v1(message(3, text(2, "metadata")))] == []


def test_long_labels_are_read_and_not_remembered() -> None:
    long = [("__name__", "up"), ("x", "y" * 100_000)]
    for read in (read_v1(write_v1(series(long, sample(NOW, 1.0)))), read_v2(write_v2((long, [sample(NOW, 1.0)], [])))):
        assert one([*read]).identity.metric.startswith('up{x="yyy')
        assert len(one([*read_v1(write_v1(series(UP, sample(NOW, 1.0))))]).identity.metric) < 256


@given(st.data())
def test_whatever_is_done_to_a_request_it_is_read_or_refused(data: st.DataObject) -> None:
    body, read = data.draw(st.sampled_from([
        (write_v1(series(UP, sample(NOW, 1.5)), series(UP, histograms=[HISTOGRAM])), read_v1),
        (write_v2((UP, [sample(NOW, 1.5)], []), (UP, [], [HISTOGRAM])), read_v2),
    ]))  # fmt: skip
    at, end = sorted((data.draw(st.integers(0, len(body))), data.draw(st.integers(0, len(body)))))
    damaged = body[:at] + data.draw(st.binary(max_size=20)) + body[end:]
    try:
        found = [*read(damaged)]
    except NOT_AS_IT_SAYS:
        return
    assert all(each.refused or each.identity.metric for each in found)
