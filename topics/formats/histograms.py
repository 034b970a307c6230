"""Histograms as the metrics that `topics.kinds` names: buckets where they count since the start, figures where they do
not.

An exponential histogram, of OpenTelemetry or native to Prometheus, is written with bounds that stay: at most
`SCALE`, four of them from a number to its double, and fewer where it has more buckets than `MOST`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from topics import kinds

SCALE: Final = 2
MOST: Final = 64  # buckets of an exponential histogram
LEAST_SCALE: Final = -10
LARGEST: Final = 1_075  # powers of two, from one, that a double can be
QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class Buckets(NamedTuple):
    """Counts of a histogram: how many are at most each bound; the last is infinite and has all."""

    bounds: Sequence[float]
    counts: Sequence[float]
    total: float | None = None  # sum of what was observed


def explicit(bounds: Sequence[float], counts: Sequence[float], count: float, total: float | None) -> Buckets:
    """A histogram whose buckets have bounds. Raises ValueError: they do not fit."""
    if counts and len(counts) != len(bounds) + 1:
        raise ValueError(f"a histogram with {len(bounds)} bounds has {len(bounds) + 1} counts, not {len(counts)}")
    if any(low >= high for low, high in itertools.pairwise(bounds)):
        raise ValueError("the bounds of a histogram do not rise")
    if not counts:
        return Buckets((math.inf,), (count,), total)
    return Buckets((*bounds, math.inf), tuple(itertools.accumulate(counts)), total)


def exponential(
    scale: int, zeros: float, positive: Mapping[int, float], negative: float, total: float | None
) -> Buckets:
    """A histogram whose bounds are powers of 2 ** (2 ** -scale). positive: counts by index, as OpenTelemetry has it:
    bucket i is above the i-th power. negative: how many were below zero; they and the zeros are one bucket.

    Raises ValueError: it has no such scale, a count below zero, or a bucket beyond what a number can be.
    """
    if not LEAST_SCALE <= scale <= 20:
        raise ValueError(f"an exponential histogram has no scale {scale}")
    counts = {at: count for at, count in positive.items() if count}
    if any(abs(at) > LARGEST * 2.0**scale + 1 for at in counts):
        raise ValueError("a bucket of an exponential histogram lies beyond all numbers")
    while scale > SCALE or (counts and max(counts) - min(counts) >= MOST and scale > LEAST_SCALE):
        merged: dict[int, float] = {}
        for at, count in counts.items():
            merged[at >> 1] = merged.get(at >> 1, 0.0) + count
        counts, scale = merged, scale - 1
    low = zeros + negative
    every = range(min(counts), max(counts) + 1) if counts else range(0)
    each = [counts.get(at, 0.0) for at in every]
    if low < 0.0 or min(each, default=0.0) < 0.0:
        raise ValueError("a bucket of a histogram has a count below zero")
    bounds, sums = ([0.0], [low]) if low else ([], [])
    if each:
        bounds += [_power(at, scale) for at in range(every.start, every.stop + 1)]
        sums += itertools.accumulate(each, initial=low)
    return Buckets((*bounds, math.inf), (*sums, sums[-1] if sums else 0.0), total)


def _power(index: int, scale: int) -> float:
    """2 ** (index * 2 ** -scale), bounded by what a double holds."""
    exponent = index / (1 << scale) if scale >= 0 else float(index * (1 << -scale))
    return math.pow(2.0, min(max(exponent, -1022.0), 1023.0))


def since_start(name: str, found: Buckets) -> dict[str, float]:
    """The metrics of a histogram that counts since its start: `topics.rates` makes figures of them."""
    metrics = {kinds.bucket(name, bound_of(bound)): count for bound, count in zip(*found[:2], strict=True)}
    return metrics | ({kinds.bucket(name, "sum"): found.total} if found.total is not None else {})


def bound_of(bound: float) -> str:
    """A bound as Prometheus writes it."""
    return "+Inf" if math.isinf(bound) else f"{bound:.12g}"


def since_before(name: str, found: Buckets, interval_ms: float) -> dict[str, float]:
    """The figures of a histogram that counts since the message before; interval_ms: 0 where it is not known."""
    count = found.counts[-1]
    metrics = {kinds.figure(name, "rate"): count * 1000.0 / interval_ms} if interval_ms > 0 else {}
    if count > 0:
        for what, share in QUANTILES:
            if (value := _quantile(found, share * count)) is not None:
                metrics[kinds.figure(name, what)] = value
        if found.total is not None:
            metrics[kinds.figure(name, "mean")] = found.total / count
    return metrics


def _quantile(found: Buckets, rank: float) -> float | None:
    """As `topics.rates` has it."""
    low, counted = 0.0, 0.0
    for nth, (bound, count) in enumerate(zip(*found[:2], strict=True)):
        if count >= rank:
            if math.isinf(bound):
                return low if nth else None
            if nth == 0 and bound <= 0.0:
                return bound
            return low + (bound - low) * ((rank - counted) / (count - counted) if count > counted else 1.0)
        low, counted = bound, count
    return None
