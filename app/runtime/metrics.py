"""The closed set of metrics. Names are `opsloop_<noun>_<unit>[_total]`; labels are from closed sets, never a host."""

from __future__ import annotations

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

from app.errors import UserError
from topics.spec import Instant

log = structlog.get_logger()

REGISTRY = CollectorRegistry()

RECORDS = Counter("opsloop_records", "records that an agent read", ["agent"], registry=REGISTRY)
OUTPUTS = Counter("opsloop_outputs", "records that an agent sent", ["agent"], registry=REGISTRY)
REFUSED = Counter("opsloop_refused", "messages that went to a dead-letter topic", ["agent", "cause"], registry=REGISTRY)
MISPLACED = Counter(
    "opsloop_misplaced", "records under a key that this worker does not give them", ["topic"], registry=REGISTRY
)
LATENCY = Histogram(
    "opsloop_stage_latency_seconds", "from a record's arrival at the broker until its agent is done with it", ["agent"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0), registry=REGISTRY,
)  # fmt: skip

# of `opsloop receive`; a route is one that exists, or `other`
RECEIVED_REQUESTS = Counter("opsloop_received_requests", "requests by HTTP", ["route", "status"], registry=REGISTRY)
RECEIVED_BYTES = Counter("opsloop_received_bytes", "bytes of bodies, decompressed", ["route"], registry=REGISTRY)
RECEIVED_VALUES = Counter(
    "opsloop_received_values", "values, lines and events that the broker has", ["route"], registry=REGISTRY
)
RECEIVED_PASSED = Counter(
    "opsloop_received_not_finite", "values passed over: stale markers and others that are no number", ["route"],
    registry=REGISTRY,
)  # fmt: skip
RECEIVED_REFUSED = Counter(
    "opsloop_received_refused", "parts of requests that were refused alone", ["route", "cause"], registry=REGISTRY
)
RECEIVED_PENDING = Gauge(
    "opsloop_received_pending_messages", "messages that the broker has not acknowledged", registry=REGISTRY
)
RECEIVED_LATENCY = Histogram(
    "opsloop_received_delivery_seconds", "from a request's first message until the broker has its last",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0), registry=REGISTRY,
)  # fmt: skip


def page() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)


class Meter:
    """Counts steps, records, outputs and dead letters that drivers report."""

    def __init__(self) -> None:
        self._told: set[str] = set()  # topics with a misplaced record

    def stepped(self, agent: str, records: int, outputs: int, oldest: Instant, now: Instant) -> None:
        """Count a step over `records` records, of which the oldest arrived at the broker at `oldest` (ms)."""
        RECORDS.labels(agent).inc(records)
        OUTPUTS.labels(agent).inc(outputs)
        LATENCY.labels(agent).observe(max(0, now - oldest) / 1000)

    def refused(self, agent: str, cause: str) -> None:
        """Count a message that was dead-lettered for `cause`."""
        REFUSED.labels(agent, cause).inc()

    def misplaced(self, topic: str, cause: str) -> None:
        """Count a record under another key than this worker gives it. The first of each topic is logged."""
        MISPLACED.labels(topic).inc()
        if topic not in self._told:
            self._told.add(topic)
            log.warning("senders have other correlation domains: see opsloop doctor", topic=topic, record=cause)


def serve(port: int) -> None:
    """Serve the metrics over HTTP on 127.0.0.1. Raises UserError when the port cannot be used."""
    try:
        start_http_server(port, addr="127.0.0.1", registry=REGISTRY)
    except OSError as error:
        raise UserError(
            f"cannot serve metrics on port {port} ({error.strerror})", "Choose another --metrics-port"
        ) from None
