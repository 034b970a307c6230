"""What Telegraf measures, as JSON or in line protocol. Its `inputs.prometheus` hands on series of Prometheus.

With `metric_version = 2` these are fields of `prometheus`. With 1, the default, a metric is a measurement, whose fields
are named after its type, or have a histogram's bounds or a summary's quantiles as names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from topics import kinds
from topics.formats.naming import Whose
from topics.formats.prometheus import COUNTER, GAUGE, UNTYPED

PROMETHEUS: Final = "prometheus"
_PARTS: Final = {"count": "+Inf", "sum": "sum"}


def metrics_of(name: str, fields: Mapping[str, float], whose: Whose) -> dict[str, float]:
    """The metrics of a measurement."""
    if name == PROMETHEUS:
        return whose.metrics(fields.items(), "")
    if len(fields) == 1 and (kind := next(iter(fields))) in (COUNTER, GAUGE):
        return whose.metrics([(name, fields[kind])], kind)
    shares = fields.keys() - _PARTS.keys()
    if shares and len(fields) == len(shares) + len(_PARTS) and all(map(_is_number, shares)):
        if (known := whose.named(name, UNTYPED)) is None:
            return {}
        histogram = "+Inf" in fields
        return {
            kinds.bucket(known[0], _PARTS.get(field, field)) if histogram or field in _PARTS
            else kinds.figure(known[0], f"p{100 * float(field):g}"): value for field, value in fields.items()
        }  # fmt: skip
    return whose.metrics((f"{name}.{field}", value) for field, value in fields.items())


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
