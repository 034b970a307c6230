"""Prometheus' text format to metrics under their canonical names (OpenTelemetry semantic conventions, dotted).

`http_client_error_ratio{peer="store"}` becomes `http.client.error_ratio.store`: underscores are dots but inside
compound words, and the values of labels follow in the order of the labels' names. Counters become rates per second
(`…_total` → `….rate`), summaries' quantiles become percentiles (`.p95`), histograms keep the rates of sum and count.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample as Line

from app.ingest.collect.rates import Rates
from topics.spec import Instant

MAX_SERIES: Final = 2_000  # of one target; what is beyond says more about the target's labels than about its health

# words of one name that a dot must not part
_COMPOUNDS: Final = (
    "active_requests", "config_revision", "error_ratio", "error_rate", "file_descriptor", "idle_replicas",
    "load_average", "open_file_descriptor", "own_duration", "queued_requests", "request_rate", "response_time",
    "status_code",
)  # fmt: skip
_ALIASES: Final = {
    "process_resident_memory_bytes": "process.memory.usage",
    "process_virtual_memory_bytes": "process.memory.virtual",
    "process_open_fds": "process.open_file_descriptor.count",
    "process_cpu_seconds_total": "process.cpu.utilization",  # seconds of processor per second
}
# who was asked, which is the entity, and what never changes
_IGNORED_LABELS: Final = frozenset({"job", "instance", "host", "hostname", "node", "pod", "version", "quantile"})
_IGNORED: Final = frozenset({"process_start_time_seconds", "process_max_fds"})
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")


def parse(text: str, rates: Rates, now: Instant) -> dict[str, float]:
    """The metrics in a scrape; `rates` holds what the scrape before it said.

    Raises:
        ValueError: this is not Prometheus' text format.
    """
    metrics: dict[str, float] = {}
    for line, kind in _lines(text):
        if len(metrics) >= MAX_SERIES:
            break
        counts = kind in ("counter", "histogram", "summary") and "quantile" not in line.labels
        if not math.isfinite(line.value):
            continue
        name = _named(line.name, tuple(sorted(line.labels.items())), counts)
        if counts:
            rates.put(metrics, name, line.value, now)
        else:
            metrics[name] = line.value
    return metrics


def _lines(text: str) -> Iterator[tuple[Line, str]]:
    try:
        families = list(text_string_to_metric_families(text))
    except (LookupError, TypeError, AttributeError) as error:  # what its parser runs into besides ValueError
        raise ValueError(f"not Prometheus' text format: {error!r}") from None
    for family in families:
        kind = "counter" if family.type == "unknown" and family.name.endswith("_total") else family.type
        for line in family.samples:
            skipped = line.name.endswith(("_bucket", "_created")) or line.name in _IGNORED
            if not skipped:
                yield line, kind


@functools.lru_cache(maxsize=65_536)
def _named(name: str, labels: tuple[tuple[str, str], ...], counts: bool) -> str:
    base = _ALIASES.get(name)
    if base is None:
        base = canonical(name.removesuffix("_total")) + (".rate" if counts else "")
    stem, tail = (base.removesuffix(".rate"), ".rate") if base.endswith(".rate") else (base, "")
    parts = [_UNSAFE.sub("_", value).strip("_").lower() for label, value in labels if label not in _IGNORED_LABELS]
    parts += [f"p{float(value) * 100:g}" for label, value in labels if label == "quantile"]
    return ".".join([stem, *(part for part in parts if part)]) + tail


@functools.lru_cache(maxsize=8_192)
def canonical(name: str) -> str:
    """The dotted name of a name with underscores."""
    for compound in _COMPOUNDS:
        name = re.sub(rf"(?<![^_:]){compound}(?![^_:])", compound.replace("_", "\0"), name)
    return name.replace("_", ".").replace(":", ".").replace("\0", "_").strip(".")
