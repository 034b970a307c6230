"""What Telegraf measures, as JSON or in line protocol. Its `inputs.prometheus` hands on series of Prometheus.

With `metric_version = 2` these are fields of `prometheus`. With 1, the default, a metric is a measurement, whose fields
are named after its type, or have a histogram's bounds or a summary's quantiles as names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from topics import kinds
from topics.formats.names import labelled, metric, others
from topics.formats.prometheus import COUNTER, GAUGE, named

PROMETHEUS: Final = "prometheus"
_PARTS: Final = {"count": "+Inf", "sum": "sum"}


def metrics_of(name: str, fields: Mapping[str, float], tags: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a measurement. tags: also the one that names its entity."""
    labels = others(tags)
    if name == PROMETHEUS:
        return {named(field, labels): value for field, value in fields.items()}
    if len(fields) == 1 and (kind := next(iter(fields))) in (COUNTER, GAUGE):
        return {named(name, labels, kind): fields[kind]}
    shares = fields.keys() - _PARTS.keys()
    if shares and len(fields) == len(shares) + len(_PARTS) and all(map(_is_number, shares)):
        known, histogram = labelled(name, labels), "+Inf" in fields
        return {
            kinds.bucket(known, _PARTS.get(field, field)) if histogram or field in _PARTS
            else kinds.figure(known, f"p{100 * float(field):g}"): value for field, value in fields.items()
        }  # fmt: skip
    return dict(metric(f"{name}.{field}", value, labels) for field, value in fields.items())


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
