"""Measures snapshots of the lane: throughput with and without them in one run, and moving a large state."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

import numpy as np

from agents import _snapshots
from agents._agent import Agent
from agents._lane import SNAPSHOT_S
from agents._output import Output
from agents._partition import PartitionState
from agents.decode import Decode
from agents.detect import Detect
from app.bench.lane import METRICS_EACH, START, broker_for_bench, fill_frames, worked
from app.client import Publisher
from app.errors import UserError
from app.kafka.broker import Broker, producer_config
from app.printing import err, print_json, print_table
from models.detection.columns import Samples
from topics.state import LANE_STATE

AGENT: Final = "bench"
ROUNDS: Final = 5


def run(address: str, points: int, entities: int, json: bool) -> None:
    """Let a worker process `points` of `entities` with and without snapshots in turn, then move such a state."""
    runs: list[dict[str, float]] = []
    with broker_for_bench(address) as broker:
        with Publisher(broker) as publisher:
            whole = fill_frames(publisher, points, 0, entities)
        err.print(f"· {whole:,} points of {entities:,} entities wait on the topic")
        for number in range(ROUNDS):
            runs.append(worked(broker, whole, how="turns"))
            err.print(f"· {number + 1} of {ROUNDS} rounds of {runs[-1]['turns']:.0f} turns, with and without snapshots")
        found = compared(runs) | moved(broker, entities)
    if json:
        print_json(found)
    else:
        print_table("Snapshots", ("figure", "value"), ((k, f"{v:,.3g}") for k, v in found.items()))


def compared(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The medians over runs, and the least and largest share of the rate that snapshots take.

    Raises UserError when there were too few turns.
    """
    if min(run["turns"] for run in runs) < 2:
        raise UserError("the points were taken before there was a turn without snapshots", "Give more --points")
    middle = {name: median(run[name] for run in runs) for name in runs[0]}
    shares = [run["share_cpu_s"] for run in runs]
    return {
        "period_s": SNAPSHOT_S, "turns": sum(run["turns"] for run in runs),
        "snapshots": sum(run["snapshots"] for run in runs),
        "points_per_cpu_s_without": middle["points_per_cpu_s_without"],
        "points_per_cpu_s_with": middle["points_per_cpu_s_with"],
        "snapshot_share": middle["share_cpu_s"], "snapshot_share_low": min(shares), "snapshot_share_high": max(shares),
        "snapshot_clock_share": middle["share_s"],
        "held_share": middle["held_share_s"], "held_cpu_share": middle["held_share_cpu_s"],
    }  # fmt: skip


def moved(broker: Broker, entities: int) -> dict[str, float]:
    """Seconds to write a state of `entities` with ten series each as a lane does, and to restore it as a new owner."""
    taught = [lambda stage=stage: stage for stage in _taught(entities)]
    part = PartitionState(taught, b"", _snapshots.SnapshotStore(LANE_STATE, AGENT, 0))
    output = Output(producer_config(broker), lambda: False)
    began, cpu = time.perf_counter(), time.process_time()
    for message in part.store.pack({}, *part.pieces()):
        output.send(message, 0)
    output.flush()
    written, written_cpu = time.perf_counter() - began, time.process_time() - cpu
    began = time.perf_counter()
    store = _snapshots.stores({"bootstrap.servers": broker.bootstrap}, LANE_STATE, 0)[AGENT]
    again = PartitionState([Decode, Detect], store.state, store)
    restored = time.perf_counter() - began
    equal = store.state == b"".join(part.pieces()) == b"".join(again.pieces())
    return {
        "state_bytes": float(len(store.state)), "snapshot_s": written, "snapshot_cpu_s": written_cpu,
        "restore_s": restored, "restored_equal": float(equal),
    }  # fmt: skip


def _taught(entities: int) -> list[Agent[Any]]:
    """The stages of a partition after three samples of each of `entities`."""
    decode, detect = Decode(), Detect()
    for entity in range(entities):
        decode.names.intern(f"bench/service/{entity}", [f"system.metric.{m}" for m in range(METRICS_EACH)])
    detect.model.bank.admit(decode.names)
    start = np.arange(0, entities * METRICS_EACH + 1, METRICS_EACH, dtype=np.int32)
    whose, series = np.arange(entities, dtype=np.int32), np.arange(entities * METRICS_EACH, dtype=np.int32)
    rng = np.random.default_rng(7)
    for moment in range(3):
        ts = np.full(entities, START + 1000 * moment, np.int64)
        detect.model.bank.take(Samples(whose, ts, start, series, rng.normal(50, 5, len(series))))
    return [decode, detect]
