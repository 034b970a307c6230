"""Influx line protocol on /influx/api/v2/write; JSON on /telemetry: our samples, or what formats.recognise knows."""

from __future__ import annotations

from typing import Any, Final

import orjson

from app.ingest.receive.parts import Parts
from app.ingest.receive.posted import NotAccepted, Posted, Protocol, Reply
from topics.codec import Cause, DecodeError
from topics.formats import influx, native
from topics.formats.names import Logged, Sampled
from topics.formats.naming import Naming
from topics.formats.tolerance import Refusals, tried
from topics.telemetry import METRICS

JSON: Final = "application/json"
_OF_JSON: Final = (JSON, "application/x-ndjson", "application/jsonl", "text/plain", "")


def read_lines(posted: Posted) -> Parts:
    """The lines of a request; one without a time is of now. A line or a field that is none is refused alone."""
    parts = Parts(posted.arrived)
    for line in influx.lines(posted.body):
        refused = Refusals()
        for sampled in tried(refused, influx.read_line, line, posted.naming, posted.arrived, refused):
            parts.sample(*sampled)
        parts.refuse_some(refused, line.encode(errors="surrogateescape"))
    return parts


def answer_lines(_: Posted, parts: Parts) -> Reply:
    """204, or 400 as InfluxDB tells of a partial write."""
    return refuse_lines("", 400, f"partial write: {parts.told()}") if parts.refused else Reply(204)


def refuse_lines(_: str, status: int, text: str) -> Reply:
    """An error as InfluxDB 2 tells it."""
    codes = {401: "unauthorized", 413: "request too large", 429: "too many requests", 503: "unavailable"}
    return Reply(status, orjson.dumps({"code": codes.get(status, "invalid"), "message": text}), JSON)


def read_json(posted: Posted) -> Parts:
    """The samples of a request: an object, an array of them, or one on each line. Those of ours may have no `ts`: now.

    Raises:
        NotAccepted: the content is of another type (415), or nothing of it is JSON (400).
    """
    if posted.media not in _OF_JSON:
        raise NotAccepted(415, f"content-type {posted.media[:100]!r} is not read: send {JSON}")
    parts = Parts(posted.arrived)
    for item in items(posted, parts):
        try:
            _take(item, parts, posted.naming)
        except DecodeError as error:
            parts.refuse(error, item)
    return parts


def items(posted: Posted, parts: Parts) -> list[Any]:
    """The items of an array, or of the lines of a body. A line that is no JSON is refused alone. Raises NotAccepted."""
    try:
        whole = orjson.loads(posted.body)
    except orjson.JSONDecodeError as error:
        lines = [line for line in posted.body.split(b"\n") if line.strip()]
        if len(lines) < 2:
            raise NotAccepted(400, f"the body is no JSON: {error}") from None
        return [item for line in lines for item in _line(line, parts)]
    if isinstance(whole, list) and not (whole and isinstance(whole[0], dict) and "dstypes" in whole[0]):
        return whole
    return [whole]  # an object, or what collectd writes


def _line(line: bytes, parts: Parts) -> tuple[Any, ...]:
    try:
        return (orjson.loads(line),)
    except orjson.JSONDecodeError as error:
        parts.refuse(DecodeError(Cause.MALFORMED, f"the line is no JSON: {error}"), line)
        return ()


def _take(item: Any, parts: Parts, naming: Naming) -> None:
    """Raises DecodeError: nothing of it can be taken."""
    if not isinstance(item, dict | list):
        raise DecodeError(Cause.WRONG_TYPE, "it is no object: a sample has entity, ts and metrics")
    refused, found = Refusals(), list[Sampled | Logged]()
    if isinstance(item, dict) and native.is_ours(item):
        found += native.ours({"ts": parts.arrived} | item, refused)
    else:
        found += native.foreign(item, None, "", refused, parts.arrived, naming)
    for each in found:
        parts.any(each)
    parts.refuse_some(refused, item)


def answer_json(_: Posted, parts: Parts) -> Reply:
    """204, or 400 when a part was refused; the others were taken."""
    return refuse_json("", 400, parts.told()) if parts.refused else Reply(204)


def refuse_json(_: str, status: int, text: str) -> Reply:
    """An object with the error."""
    return Reply(status, orjson.dumps({"error": text}), JSON)


PROTOCOLS: Final = (
    Protocol("/influx/api/v2/write", METRICS, read_lines, answer_lines, refuse_lines),
    Protocol("/telemetry", METRICS, read_json, answer_json, refuse_json),
)
