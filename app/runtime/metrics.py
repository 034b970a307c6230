"""The closed set of metrics. Names are `opsloop_<noun>_<unit>[_total]`; labels are from closed sets, never a host."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from app.errors import UserError
from topics.spec import Instant

REGISTRY = CollectorRegistry()

RECORDS = Counter("opsloop_records", "records that an agent took", ["agent"], registry=REGISTRY)
OUTPUTS = Counter("opsloop_outputs", "records that an agent sent", ["agent"], registry=REGISTRY)
REFUSED = Counter("opsloop_refused", "messages that went to a dead-letter topic", ["agent", "cause"], registry=REGISTRY)
LATENCY = Histogram(
    "opsloop_stage_latency_seconds", "from a record's arrival at the broker until its agent is done with it", ["agent"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0), registry=REGISTRY,
)  # fmt: skip


class Meter:
    """What the drivers report to."""

    def stepped(self, agent: str, records: int, outputs: int, oldest: Instant, now: Instant) -> None:
        """A step took `records`, the oldest of which arrived at the broker at `oldest`."""
        RECORDS.labels(agent).inc(records)
        OUTPUTS.labels(agent).inc(outputs)
        LATENCY.labels(agent).observe(max(0, now - oldest) / 1000)

    def refused(self, agent: str, cause: str) -> None:
        """A message was dead-lettered."""
        REFUSED.labels(agent, cause).inc()


def serve(port: int) -> None:
    """Offer the metrics on loopback."""
    try:
        start_http_server(port, addr="127.0.0.1", registry=REGISTRY)
    except OSError as error:
        raise UserError(
            f"cannot serve metrics on port {port} ({error.strerror})", "Choose another --metrics-port"
        ) from None
