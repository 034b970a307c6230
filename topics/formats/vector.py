"""Metrics of Vector as its `kafka` sink writes them in JSON: one a message, of any kind and type.

What is `absolute` counts since its start, what is `incremental` since the message before; how long ago that was is said
by `interval_ms`, where it is. Without it there is no rate, and a counter's value is its growth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from topics import kinds
from topics.formats import histograms
from topics.formats.histograms import QUANTILES, Buckets
from topics.formats.names import NO_TIME, Sampled, instant
from topics.formats.naming import Naming
from topics.formats.tolerance import Refuse, strict

HISTOGRAMS: Final = ("aggregated_histogram", "aggregated_summary", "sketch", "distribution")


def vector(record: Mapping[str, Any], naming: Naming, refuse: Refuse = strict) -> Iterator[Sampled]:  # noqa: ARG001
    """`{"name":"foos","namespace":"vector","tags":{"k":"v"},"timestamp":"…","kind":"incremental","counter":{"value":1}}`"""
    tags = record.get("tags") or {}
    stamp = record.get("timestamp")
    name = ".".join(part for part in (record.get("namespace"), record["name"]) if part)
    ts = NO_TIME if stamp is None else instant(stamp)
    whose = naming.of(tags, name)
    named = whose.named(name)
    yield Sampled(whose.entity, ts, _metrics(record, *named) if named else {})


def _metrics(record: Mapping[str, Any], name: str, factor: float) -> dict[str, float]:
    absolute, interval_ms = record.get("kind") == "absolute", float(record.get("interval_ms") or 0)
    if (held := record.get("counter")) is not None:
        value = float(held["value"]) * factor
        if absolute:
            return {kinds.counter(name): value}
        return {kinds.figure(name, "rate"): 1000.0 * value / interval_ms} if interval_ms else {kinds.gauge(name): value}
    if (held := record.get("gauge")) is not None:
        return {kinds.gauge(name): float(held["value"]) * factor}
    if "set" in record:
        return {kinds.gauge(name): float(len(record["set"]["values"]))}
    which = next((name for name in HISTOGRAMS if name in record), "value")  # none: a KeyError here
    return _histogram(which, record[which], name, 0.0 if absolute else interval_ms, absolute=absolute)


def _histogram(
    which: str, held: Mapping[str, Any], name: str, interval_ms: float, *, absolute: bool
) -> dict[str, float]:
    if which == "distribution":
        return _distribution(name, held["samples"], interval_ms)
    if which == "sketch":
        held = next(iter(held["sketch"].values())) if "sketch" in held else held
    bounds: tuple[float, ...] = (math.inf,)
    counts: tuple[float, ...] = (float(held["count"]),)
    if which == "aggregated_histogram":
        each = sorted((_upper(bucket), float(bucket["count"])) for bucket in held["buckets"])
        finite = [pair for pair in each if math.isfinite(pair[0])]
        bounds = (*(bound for bound, _ in finite), math.inf)
        counts = (*itertools.accumulate(count for _, count in finite), counts[0])
    found = Buckets(bounds, counts, None if held["sum"] is None else float(held["sum"]))
    metrics = histograms.since_start(name, found) if absolute else histograms.since_before(name, found, interval_ms)
    if which == "aggregated_summary":
        known = [(q.get("quantile", q.get("upper_limit")), q["value"]) for q in held["quantiles"]]
        metrics |= {kinds.figure(name, f"p{100 * float(q):g}"): float(v) for q, v in known if v is not None}
    return metrics


def _upper(bucket: Mapping[str, Any]) -> float:
    """JSON has no infinity: Vector writes nothing there."""
    return math.inf if bucket["upper_limit"] is None else float(bucket["upper_limit"])


def _distribution(name: str, samples: Sequence[Mapping[str, Any]], interval_ms: float) -> dict[str, float]:
    """The figures of values, each of which came `rate` times."""
    each = sorted((float(sample["value"]), float(sample["rate"])) for sample in samples)
    count = sum(times for _, times in each)
    if not count:
        return {kinds.figure(name, "rate"): 0.0} if interval_ms else {}
    metrics = {kinds.figure(name, "mean"): sum(value * times for value, times in each) / count}
    if interval_ms:
        metrics[kinds.figure(name, "rate")] = count * 1000.0 / interval_ms
    so_far = list(itertools.accumulate(times for _, times in each))
    for what, share in QUANTILES:
        nth = next(nth for nth, upto in enumerate(so_far) if upto >= share * count or nth == len(each) - 1)
        metrics[kinds.figure(name, what)] = each[nth][0]
    return metrics
