"""What snapshots of the lane cost: throughput with and without them in one run, and a large state there and back."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
import numpy as np

from agents import _snapshots
from agents._agent import Agent
from agents._output import Output
from agents.decode import Decode
from agents.detect import Detect
from app.bench.lane import METRICS_EACH, START, broker_for_bench, fill_frames, worked
from app.broker import Broker, producer_config
from app.client import Publisher
from app.printing import err, print_json, print_table
from models.detection.columns import Samples
from topics.state import LANE_STATE

AGENT: Final = "bench"
NEVER_S: Final = 1e9
ROUNDS: Final = 2


def run(address: str, points: int, entities: int, json: bool) -> None:
    """Let a worker take `points` in frames with and without snapshots, in turn; then move a state of `entities`."""
    with broker_for_bench(address) as broker:
        with Publisher(broker) as publisher:
            whole = fill_frames(publisher, points, after=0)
        rates: dict[float, list[float]] = {NEVER_S: [], 2.0: []}
        for number in range(ROUNDS):
            for period in rates:
                rates[period].append(worked(broker, whole, 0, period)["points_per_cpu_s"])
            err.print(f"· {number + 1} of {ROUNDS} rounds with and without snapshots")
        without, with_them = max(rates[NEVER_S]), max(rates[2.0])
        found = {
            "points_per_cpu_s_without": without, "points_per_cpu_s_with": with_them,
            "snapshot_share": max(0.0, 1.0 - with_them / without),
        } | moved(broker, entities)  # fmt: skip
    if json:
        print_json(found)
    else:
        print_table("Snapshots", ("figure", "value"), ((k, f"{v:,.3g}") for k, v in found.items()))


def moved(broker: Broker, entities: int) -> dict[str, float]:
    """Write the state of `entities` with ten series each as a lane does, take it up as a new owner does, in seconds."""
    stages = _taught(entities)
    output = Output(producer_config(broker), lambda: False)
    began, cpu = time.perf_counter(), time.process_time()
    state = msgspec.msgpack.encode({stage.name: stage.snapshot() for stage in stages})
    for message in _snapshots.Shelf(LANE_STATE, AGENT, 0).pack({}, state):
        output.send(message, 0)
    output.flush()
    written, written_cpu = time.perf_counter() - began, time.process_time() - cpu
    began = time.perf_counter()
    shelf = _snapshots.shelves({"bootstrap.servers": broker.bootstrap}, LANE_STATE, 0)[AGENT]
    kept = msgspec.msgpack.decode(shelf.state, type=dict[str, bytes])
    again: list[Agent[Any]] = [Decode(), Detect()]
    for stage in again:
        stage.restore(kept[stage.name])
    restored = time.perf_counter() - began
    equal = shelf.state == msgspec.msgpack.encode({stage.name: stage.snapshot() for stage in again})
    return {
        "state_bytes": float(len(state)), "snapshot_s": written, "snapshot_cpu_s": written_cpu, "restore_s": restored,
        "restored_equal": float(equal),
    }  # fmt: skip


def _taught(entities: int) -> list[Agent[Any]]:
    """The stages of a partition that has seen three looks at each of `entities`."""
    decode, detect = Decode(), Detect()
    for entity in range(entities):
        decode.names.intern(f"bench/service/{entity}", [f"system.metric.{m}" for m in range(METRICS_EACH)])
    detect.bank.admit(decode.names)
    start = np.arange(0, entities * METRICS_EACH + 1, METRICS_EACH, dtype=np.int32)
    whose, series = np.arange(entities, dtype=np.int32), np.arange(entities * METRICS_EACH, dtype=np.int32)
    rng = np.random.default_rng(7)
    for look in range(3):
        ts = np.full(entities, START + 1000 * look, np.int64)
        detect.bank.take(Samples(whose, ts, start, series, rng.normal(50, 5, len(series))))
    return [decode, detect]
