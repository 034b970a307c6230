"""What the plain protocols take of a request: lines, JSON, alerts and CloudEvents."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from app.clock import now_ms
from app.ingest.receive import events, plain
from app.ingest.receive.posted import NotAccepted, Protocol
from tests.received import posted
from topics.telemetry import Event, Sample

LINES, JSON = plain.PROTOCOLS
ALERTS, EVENTS = events.PROTOCOLS


def refusal(protocol: Protocol, body: bytes, content_type: str = "application/json", **headers: str) -> NotAccepted:
    with pytest.raises(NotAccepted) as refused:
        protocol.read(posted(protocol.path, body, content_type, **headers))
    assert "\n" not in refused.value.text
    return refused.value


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


def test_lines_and_fields_that_are_none_are_refused_alone_and_a_newline_in_a_text_ends_none() -> None:
    body = b'm,host=a x=1\xff\nm,host=a x=1_0,y=2\nm,host=a z=3,text="two\nlines"\n'
    parts = LINES.read(posted(LINES.path, body, "text/plain"))
    (record,) = parts.records()
    assert isinstance(record, Sample)
    assert record.metrics == {"m.y": 2.0, "m.z": 3.0}
    assert [refused.value for refused in parts.refused] == [b"m,host=a x=1\xff", b"m,host=a x=1_0,y=2"]


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


def test_parts_of_an_item_are_refused_alone_with_one_letter_and_what_has_no_time_is_of_now() -> None:
    telegraf = {"name": "m", "fields": {"x": 1}, "tags": {"host": "a"}, "timestamp": now_ms()}
    vector = {"name": "v", "kind": "absolute", "tags": {"host": "a"}, "timestamp": None, "gauge": {"value": 2.0}}
    ours = {"entity": "a", "metrics": {"y": 3, "bad": None, "worse": "7"}}
    bad = {**telegraf, "timestamp": None}
    parts = JSON.read(posted(JSON.path, orjson.dumps([{"metrics": [telegraf, bad, bad, None]}, vector, ours])))
    found = {name: v for r in parts.records() if isinstance(r, Sample) for name, v in r.metrics.items()}
    assert found == {"m.x": 1.0, "v": 2.0, "y": 3.0}
    assert [refused.detail.partition(" ")[0] for refused in parts.refused] == ["3", "2"], "parts of an item"


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
    first, second = ALERTS.read(posted(ALERTS.path, webhook(alert(fingerprint="a1"), over))).records()
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert (first.entity, first.kind, first.text) == ("web-1", "alert", "firing Slow (page): p99 is high")
    assert first.revision == "a1"
    assert (first.name, first.state, second.name, second.state) == ("Slow", "firing", "Gone", "resolved")
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


@pytest.mark.parametrize(("changes", "told"), [
    ({"kind": "gone"}, "told by workers alone"), ({"kind": "silent"}, "told by workers alone"),
    ({"kind": "alert", "name": "x" * 201, "state": "firing"}, "at most 200 characters"),
])  # fmt: skip
def test_an_event_that_only_workers_tell_or_of_an_endless_name_is_refused(changes: dict[str, str], told: str) -> None:
    parts = EVENTS.read(posted(EVENTS.path, orjson.dumps(DEPLOY | {"entity": "shop/catalog"} | changes)))
    assert parts.records() == []
    assert told in str(parts.refused)


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


def test_an_alert_may_come_as_an_event_and_a_name_that_is_no_text_is_somebody_elses() -> None:
    alert = {"entity": "db-1", "kind": "alert", "text": "too many", "name": "TooMany", "state": "firing"}
    cloud = CLOUD | {"data": DEPLOY | {"name": {"first": "x"}, "state": 7}}
    first, second = EVENTS.read(posted(EVENTS.path, orjson.dumps([alert, cloud]), "application/json")).records()
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert (first.name, first.state) == ("TooMany", "firing")
    assert (second.kind, second.name, second.state) == ("deploy", "", "")


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
