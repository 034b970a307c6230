"""What each protocol takes of a request, what it refuses alone, and what it refuses as a whole."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clock import now_ms
from app.ingest.receive import otlp, remote_write
from app.ingest.receive.posted import NotAccepted, Protocol, inflate, media_of
from tests.received import V1, V2, posted, sample, series, snappy, write_v1, write_v2
from tests.topics.formats.test_formats import LOGS, METRIC, OTLP
from topics.codec import Cause
from topics.formats.protobuf import message, text, varint
from topics.telemetry import Event, Sample

METRICS, LOG = otlp.PROTOCOLS
WRITE = remote_write.PROTOCOL
PROTO = "application/x-protobuf"


def refusal(protocol: Protocol, body: bytes, content_type: str = "application/json", **headers: str) -> NotAccepted:
    with pytest.raises(NotAccepted) as refused:
        protocol.read(posted(protocol.path, body, content_type, **headers))
    assert "\n" not in refused.value.text
    return refused.value


def up(*samples: bytes) -> bytes:
    return series([("__name__", "up"), ("instance", "web-1")], *samples)


# --- compression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "packed"), [
    ("", b"abc" * 99), ("identity", b"abc" * 99), ("GZIP", gzip.compress(b"abc" * 99, mtime=0)),
    ("gzip", gzip.compress(b"abc", mtime=0) + gzip.compress(b"abc" * 98, mtime=0)), ("snappy", snappy(b"abc" * 99)),
])  # fmt: skip
def test_a_body_is_decompressed(encoding: str, packed: bytes) -> None:
    assert inflate(packed, encoding, 297) == b"abc" * 99


@pytest.mark.parametrize(("encoding", "packed", "status"), [
    ("gzip", gzip.compress(bytes(50_000_000)), 413), ("snappy", snappy(bytes(5_000_000)), 413),
    ("gzip", gzip.compress(b"a", mtime=0) * 3_000, 413), ("snappy", b"\xff\xff\xff\xff\x0f" + b"x" * 10, 413),
    ("gzip", b"no", 400), ("gzip", gzip.compress(b"abc" * 99, mtime=0)[:-9], 400), ("snappy", b"", 400),
    ("snappy", snappy(b"abc" * 99)[:-2], 400), ("snappy", b"\xff" * 20, 400),
    ("zstd", b"", 415), ("gzip, gzip", b"", 415),
])  # fmt: skip
def test_a_body_that_is_not_compressed_as_it_says_or_too_large_is_refused(
    encoding: str, packed: bytes, status: int
) -> None:
    with pytest.raises(NotAccepted) as refused:
        inflate(packed, encoding, 2_000)
    assert refused.value.status == status


def test_a_content_type_is_read_with_its_parameters() -> None:
    assert media_of("Application/X-Protobuf; Proto=a.B") == ("application/x-protobuf", {"proto": "a.B"})
    assert media_of("") == ("", {})


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n")))
def test_any_content_type_can_be_read(content_type: str) -> None:
    media, _ = media_of(content_type)
    assert media == media.strip().lower()


# --- remote write -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "body"), [
    (V1, write_v1(up(sample(now_ms(), 1.0)))), ("", write_v1(up(sample(now_ms(), 1.0)))),
    (f"{PROTO};proto=prometheus.WriteRequest", write_v1(up(sample(now_ms(), 1.0)))),
    (V2, write_v2(([("__name__", "up"), ("instance", "web-1")], [sample(now_ms(), 1.0)], []))),
], ids=["1.0", "no type", "1.0 by its message", "2.0"])  # fmt: skip
def test_series_become_samples_and_the_answer_says_what_was_written(version: str, body: bytes) -> None:
    given = posted(WRITE.path, body, version)
    parts = WRITE.read(given)
    (record,) = parts.records()
    assert isinstance(record, Sample)
    assert (record.entity, record.metrics) == ("web-1", {"up": 1.0})
    reply = WRITE.answer(given, parts)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["X-Prometheus-Remote-Write-Samples-Written"] == "1"
    assert reply.headers["X-Prometheus-Remote-Write-Histograms-Written"] == "0"
    assert reply.headers["X-Prometheus-Remote-Write-Exemplars-Written"] == "0"


def test_series_of_one_entity_and_time_are_one_sample() -> None:
    ts = now_ms()
    names = [[("__name__", f"m{n}"), ("instance", "web-1")] for n in range(50)]
    parts = WRITE.read(posted(WRITE.path, write_v1(*(series(labels, sample(ts, 1.0)) for labels in names)), V1))
    (record,) = parts.records()
    assert isinstance(record, Sample)
    assert len(record.metrics) == 50


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_stale_markers_and_other_values_that_are_not_finite_are_no_errors(value: float) -> None:
    given = posted(WRITE.path, write_v1(up(sample(now_ms(), value))), V1)
    parts = WRITE.read(given)
    assert (parts.records(), parts.refused, parts.passed) == ([], [], 1)
    reply = WRITE.answer(given, parts)
    assert (reply.status, reply.headers["X-Prometheus-Remote-Write-Samples-Written"]) == (204, "1")


def test_a_bad_series_is_refused_alone() -> None:
    now = now_ms()
    body = write_v1(
        up(sample(now, 1.0)), series([("__name__", "x"), ("a", "1"), ("a", "1")], sample(now, 1.0)),
        up(sample(5, 1.0)), up(sample(now + 3_600_000, 1.0)), up(sample(now, 1e200)),
        series([("__name__", "up"), ("instance", "x" * 300)], sample(now, 1.0)),
    )  # fmt: skip
    given = posted(WRITE.path, body, V1)
    parts = WRITE.read(given)
    assert len(parts.records()) == 1
    wanted = [Cause.WRONG_TYPE, Cause.TIMESTAMP, Cause.TIMESTAMP, Cause.NOT_FINITE, Cause.WRONG_TYPE]
    assert [refused.cause for refused in parts.refused] == wanted
    assert json.loads(parts.refused[1].value) == {"entity": "web-1", "ts": 5, "metrics": {"up": 1.0}}
    reply = WRITE.answer(given, parts)
    assert reply.status == 400
    assert reply.headers["X-Prometheus-Remote-Write-Samples-Written"] == "1"
    assert reply.body.startswith(b"refused 5, took 1 (2 wrong_type, 2 timestamp, 1 not_finite): a label has no name")
    assert b"\n" not in reply.body


def test_metadata_alone_is_a_request_of_nothing() -> None:
    parts = WRITE.read(posted(WRITE.path, message(3, text(2, "up")), V1))
    assert (parts.taken, parts.refused) == (0, [])


@pytest.mark.parametrize("content_type", [
    "application/json", "text/plain", f"{PROTO};proto=io.prometheus.write.v3.Request", f"{PROTO};proto=",
])  # fmt: skip
def test_remote_write_of_another_type_is_415(content_type: str) -> None:
    assert refusal(WRITE, b"", content_type).status == 415


@pytest.mark.parametrize("content_type", [V1, V2])
@pytest.mark.parametrize("body", [b"\xff\xff", b"\x0a\x50abc", write_v1(up(sample(10**12, 1.0)))[:-1], b"{}"])
def test_remote_write_that_is_cut_is_400(content_type: str, body: bytes) -> None:
    assert refusal(WRITE, body, content_type).status == 400


# --- OTLP -------------------------------------------------------------------------------------------------------------


def point(ns: int | None, value: Any = 1.5) -> dict[str, Any]:
    return ({} if ns is None else {"timeUnixNano": str(ns)}) | {"asDouble": value}


def measures(*points: dict[str, Any], host: str = "web-1", **more: Any) -> dict[str, Any]:
    resource = {"attributes": [{"key": "host.name", "value": {"stringValue": host}}]}
    metrics = [{"name": f"m{at}", "gauge": {"dataPoints": [each]}} for at, each in enumerate(points)]
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [*metrics, *more.values()]}]}]}


def test_metrics_come_as_protobuf_and_as_json() -> None:
    (record,) = METRICS.read(posted(METRICS.path, OTLP, PROTO)).records()
    assert isinstance(record, Sample)
    assert record.entity == "web-1"
    parts = METRICS.read(posted(METRICS.path, orjson.dumps(measures(point(now_ms() * 10**6)))))
    (record,) = parts.records()
    assert isinstance(record, Sample)
    assert (record.entity, record.metrics) == ("web-1", {"m0": 1.5})


def test_logs_come_as_protobuf_and_as_json() -> None:
    found = LOG.read(posted(LOG.path, LOGS, PROTO)).records()
    assert {record.kind for record in found if isinstance(record, Event)} == {"log"}
    line = {"timeUnixNano": now_ms() * 10**6, "severityNumber": 17, "body": {"stringValue": "no such file"}}
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [line, line | {"severityNumber": 9}]}]}]}
    parts = LOG.read(posted(LOG.path, orjson.dumps(body)))
    (record,) = parts.records()
    assert isinstance(record, Event)
    assert (record.entity, record.text, parts.taken) == ("unknown", "err: no such file", 2)


@pytest.mark.parametrize("protocol", [METRICS, LOG])
def test_an_empty_request_is_right(protocol: Protocol) -> None:
    for body, content_type in ((b"", PROTO), (b"{}", "application/json")):
        given = posted(protocol.path, body, content_type)
        parts = protocol.read(given)
        reply = protocol.answer(given, parts)
        assert (parts.taken, reply.status, reply.body, reply.media) == (0, 200, body, content_type)


def test_bad_points_are_a_partial_success() -> None:
    now = now_ms() * 10**6
    body = measures(
        point(now), point(None), point(now, "seven"), point(5), point(now, 1e200), point(now, "NaN"),
        nameless={"gauge": {"dataPoints": [point(now)]}}, empty={"name": "x"},
    )  # fmt: skip
    given = posted(METRICS.path, orjson.dumps(body))
    parts = METRICS.read(given)
    (record,) = parts.records()
    assert isinstance(record, Sample)
    assert record.metrics == {"m0": 1.5}
    reply = METRICS.answer(given, parts)
    told = json.loads(reply.body)["partialSuccess"]
    assert (reply.status, told["rejectedDataPoints"]) == (200, "6")
    assert told["errorMessage"].startswith("refused 6, took 2")


def test_a_partial_success_in_protobuf_is_a_message_of_its_type() -> None:
    # point 2 has no time
    bad = message(2, text(1, "m") + message(5, message(1, b"\x21" + bytes(8))))
    given = posted(METRICS.path, OTLP + message(1, message(2, bad)), PROTO)
    parts = METRICS.read(given)
    reply = METRICS.answer(given, parts)
    assert len(parts.records()) == 1
    assert reply.body == message(1, varint(1, 1) + text(2, parts.told()))


@pytest.mark.parametrize("damaged", [b"", b"\xff\xff", varint(2, 17), text(1, "x")])
def test_a_damaged_line_before_others_does_not_take_them_along(damaged: bytes) -> None:
    line = bytes([1 << 3 | 1]) + (now_ms() * 10**6).to_bytes(8, "little") + varint(2, 17) + message(5, text(1, "full"))
    body = message(1, message(2, message(2, damaged) + message(2, line)))
    parts = LOG.read(posted(LOG.path, body, PROTO))
    assert ([r.text for r in parts.records() if isinstance(r, Event)], len(parts.refused)) == (["err: full"], 1)


@pytest.mark.parametrize("damaged", [b"", b"\xff\xff", message(5, b""), text(1, "x") + message(5, b"\xff")])
def test_a_damaged_metric_before_others_does_not_take_them_along(damaged: bytes) -> None:
    parts = METRICS.read(posted(METRICS.path, message(1, message(2, message(2, damaged))) + OTLP, PROTO))
    assert len(parts.records()) == 1
    together = message(1, message(2, message(2, damaged) + message(2, METRIC)))
    assert len(METRICS.read(posted(METRICS.path, together, PROTO)).records()) == 1


@pytest.mark.parametrize("protocol", [METRICS, LOG])
def test_a_resource_that_cannot_be_read_does_not_take_others_along(protocol: Protocol) -> None:
    bad = message(1, message(1, message(1, b"\xff")))
    parts = protocol.read(posted(protocol.path, bad + (OTLP if protocol is METRICS else LOGS), PROTO))
    assert (len(parts.records()) > 0, len(parts.refused)) == (True, 1)
    now = f"{now_ms()}000000"
    good = measures(point(int(now))) | {
        "resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": now, "severityText": "error"}]}]}]
    }
    name = "resourceMetrics" if protocol is METRICS else "resourceLogs"
    body = {name: [{"resource": {"attributes": [{"key": "no value"}]}}, 7, *good[name]]}
    parts = protocol.read(posted(protocol.path, orjson.dumps(body)))
    assert (len(parts.records()), len(parts.refused)) == (1, 2)


def test_a_bad_line_is_a_partial_success_of_logs() -> None:
    line = {"timeUnixNano": now_ms() * 10**6, "severityNumber": 17, "body": {"stringValue": "full"}}
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [line, {"body": {}}, line | {"timeUnixNano": 7}]}]}]}
    given = posted(LOG.path, orjson.dumps(body))
    parts = LOG.read(given)
    assert len(parts.records()) == 1
    assert json.loads(LOG.answer(given, parts).body)["partialSuccess"]["rejectedLogRecords"] == "2"


@pytest.mark.parametrize(("protocol", "body", "content_type", "status"), [
    (METRICS, b"", "text/plain", 415), (METRICS, b"", "", 415), (LOG, b"", "application/x-ndjson", 415),
    (METRICS, OTLP[:-1], PROTO, 400), (METRICS, b"\xff" * 9, PROTO, 400), (LOG, LOGS[:-3], PROTO, 400),
    (METRICS, LOGS, PROTO, 400), (LOG, OTLP, PROTO, 400), (METRICS, b"[]", "application/json", 400),
    (METRICS, b'{"resourceLogs":[]}', "application/json", 400), (LOG, b'{"resourceSpans":[]}', "application/json", 400),
    (METRICS, b'{"resourceMetrics":7}', "application/json", 400), (METRICS, b"{", "application/json", 400),
    (METRICS, b"[" * 100_000, "application/json", 400), (METRICS, b'{"a":NaN}', "application/json", 400),
    (METRICS, b"\xff\xfe", "application/json", 400), (METRICS, b"", "application/json", 400),
])  # fmt: skip
def test_what_is_no_request_of_otlp_is_refused(protocol: Protocol, body: bytes, content_type: str, status: int) -> None:
    assert refusal(protocol, body, content_type).status == status


def test_an_error_of_otlp_is_a_status_in_the_encoding_of_the_request() -> None:
    assert METRICS.refuse(PROTO, 400, "no").body == varint(1, 3) + text(2, "no")
    assert json.loads(METRICS.refuse("application/json", 429, "wait").body) == {"code": 8, "message": "wait"}
