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
from app.ingest.receive import events, otlp, plain, remote_write
from app.ingest.receive.posted import NotAccepted, Protocol, inflate, media_of
from tests.received import V1, V2, posted, sample, series, snappy, write_v1, write_v2
from tests.topics.formats.test_formats import LOGS, METRIC, OTLP
from topics.codec import Cause
from topics.formats.protobuf import message, text, varint
from topics.telemetry import Event, Sample

LINES, JSON = plain.PROTOCOLS
ALERTS, EVENTS = events.PROTOCOLS
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
    ("", b"abc" * 99), ("identity", b"abc" * 99), ("GZIP", gzip.compress(b"abc" * 99)),
    ("gzip", gzip.compress(b"abc") + gzip.compress(b"abc" * 98)), ("snappy", snappy(b"abc" * 99)),
])  # fmt: skip
def test_a_body_is_decompressed(encoding: str, packed: bytes) -> None:
    assert inflate(packed, encoding, 297) == b"abc" * 99


@pytest.mark.parametrize(("encoding", "packed", "status"), [
    ("gzip", gzip.compress(bytes(50_000_000)), 413), ("snappy", snappy(bytes(5_000_000)), 413),
    ("gzip", gzip.compress(b"a") * 3_000, 413), ("snappy", b"\xff\xff\xff\xff\x0f" + b"x" * 10, 413),
    ("gzip", b"no", 400), ("gzip", gzip.compress(b"abc" * 99)[:-9], 400), ("snappy", b"", 400),
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
])  # fmt: skip
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


# --- influx -----------------------------------------------------------------------------------------------------------


def test_lines_of_influx_become_samples_with_or_without_a_time() -> None:
    now = now_ms()
    body = f"# a comment\n\ncpu,host=web-1 usage_active=50 {now * 10**6}\r\ndisk,host=web-1 x=3i\n".encode()
    given = posted(LINES.path, body, "text/plain; charset=utf-8")
    parts = LINES.read(given)
    found = {name: v for r in parts.records() if isinstance(r, Sample) for name, v in r.metrics.items()}
    assert found == {"system.cpu.utilization": 0.5, "disk.x": 3.0}
    assert LINES.answer(given, parts).status == 204


def test_a_bad_line_is_refused_alone() -> None:
    now = now_ms()
    lines = [
        "cpu,host=a x=1",
        "nonsense",
        "cpu,host=a x=",
        "cpu,host=a x=1 soon",
        "cpu,host=a x=1e300",
        "cpu,host=a x=nan",
        f"cpu,host=a x=1 {now + 10**7}",
        'cpu,host=a x="text"',
        "cpu,host=" + "a" * 300 + " x=1",
        "cpu,host=b y=2",
    ]
    given = posted(LINES.path, "\n".join(lines).encode(), "text/plain")
    parts = LINES.read(given)
    assert {r.entity for r in parts.records() if isinstance(r, Sample)} == {"a", "b"}
    assert [refused.value for refused in parts.refused][:3] == [line.encode() for line in lines[1:4]]
    assert len(parts.refused) == 6
    reply = LINES.answer(given, parts)
    assert reply.status == 400
    assert json.loads(reply.body)["message"].startswith("partial write: refused 6, took ")


def test_lines_that_are_no_text_are_refused() -> None:
    assert refusal(LINES, b"cpu x=1\xff", "text/plain").status == 400


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [
    b'{"entity":"a","metrics":{"x":1}}', b'[{"entity":"a","metrics":{"x":1}}]',
    b'\n{"entity":"a","metrics":{"x":1}}\n\n{"entity":"a","metrics":{"x":1},"ts":%d}\n' % now_ms(),
    orjson.dumps({"name": "x", "fields": {"": 1}, "tags": {"host": "a"}, "timestamp": now_ms()}),
])  # fmt: skip
def test_json_comes_alone_in_an_array_and_by_lines(body: bytes) -> None:
    parts = JSON.read(posted(JSON.path, body))
    assert {r.entity for r in parts.records() if isinstance(r, Sample)} == {"a"}
    assert parts.refused == []


