"""OTLP/HTTP 1.x: /v1/metrics and /v1/logs, protobuf and JSON. What is refused of a request is its partial success."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import orjson

from app.ingest.receive.parts import Parts
from app.ingest.receive.posted import NotAccepted, Posted, Protocol, Reply
from topics.codec import DecodeError
from topics.formats import otlp
from topics.formats.names import Logged
from topics.formats.protobuf import message, text, varint
from topics.formats.tolerance import NOT_AS_IT_SAYS
from topics.telemetry import METRICS

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_REJECTED: Final = {"metrics": "rejectedDataPoints", "logs": "rejectedLogRecords"}
_FIELD: Final = {"metrics": "resourceMetrics", "logs": "resourceLogs"}
_CODES: Final = {400: 3, 401: 16, 403: 7, 408: 4, 413: 8, 415: 3, 429: 8, 503: 14}  # of google.rpc.Code


def read(signal: str, posted: Posted) -> Parts:
    """The data points or lines of a request. Raises NotAccepted: 415 for another type, 400 when it is no request."""
    if posted.media not in (PROTOBUF, JSON):
        raise NotAccepted(415, f"content-type {posted.media[:100]!r} is not read: send {PROTOBUF} or {JSON}")
    request: Any = posted.body
    parts = Parts(posted.arrived)
    try:
        if posted.media == JSON:
            request = orjson.loads(posted.body)
            if not isinstance(request, dict):
                raise NotAccepted(400, "the body is no object")
            if not request:
                return parts
            if _FIELD[signal] not in request:
                raise NotAccepted(400, f"the body has no {_FIELD[signal]}, which belong on {posted.path}")
        for found in otlp.read(request, posted.naming, parts.tried({"otlp": signal}), signal):
            if isinstance(found, Logged) != (signal == "logs"):
                raise NotAccepted(400, f"these are not {signal}: metrics go to /v1/metrics, logs to /v1/logs")
            parts.any(found)
    except DecodeError as error:
        raise NotAccepted(400, error.detail) from None
    except NOT_AS_IT_SAYS as error:
        raise NotAccepted(400, f"the body is no request of OTLP {signal}: {error!r}"[:300]) from None
    return parts


def answer(signal: str, posted: Posted, parts: Parts) -> Reply:
    """200, with the number of what was rejected and the first cause of it when there was any."""
    count, told = len(parts.refused), parts.told() if parts.refused else ""
    if posted.media == JSON:
        partial_success = {"partialSuccess": {_REJECTED[signal]: str(count), "errorMessage": told}} if count else {}
        return Reply(200, orjson.dumps(partial_success), JSON)
    return Reply(200, message(1, varint(1, count) + text(2, told)) if count else b"", PROTOBUF)


def refuse(media: str, status: int, said: str) -> Reply:
    """A google.rpc.Status in the encoding of the request."""
    code = _CODES.get(status, 2)
    if media == PROTOBUF:
        return Reply(status, varint(1, code) + text(2, said), PROTOBUF)
    return Reply(status, orjson.dumps({"code": code, "message": said}), JSON)


def _protocol(signal: str) -> Protocol:
    reading: Callable[[Posted], Parts] = partial(read, signal)
    return Protocol(f"/v1/{signal}", METRICS, reading, partial(answer, signal), refuse)


PROTOCOLS: Final = (_protocol("metrics"), _protocol("logs"))
