"""Prometheus remote write 1.0 and 2.0 on /api/v1/write.

Senders give up on every 4xx, and on 429 too unless `retry_on_http_429` is set in their queue_config. So they are told
503 when the broker lags, which they answer by waiting. A request with a bad series is answered with 400, as both
specifications want it, after all other series are on the broker.
"""

from __future__ import annotations

from typing import Final

from app.ingest.receive.parts import Parts
from app.ingest.receive.posted import NotAccepted, Posted, Protocol, Reply
from topics.codec import Cause, DecodeError
from topics.formats import native_histograms
from topics.formats.remote_write import Identity, Series, read_v1, read_v2
from topics.formats.tolerance import NOT_AS_IT_SAYS
from topics.telemetry import METRICS

PATH: Final = "/api/v1/write"
V1, V2 = "prometheus.WriteRequest", "io.prometheus.write.v2.Request"
_WRITTEN: Final = {"samples": "Samples", "histograms": "Histograms", "exemplars": "Exemplars"}


def read(posted: Posted) -> Parts:
    """The series of a request. Raises NotAccepted: it is of another type (415), or no message of its type (400)."""
    named = posted.parameters.get("proto", V1)
    if posted.media not in ("application/x-protobuf", "") or named not in (V1, V2):
        said = posted.headers.get("content-type", "")[:100]
        raise NotAccepted(415, f"content-type {said!r} is not read: send application/x-protobuf;proto={V1} or {V2}")
    parts = Parts(posted.arrived)
    parts.written = dict.fromkeys(_WRITTEN, 0)  # exemplars are not kept: 0
    try:
        for series in (read_v2 if named == V2 else read_v1)(posted.body, posted.naming):
            _take(series, parts)
    except NOT_AS_IT_SAYS as error:
        raise NotAccepted(400, f"the body is no {named}: {error}") from None
    return parts


def _take(series: Series, parts: Parts) -> None:
    whose = series.identity
    if series.refused is not None:
        parts.refuse(series.refused, _kept(whose))
        return
    for ts, value in series.samples:
        parts.written["samples"] += parts.value(whose.entity, ts, whose.metric, value)
    for message in series.histograms:
        try:
            ts, metrics = native_histograms.read(message, whose.metric)
        except NOT_AS_IT_SAYS as error:
            parts.refuse(DecodeError(Cause.MALFORMED, f"no native histogram: {error!r}"[:300]), _kept(whose))
        else:
            parts.written["histograms"] += parts.together(whose.entity, ts, metrics)


def _kept(identity: Identity) -> dict[str, object]:
    """A refused series for people: its labels one by one, because one may stand there twice."""
    return {"remote_write": "series", "labels": identity.labels[:100]}


def answer(_: Posted, parts: Parts) -> Reply:
    """204, or 400 when a series was refused, each with what was written."""
    headers = {f"X-Prometheus-Remote-Write-{_WRITTEN[kind]}-Written": str(n) for kind, n in parts.written.items()}
    if parts.refused:
        return Reply(400, parts.told().encode(), headers=headers)
    return Reply(204, headers=headers)


def refuse(_: str, status: int, text: str) -> Reply:
    """One line of text; nothing was written."""
    headers = {f"X-Prometheus-Remote-Write-{name}-Written": "0" for name in _WRITTEN.values()}
    return Reply(status, text.encode(), headers=headers)


PROTOCOL: Final = Protocol(PATH, METRICS, read, answer, refuse, busy=503, encoding="snappy")