def test_items_that_are_no_samples_are_refused_alone() -> None:
    items = [
        {"entity": "a", "metrics": {"x": 1}},
        7,
        None,
        {"entity": "a"},
        {"entity": "a", "metrics": {"x": "7"}},
        {"entity": 5, "metrics": {"x": 7}},
        {"entity": "a", "ts": 1, "metrics": {"x": 7}},
        {"a": 1},
        [],
        {"entity": "a", "learning": "open", "incident": "i"},
        {"v": 99, "entity": "a", "metrics": {"x": 1}},
    ]
    given = posted(JSON.path, orjson.dumps(items))
    parts = JSON.read(given)
    assert len(parts.records()) == 1
    assert len(parts.refused) == 10
    assert JSON.answer(given, parts).status == 400


def test_what_collectd_writes_is_one_item() -> None:
    value = {"values": [4.9], "dstypes": ["gauge"], "dsnames": ["shortterm"], "time": now_ms() / 1000, "interval": 1.0,
             "host": "web-1", "plugin": "load", "plugin_instance": "", "type": "load", "type_instance": ""}  # fmt: skip
    (record,) = JSON.read(posted(JSON.path, orjson.dumps([value]))).records()
    assert isinstance(record, Sample)
    assert record.metrics == {"system.cpu.load_average.1m": 4.9}


def test_a_line_that_is_no_json_is_refused_alone() -> None:
    parts = JSON.read(posted(JSON.path, b'{"entity":"a","metrics":{"x":1}}\n{"entity":\n', "application/x-ndjson"))
    assert len(parts.records()) == 1
    assert [refused.value for refused in parts.refused] == [b'{"entity":']


@pytest.mark.parametrize(("body", "content_type", "status"), [
    (b"", "application/json", 400), (b"nonsense", "application/json", 400), (b"{}", "text/html", 415),
    (b"[" * 9_999, "application/json", 400), (b"\xff", "", 400),
])  # fmt: skip
def test_what_is_no_json_is_refused(body: bytes, content_type: str, status: int) -> None:
    assert refusal(JSON, body, content_type).status == status


# --- Alertmanager -----------------------------------------------------------------------------------------------------


def alert(**more: Any) -> dict[str, Any]:
    return {
        "status": "firing", "labels": {"alertname": "Slow", "instance": "web-1", "severity": "page"},
        "annotations": {"summary": "p99 is\nhigh"}, "startsAt": "2026-11-20T10:00:00.5Z",
        "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "f",
    } | more  # fmt: skip


def webhook(*alerts: Any) -> bytes:
    return orjson.dumps({"version": "4", "receiver": "r", "status": "firing", "alerts": alerts})


def test_alerts_become_events_of_their_instances() -> None:
    over = alert(status="resolved", endsAt="2026-11-20T11:00:00Z", labels={"job": "api", "alertname": "Gone"})
    first, second = ALERTS.read(posted(ALERTS.path, webhook(alert(), over))).records()
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert (first.entity, first.kind, first.text) == ("web-1", "alert", "firing Slow (page): p99 is high")
    assert first.ts == 1_795_168_800_500
    assert (second.entity, second.text, second.ts - first.ts) == ("api", "resolved Gone: p99 is high", 3_599_500)


def test_a_bad_alert_is_refused_alone() -> None:
    bad = [7, alert(labels=None), alert(startsAt="soon"), {"status": "firing"}, alert(startsAt="0001-01-01T00:00:00Z")]
    given = posted(ALERTS.path, webhook(alert(), *bad))
    parts = ALERTS.read(given)
    assert (len(parts.records()), len(parts.refused)) == (1, 5)
    assert ALERTS.answer(given, parts).status == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"alerts":7}', b"7", b'{"alerts":{}}'])
