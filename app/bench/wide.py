"""Measures a group of workers: the gain by a second one, and one worker with a hundred thousand entities."""

from __future__ import annotations

import bisect
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import psutil

from app.bench.lane import METRICS_EACH, PERIOD_MS, START, broker_for_bench, fill_json
from app.client import Publisher
from app.drills.load import PROBE, Probes
from app.drills.processes import WorkerProcess, start_workers
from app.errors import UserError
from app.kafka.broker import Broker
from app.printing import err, print_json, print_table
from topics.frames import FrameBuilder
from topics.telemetry import METRICS

A_FRAME: Final = 500  # entities in one frame
LIMIT_S: Final = 600.0
SETTLED_S: Final = 10.0  # seconds within which a group has assigned its partitions
Line = list[tuple[float, float, int]]  # of one worker: (wall time s, CPU time s, points so far)


def run(address: str, points: int, entities: int, moments: int, json: bool) -> None:
    """Let one worker, then two, process `points` as JSON; then let one process `moments` samples of each entity."""
    with broker_for_bench(address) as broker:
        lines = []
        for workers in (1, 2):
            lines.append(timelines(broker, workers, points))
            err.print(f"· {workers} took {points:,} points of JSON")
        found = beside(*lines)
    with broker_for_bench("") as broker, tempfile.TemporaryDirectory() as folder:
        found |= many(broker, Path(folder), entities, moments)
    if json:
        print_json(found)
    else:
        print_table("One group of workers", ("figure", "value"), ((k, f"{v:,.4g}") for k, v in found.items()))


def timelines(broker: Broker, workers: int, points: int) -> list[Line]:
    """Progress over time of each of `workers` in a new group, each pinned to a core of its own.

    They are paused while the topic is filled, and resumed together.
    """
    cores = sorted(os.sched_getaffinity(0), reverse=True)
    if len(cores) < workers:
        raise UserError(f"{workers} workers need as many cores, and there are {len(cores)}", "Take another machine")
    command = [sys.executable, "-m", "app.bench.lane_worker", broker.bootstrap, "shared", f"bench-{time.time_ns()}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    going = [subprocess.Popen(command, text=True, **pipes) for _ in range(workers)]  # type: ignore[call-overload]
    try:
        for worker, core in zip(going, cores, strict=False):
            psutil.Process(worker.pid).cpu_affinity([core])
            worker.stdout.readline()
        time.sleep(SETTLED_S)
        for worker in going:
            worker.send_signal(signal.SIGSTOP)
        with Publisher(broker) as publisher:
            fill_json(publisher, points)
        for worker in going:
            worker.send_signal(signal.SIGCONT)
        return [_told(worker) for worker in going]
    finally:
        for worker in going:
            worker.kill()


def _told(worker: subprocess.Popen[str]) -> Line:
    words, why = worker.communicate(timeout=LIMIT_S)
    if worker.returncode:
        raise UserError(f"a worker ended with {worker.returncode}: {why.strip()[-300:]}")
    return msgspec.json.decode(words.splitlines()[-1], type=Line)


def beside(alone: list[Line], together: list[Line]) -> dict[str, float]:
    """Rates of one worker, and of several while all of them work: by wall time, and by their CPU time."""
    one, one_cpu = _rates(alone)
    all_, all_cpu = _rates(together)
    return {
        "one_points_per_s": one, "two_points_per_s": all_, "two_workers_ratio": all_ / one,
        "one_points_per_cpu_s": one_cpu, "two_points_per_cpu_s": all_cpu,
        "two_workers_cpu_ratio": len(together) * all_cpu / one_cpu,
    }  # fmt: skip


def _rates(lines: list[Line]) -> tuple[float, float]:
    """Points a second of wall time and of CPU time, over all workers, while all of them had work.

    The first tenth is left out: the group still rebalances.
    """
    begin, end = max(line[0][0] for line in lines), min(line[-1][0] for line in lines)
    begin += 0.1 * (end - begin)
    if end <= begin:
        raise UserError("the workers were never at it together", "Take more --points")
    points, cpu = 0, 0.0
    for line in lines:
        times = [at for at, _, _ in line]
        first, last = line[bisect.bisect_left(times, begin)], line[bisect.bisect_right(times, end) - 1]
        points, cpu = points + last[2] - first[2], cpu + last[1] - first[1]
    return points / (end - begin), points / cpu


def many(broker: Broker, folder: Path, entities: int, moments: int) -> dict[str, float]:
    """Rate, memory and hand-over of a real worker with `moments` samples of each of `entities` with ten metrics."""
    probes = Probes(broker)
    with Publisher(broker) as publisher:
        points = _fill(publisher, entities, moments)
    err.print(f"· {points:,} points of {entities:,} entities wait on the topic")
    (worker,) = start_workers("lane", broker, folder)
    took, spent = _until_done(worker, probes)
    memory, stop_s = psutil.Process(worker.process.pid).memory_info().rss / 2**20, worker.stop()
    began = time.monotonic()
    (worker,) = start_workers("lane", broker, folder)
    with Publisher(broker) as publisher:
        _probe(publisher, 1)
    while not probes.all_since(began):
        _require(worker, began)
    back = time.monotonic() - began
    again = psutil.Process(worker.process.pid).memory_info().rss / 2**20
    worker.stop()
    return {
        "entities": entities, "series": entities * METRICS_EACH, "points": points, "taken_s": took,
        "points_per_cpu_s": points / spent, "memory_mb": memory, "stop_s": stop_s, "restart_s": back,
        "restarted_memory_mb": again,
    }  # fmt: skip


def _fill(publisher: Publisher, entities: int, moments: int) -> int:
    """Publish samples of all entities in turn, in frames of a few hundred entities, and a probe after them."""
    rng, each = np.random.default_rng(6), entities // METRICS.partitions
    metrics = [f"system.metric.{number}" for number in range(METRICS_EACH)]
    for moment in range(moments):
        for partition in range(METRICS.partitions):
            for first in range(0, each, A_FRAME):
                frame = FrameBuilder()
                for number in range(first, min(first + A_FRAME, each)):
                    values = dict(zip(metrics, rng.normal(50, 5, METRICS_EACH).tolist(), strict=True))
                    frame.add(f"wide/{partition}/{number}", START + moment * PERIOD_MS, values)
                publisher.send_raw(METRICS.name, b"wide", frame.take(), partition=partition)
    _probe(publisher, 0)
    return each * METRICS.partitions * moments * METRICS_EACH


def _probe(publisher: Publisher, turn: int) -> None:
    for partition in range(METRICS.partitions):
        name = PROBE + str(turn * METRICS.partitions + partition).encode()
        publisher.send_raw(METRICS.name, b"probe", name, partition=partition)
    publisher.flush()


def _until_done(worker: WorkerProcess, probes: Probes) -> tuple[float, float]:
    """Seconds of wall time and CPU time from ready until all is processed."""
    process, began = psutil.Process(worker.process.pid), time.monotonic()
    before = sum(process.cpu_times()[:2])
    while not probes.all_since(0.0):
        _require(worker, began)
    return time.monotonic() - began, sum(process.cpu_times()[:2]) - before


def _require(worker: WorkerProcess, began: float) -> None:
    if not worker.alive or time.monotonic() - began > LIMIT_S:
        raise UserError("the worker did not take everything", f"Its log is {worker.log}")
    time.sleep(0.02)
