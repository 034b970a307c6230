"""Series of Prometheus as metrics: what their types say that they are, and where none is known, their names.

A series keeps its name and its labels. Only what is not as its name says gets another one: a counter without `_total`
(`nginx_connections_accepted`), a gauge with it; `_sum` and `_count` of a histogram or summary are its buckets `sum` and
`+Inf`, and a quantile of a summary is a figure (`.p99`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from topics import kinds
from topics.formats.names import labelled

# the types that a metric's family may have; all others say nothing
COUNTER, GAUGE, HISTOGRAM, SUMMARY = "counter", "gauge", "histogram", "summary"
UNTYPED: Final = "untyped"  # a type that says nothing, beside a name that does not either
LEVELS: Final = frozenset({GAUGE, "gaugehistogram", "info", "stateset"})
_OBSERVED: Final = frozenset({HISTOGRAM, SUMMARY})
_PARTS: Final = (("_sum", "sum"), ("_count", "+Inf"))
_ENDINGS: Final = ("_bucket", "_sum", "_count", "_total")  # of series, after the name of their family
_UNITS: Final = ("_seconds", "_milliseconds", "_ms", "_bytes", "_size", "_duration", "_latency", "_time", "_length")


def named(name: str, labels: Mapping[str, str], kind: str = "") -> str:
    """The metric that a series is. labels: without its name and its entity; kind: its family's type, if it is known."""
    kept = {label: value for label, value in labels.items() if value != ""}  # an empty value is no label
    if kind not in LEVELS and (share := _share(kept.get("quantile", ""))) is not None:
        return kinds.figure(labelled(name, {**kept, "quantile": None}), f"p{100 * share:g}")
    stem, bound = _part(name, kind)
    known = labelled(stem, kept)
    if bound:
        return kinds.bucket(known, bound)
    if kind == COUNTER:
        return kinds.counter(known)
    return kinds.gauge(known) if kind in LEVELS else known


def kind_of(name: str, types: Mapping[str, str]) -> str:
    """The type of a series by those of families; empty when it is not known."""
    families = (name.removesuffix(ending) for ending in ("", *_ENDINGS) if name.endswith(ending))
    return next((types[family] for family in families if family in types), "")


def _share(quantile: str) -> float | None:
    """A quantile, 0 to 1; None where there is none."""
    try:
        share = float(quantile)
    except ValueError:
        return None
    return share if 0.0 <= share <= 1.0 else None


def _part(name: str, kind: str) -> tuple[str, str]:
    """The histogram or summary that a series is of and its bound there; else its name, and no bound.

    Without a type, `_sum` is the sum of one. So is `_count` the count where a unit stands before it, since a gauge may
    end like that too (`pg_stat_activity_count`).
    """
    if kind and kind not in _OBSERVED:
        return name, ""
    for ending, bound in _PARTS:
        stem = name.removesuffix(ending)
        if stem != name and stem and (kind or bound == "sum" or stem.endswith(_UNITS)):
            return stem, bound
    return name, ""