def test_what_is_no_webhook_is_refused(body: bytes) -> None:
    assert refusal(ALERTS, body).status == 400
    assert refusal(ALERTS, body, "text/plain").status == 415


# --- events -----------------------------------------------------------------------------------------------------------

CLOUD = {"specversion": "1.0", "id": "1", "source": "/ci", "type": "com.example.Done", "subject": "shop/catalog"}
DEPLOY = {"kind": "deploy", "text": "v2 is out", "revision": "v2", "previous": "v1"}


@pytest.mark.parametrize(("body", "content_type", "headers"), [
    (CLOUD | {"data": DEPLOY}, "application/cloudevents+json; charset=utf-8", {}),
    ([CLOUD | {"data": DEPLOY}], "application/cloudevents-batch+json", {}),
    (DEPLOY, "application/json", {f"ce-{name}": value for name, value in CLOUD.items()}),
    (DEPLOY | {"entity": "shop/catalog"}, "application/json", {}),
])  # fmt: skip
def test_an_event_comes_in_each_mode(body: Any, content_type: str, headers: dict[str, str]) -> None:
    given = posted(EVENTS.path, orjson.dumps(body), content_type, **headers)
    parts = EVENTS.read(given)
    (record,) = parts.records()
    assert isinstance(record, Event)
    assert (record.entity, record.kind, record.revision, record.ts) == ("shop/catalog", "deploy", "v2", given.arrived)
    assert EVENTS.answer(given, parts).status == 204


def test_an_event_of_others_has_its_type_as_kind_and_its_message_as_text() -> None:
    event = CLOUD | {"time": "2026-11-20T10:00:00Z", "data": {"message": "all built", "x": 1}}
    text_ = CLOUD | {"data": "done"}
    bare = {name: value for name, value in CLOUD.items() if name != "subject"}
    body = orjson.dumps([event, text_, bare])
    found = EVENTS.read(posted(EVENTS.path, body, "application/cloudevents-batch+json")).records()
    told = [(r.entity, r.kind, r.text) for r in found if isinstance(r, Event)]
    assert told == [
        ("shop/catalog", "com.example.done", "all built"), ("shop/catalog", "com.example.done", "done"),
        ("/ci", "com.example.done", "com.example.Done"),
    ]  # fmt: skip


def test_bad_events_are_refused_alone() -> None:
    bad = [
        7,
        {},
        CLOUD | {"specversion": "0.3"},
        CLOUD | {"id": ""},
        CLOUD | {"type": 5},
        CLOUD | {"time": "soon"},
        CLOUD | {"time": "2999-01-01T00:00:00Z"},
        CLOUD | {"subject": "x" * 300},
        CLOUD | {"type": "x" * 99},
        CLOUD | {"data": {"calls": "all"}},
        CLOUD | {"data": {"revision": "x" * 999}},
        CLOUD | {"data": {"entity": ""}},
        CLOUD | {"data": {"calls": [["a" * 999, "b"]] * 999}},
        CLOUD | {"data": {"ts": "now"}},
    ]
    given = posted(EVENTS.path, orjson.dumps([CLOUD, *bad]), "application/cloudevents-batch+json")
    parts = EVENTS.read(given)
    assert len(parts.records()) == 1
    assert len(parts.refused) == len(bad)
    assert EVENTS.answer(given, parts).status == 400


@pytest.mark.parametrize(("body", "content_type", "headers", "status"), [
    (b"{", "application/json", {}, 400), (b"{}", "text/plain", {}, 415), (b"", "application/cloudevents+json", {}, 400),
    (b"{", "application/json", {"ce-specversion": "1.0"}, 400), (b"\xff", "", {"ce-specversion": "1.0"}, 400),
])  # fmt: skip
def test_what_is_no_event_is_refused(body: bytes, content_type: str, headers: dict[str, str], status: int) -> None:
    assert refusal(EVENTS, body, content_type, **headers).status == status
