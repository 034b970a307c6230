"""Converts Prometheus' text format to metrics with canonical names (OpenTelemetry semantic conventions, dotted).

`http_client_error_ratio{peer="store"}` becomes `http.client.error_ratio.store`: underscores become dots except inside
compound words, and the labels' values follow, sorted by the labels' names. Counters become rates per second
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

MAX_SERIES: Final = 2_000  # of one target; more come from labels with many values, not from the target's health

# compound words that keep their underscores
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
# labels that name the target, which is the entity, and constant ones
_IGNORED_LABELS: Final = frozenset({"job", "instance", "host", "hostname", "node", "pod", "version", "quantile"})
_IGNORED: Final = frozenset({"process_start_time_seconds", "process_max_fds"})
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")


def parse(text: str, rates: Rates, now: Instant) -> dict[str, float]:
    """The metrics of a scrape at `now` (ms). `rates` holds the counters of the scrape before.

    Raises:
        ValueError: the text is not in Prometheus' format.
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
    except (LookupError, TypeError, AttributeError) as error:  # the parser raises these besides ValueError
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
    """The dotted form of a name with underscores."""
    for compound in _COMPOUNDS:
        name = re.sub(rf"(?<![^_:]){compound}(?![^_:])", compound.replace("_", "\0"), name)
    return name.replace("_", ".").replace(":", ".").replace("\0", "_").strip(".")
