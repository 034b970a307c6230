"""What the name of a metric says that its values are: as they are, a counter that only grows, a bucket of a histogram.

Names are those of Prometheus, which other formats' readers write too: `NAME_total{labels}` is a counter, and
`NAME_bucket{labels,le="0.5"}` counts what is at most 0.5 since the start, `le="+Inf"` all of it and `le="sum"` its sum.
A counter is shown as its growth a second, `NAME.rate{labels}`. Buckets are never shown; each histogram has
`NAME.rate`, `NAME.p50`, `NAME.p95`, `NAME.p99` and `NAME.mean`, each a series under a name that nobody sends. So is a
derived signal of a pack (`topics.derived`): `=NAME`, shown as `NAME`.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

PLAIN, COUNTER, BUCKET, DERIVED = range(4)
SIGNAL: Final = "="  # begins the name of a derived signal
FIGURES: Final = ("rate", "p50", "p95", "p99", "mean")  # of a histogram, in this order
SUM: Final = math.nan  # the bound of a histogram's sum
TOTAL: Final = "_total"
BUCKETS: Final = "_bucket"
_LABEL: Final = re.compile(r'([^=]*)="(?:[^"\\]|\\.)*",?')  # at the beginning, or after a comma
COUNT: Final = "_count"
_LE: Final = re.compile(r'([{,])le="([^"]*)"(,?)')


class Meaning(NamedTuple):
    """What a name stands for."""

    kind: int
    shown: str  # to people and in settings
    histogram: str = ""  # of a bucket and of what follows from it: the name without `le`
    bound: float = 0.0  # of a bucket
    figure: int = -1  # place in `FIGURES` of what follows from a histogram


@functools.lru_cache(maxsize=100_000)
def meaning(name: str) -> Meaning:
    """What a name stands for by itself; packs may say more, see `topics.meanings`."""
    if name.startswith(SIGNAL):
        return Meaning(DERIVED, name[len(SIGNAL) :])
    stem, brace, labels = name.partition("{")
    if stem.endswith(TOTAL) and len(stem) > len(TOTAL):
        return Meaning(COUNTER, f"{stem[: -len(TOTAL)]}.rate{brace}{labels}")
    if stem.endswith(BUCKETS) and (found := _LE.search(name, len(stem))):
        return _of_histogram(name, stem[: -len(BUCKETS)], found)
    return Meaning(PLAIN, name)


def _of_histogram(name: str, stem: str, found: re.Match[str]) -> Meaning:
    opens, bound, more = found.groups()
    rest = name[: found.start()] + (opens if opens == "{" or more else "") + name[found.end() :]
    histogram = rest.removesuffix("{}")
    if bound in FIGURES:
        labels = histogram[len(stem) + len(BUCKETS) :]
        return Meaning(DERIVED, f"{stem}.{bound}{labels}", histogram, figure=FIGURES.index(bound))
    try:
        upper = SUM if bound == "sum" else float(bound)
    except ValueError:
        return Meaning(PLAIN, name)
    if math.isnan(upper) and bound != "sum":
        return Meaning(PLAIN, name)
    return Meaning(BUCKET, name, histogram, upper)


def counted(name: str) -> Meaning:
    """What a counter is whose name does not say so."""
    stem, brace, labels = name.partition("{")
    return Meaning(COUNTER, f"{stem.removesuffix(COUNT)}.rate{brace}{labels}")


def counter(name: str) -> str:
    """How the name of a counter is written: with `_total` at its end, before the labels."""
    stem, brace, labels = name.partition("{")
    return name if stem.endswith(TOTAL) else f"{stem}{TOTAL}{brace}{labels}"


def gauge(name: str) -> str:
    """How the name of what is no counter is written, although it may end like that of one."""
    return name if meaning(name).kind == PLAIN else _ending(name, ".value")


def bucket(name: str, bound: str) -> str:
    """How a bucket of a histogram is written; bound: a number, `+Inf`, or `sum`. Its labels stay in order."""
    before, after = _around(name)
    return f'{before}le="{bound}"{after}'


@functools.lru_cache(maxsize=10_000)
def _around(name: str) -> tuple[str, str]:
    """What stands before and after `le` in the names of a histogram's buckets."""
    stem, brace, labels = name.partition("{")
    at = next((found.start() for found in _LABEL.finditer(labels) if found[1] > "le"), len(labels) - 1)
    if not brace:
        return f"{stem}{BUCKETS}{{", "}"
    low, high = labels[:at].removesuffix(","), labels[at:].removesuffix("}")
    return f"{stem}{BUCKETS}{{{low}{low and ','}", f"{high and ','}{high}}}"


def figure(name: str, what: str) -> str:
    """How a figure of a histogram is written that its sender knows already."""
    return _ending(name, f".{what}")


def with_label(name: str, label: str, value: str) -> str:
    """A name with one more label at the end."""
    return f'{name[:-1]},{label}="{value}"}}' if name.endswith("}") else f'{name}{{{label}="{value}"}}'


def _ending(name: str, ending: str) -> str:
    stem, brace, labels = name.partition("{")
    return f"{stem}{ending}{brace}{labels}"


def figures_of(names: Iterable[str]) -> list[str]:
    """The names of all that follows from the histograms that some names are of."""
    found = dict.fromkeys(held.histogram for held in map(meaning, names) if held.kind == BUCKET)
    return [with_label(histogram, "le", what) for histogram in found for what in FIGURES]
