"""The closed set of metrics. Names are `opsloop_<noun>_<unit>[_total]`; labels are from closed sets, never a host."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from app.errors import UserError
from topics.spec import Instant

REGISTRY = CollectorRegistry()

RECORDS = Counter("opsloop_records", "records that an agent read", ["agent"], registry=REGISTRY)
OUTPUTS = Counter("opsloop_outputs", "records that an agent sent", ["agent"], registry=REGISTRY)
REFUSED = Counter("opsloop_refused", "messages that went to a dead-letter topic", ["agent", "cause"], registry=REGISTRY)
LATENCY = Histogram(
    "opsloop_stage_latency_seconds", "from a record's arrival at the broker until its agent is done with it", ["agent"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0), registry=REGISTRY,
)  # fmt: skip


class Meter:
    """Counts steps, records, outputs and dead letters that drivers report."""

    def stepped(self, agent: str, records: int, outputs: int, oldest: Instant, now: Instant) -> None:
        """Count a step over `records` records, of which the oldest arrived at the broker at `oldest` (ms)."""
        RECORDS.labels(agent).inc(records)
        OUTPUTS.labels(agent).inc(outputs)
        LATENCY.labels(agent).observe(max(0, now - oldest) / 1000)

    def refused(self, agent: str, cause: str) -> None:
        """Count a message that was dead-lettered for `cause`."""
        REFUSED.labels(agent, cause).inc()


def serve(port: int) -> None:
    """Serve the metrics over HTTP on 127.0.0.1. Raises UserError when the port cannot be used."""
    try:
        start_http_server(port, addr="127.0.0.1", registry=REGISTRY)
    except OSError as error:
        raise UserError(
            f"cannot serve metrics on port {port} ({error.strerror})", "Choose another --metrics-port"
        ) from None
