"""Measures one partition while a cluster redeploys all of its pods every day, for months of event time.

Each pod has its name for a day and sends a few samples of its series as JSON. Nodes stay: they have constant series,
and two series of each container, whose names change every day. The number of names, memory and snapshot may grow until
the pods of the first day have been silent for ten days, and must be constant from then on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import numpy as np
import orjson
import psutil

from agents._partition import through
from agents.decode import Decode, chunk_of
from agents.detect import Detect
from app.printing import print_json, print_table
from app.runtime.memory import tune_allocator
from topics.batch import HOUR_MS, Names
from topics.codec import DeadLetter
from topics.spec import Raw
from topics.telemetry import METRICS

START: Final = 1_700_006_400_000  # midnight in UTC
FULL_DAY: Final = 10  # counted from 0: the day on which the pods of the first day are forgotten
SAMPLES_A_DAY: Final = 4  # samples of one pod; in each hour some pods send
NODES: Final = 20
OWN, CONTAINERS = 50, 100  # constant series of a node, and its containers in a day


def run(days: int, pods: int, series: int, json: bool) -> None:
    """Feed the samples of `days` (more than `FULL_DAY`) to a partition and print the result; `json`: as one object."""
    tune_allocator()
    found = measure(days, pods, series)
    if json:
        print_json(found)
    else:
        print_table("churn", ["what", "value"], ([name, f"{value:g}"] for name, value in found.items()))


def measure(days: int, pods: int, series: int, names: Names | None = None) -> dict[str, float]:
    """Series, snapshot and memory after the full day and after the last one, and the number of refused messages."""
    decode, detect = Decode(names), Detect()
    found: dict[str, float] = {"days": days, "pods": pods, "series_each": series}
    began, refused, offset = time.perf_counter(), 0, 0
    for day in range(days):
        for hour in range(24):
            log = list(sent(day, hour, (pods, series), offset))
            offset += len(log)
            for output in through([decode, detect], chunk_of(log), 0):
                refused += isinstance(output, DeadLetter)
        if day == FULL_DAY:
            found |= sizes(decode, detect, "day10")
    kept = min(len(decode.names.metrics(f"node/{node}") & {f"own.{at}" for at in range(OWN)}) for node in range(NODES))
    return found | sizes(decode, detect, f"day{days}") | {
        "refused": refused, "node_series_kept": kept / OWN, "seconds": time.perf_counter() - began,
    }  # fmt: skip


def sent(day: int, hour: int, cluster: tuple[int, int], offset: int) -> Iterator[Raw]:
    """The messages of one hour. cluster: (pods, series of each)."""
    pods, series = cluster
    rng, ts = np.random.default_rng([day, hour]), START + (24 * day + hour) * HOUR_MS
    every = 24 // SAMPLES_A_DAY
    for pod in range(hour % every, pods, every):
        values = np.round(rng.normal(50, 5, series), 2).tolist()
        entity = f"shop/web-{day}-{pod}"
        yield message(offset, ts + pod, entity, {f"system.metric.{at}": value for at, value in enumerate(values)})
        offset += 1
    for node in range(NODES):
        values = np.round(rng.normal(50, 5, OWN), 2).tolist()
        own = {f"own.{at}": value for at, value in enumerate(values)}
        for container in range(hour, CONTAINERS, 24):
            own |= {f"container.{day}-{container}.cpu": 1.0, f"container.{day}-{container}.memory": 5e6}
        yield message(offset, ts + node, f"node/{node}", own)
        offset += 1


def message(offset: int, ts: int, entity: str, metrics: dict[str, float]) -> Raw:
    """A sample as a message of the topic."""
    value = orjson.dumps({"entity": entity, "ts": ts, "metrics": metrics})
    return Raw(METRICS.name, 0, offset, entity.encode(), value, (), ts)


def sizes(decode: Decode, detect: Detect, when: str) -> dict[str, float]:
    """The size of a partition: number of series, MB of its snapshot, and MB of this process."""
    snapshot = len(decode.snapshot()) + sum(map(len, detect.pieces()))
    return {
        f"series_numbers_{when}": len(decode.names.series), f"series_{when}": decode.names.series.used,
        f"snapshot_mb_{when}": snapshot / 1e6, f"memory_mb_{when}": psutil.Process().memory_info().rss / 1e6,
    }  # fmt: skip
