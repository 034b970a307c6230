"""Events: Alertmanager's webhook on /alertmanager, and CloudEvents 1.0 or our own events on /events.

Alertmanager comes again after a 5xx and gives up after a 429, so it is told 503 when the broker lags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import orjson

from app.ingest.receive.parts import UNKNOWN, Parts
from app.ingest.receive.plain import answer_json, items, refuse_json
from app.ingest.receive.posted import NotAccepted, Posted, Protocol
from topics.codec import Cause, DecodeError
from topics.formats.names import instant
from topics.formats.naming import Naming
from topics.formats.tolerance import NOT_AS_IT_SAYS
from topics.spec import Instant
from topics.telemetry import EVENTS

JSON: Final = "application/json"
CLOUDEVENT, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
ALERT: Final = "alert"  # the kind of event that an alert is
_OURS: Final = ("entity", "ts", "kind", "text", "revision", "previous", "calls")
_OF_ALERT: Final = ("name", "state")


def read_alerts(posted: Posted) -> Parts:
    """The alerts of a webhook of version 4, each an event of its instance. Raises NotAccepted."""
    if posted.media != JSON:
        raise NotAccepted(415, f"content-type {posted.media[:100]!r} is not read: send {JSON}")
    parts = Parts(posted.arrived)
    try:
        alerts = orjson.loads(posted.body)["alerts"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise NotAccepted(400, f"the body is no webhook of Alertmanager: {error!r}"[:200]) from None
    if not isinstance(alerts, list):
        raise NotAccepted(400, "the body is no webhook of Alertmanager: `alerts` is no list")
    for alert in alerts:
        try:
            parts.event(_alert(alert, posted.naming), alert)
        except NOT_AS_IT_SAYS as error:
            parts.refuse(DecodeError(Cause.MALFORMED, f"no alert: {error!r}"[:300]), alert)
    return parts


def _alert(alert: Mapping[str, Any], naming: Naming) -> dict[str, Any]:
    labels, notes, status = alert["labels"], alert.get("annotations") or {}, alert["status"]
    when = alert["endsAt"] if status == "resolved" else alert["startsAt"]
    severity = f" ({labels['severity']})" if labels.get("severity") else ""
    told = notes.get("summary") or notes.get("description") or ""
    return {
        "entity": naming.entity_of(labels) or str(labels.get("job") or UNKNOWN), "ts": instant(when), "kind": ALERT,
        "name": str(labels.get("alertname") or ""), "state": status, "revision": str(alert.get("fingerprint") or ""),
        "text": f"{status} {labels.get('alertname', '')}{severity}: {told}".rstrip(": "),
    }  # fmt: skip


def read_events(posted: Posted) -> Parts:
    """CloudEvents in binary, structured or batched mode; without their attributes, our events. Raises NotAccepted."""
    parts = Parts(posted.arrived)
    if "ce-specversion" in posted.headers:
        _take(_binary(posted), parts)
        return parts
    if posted.media not in (CLOUDEVENT, BATCH, JSON, "application/x-ndjson"):
        said = posted.media[:100]
        raise NotAccepted(415, f"content-type {said!r} is not read: send {CLOUDEVENT}, {BATCH} or {JSON}")
    for item in items(posted, parts):
        _take(item, parts)
    return parts


def _binary(posted: Posted) -> dict[str, Any]:
    """The event whose attributes are in headers, percent-encoded, and whose data is the body."""
    event: dict[str, Any] = {
        name.removeprefix("ce-"): unquote(value) for name, value in posted.headers.items() if name.startswith("ce-")
    }
    try:
        event["data"] = orjson.loads(posted.body) if posted.media == JSON else posted.body.decode()
    except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotAccepted(400, f"the data of the event cannot be read: {error}"[:200]) from None
    return event


def _take(item: Any, parts: Parts) -> None:
    try:
        if not isinstance(item, dict):
            raise TypeError("it is no object")
        parts.event(_cloudevent(item, parts.arrived) if "specversion" in item else _own(item, parts.arrived), item)
    except NOT_AS_IT_SAYS as error:
        parts.refuse(DecodeError(Cause.MALFORMED, f"no event: {error!r}"[:300]), item)


def _own(item: Mapping[str, Any], arrived: Instant) -> dict[str, Any]:
    return {"ts": arrived} | _said(item)


def _said(item: Mapping[str, Any]) -> dict[str, Any]:
    """What is said by our names; others may mean something else by `name` and `state` than an alert's."""
    alert = {name: value for name in _OF_ALERT if isinstance(value := item.get(name), str)}
    return {name: value for name, value in item.items() if name in _OURS} | alert


def _cloudevent(event: Mapping[str, Any], arrived: Instant) -> dict[str, Any]:
    """Its fields as those of an Event: what its data says by our names, else its attributes.

    The subject, else the source, is the entity; the type is the kind; data that is a text, else `message` of the data,
    else the type, is the text.
    """
    for name in ("id", "source", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            raise ValueError(f"a CloudEvent has a text for {name!r}")
    if event["specversion"] != "1.0":
        raise ValueError(f"specversion {str(event['specversion'])[:20]!r} is not 1.0")
    data = event.get("data")
    given = _said(data) if isinstance(data, dict) else {}
    said = data if isinstance(data, str) else data.get("message") if isinstance(data, dict) else None
    return {
        "entity": str(event.get("subject") or event["source"]), "kind": event["type"].lower(),
        "ts": instant(event["time"]) if event.get("time") else arrived,
        "text": said if isinstance(said, str) and said else event["type"],
    } | given  # fmt: skip


PROTOCOLS: Final = (
    Protocol("/alertmanager", EVENTS, read_alerts, answer_json, refuse_json, busy=503),
    Protocol("/events", EVENTS, read_events, answer_json, refuse_json),
)
