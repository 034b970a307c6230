"""Measures the time from producing a sample to its anomaly on the topic: a real worker and Kafka under load."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Final

import msgspec
import numpy as np
import orjson

from app.bench.lane import broker_for_bench
from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import Broker, tail
from app.printing import err, print_json, print_table
from topics.codec import decode
from topics.frames import Frame, pack, pack_names
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant
from topics.telemetry import METRICS

PROBES: Final = 12  # entities that fail in turn
HISTORY: Final = 60  # normal samples of a probe before it may fail
PERIOD_S: Final = 0.1
METRICS_EACH: Final = 10
LOAD_ENTITIES: Final = 1_000


def run(address: str, seconds: float, rates: list[int], json: bool) -> None:
    """For each rate of background load (points a second), inject faults for `seconds` and time their anomalies.

    queue: from producing a sample until the worker begins its batch, so network, broker, fetch and waiting; decode and
    detect: of its batch; send: until a reader of the anomalies has it.
    """
    told: dict[int, dict[str, tuple[Instant, Instant]]] = {}
    sent: dict[int, tuple[int, float]] = {}
    with broker_for_bench(address) as broker:
        worker = subprocess.Popen(
            [sys.executable, "-m", "app.bench.lane_worker", broker.bootstrap, "timed"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            for _ in range(10):
                if _at(broker, 10_000, 2.0)[0]:
                    break
                err.print("· the worker is starting")
            for rate in rates:
                told[rate], *sent[rate] = _at(broker, rate, seconds)  # type: ignore[assignment]
                err.print(f"· {rate:,} points/s: {len(told[rate])} anomalies")
        finally:
            worker.terminate()
            said, _ = worker.communicate(timeout=30)
    lines = msgspec.json.decode(said, type=list[tuple[str, float, float, float]])
    book: dict[str, tuple[float, ...]] = {line[0]: line[1:] for line in lines}
    found = {f"{rate}": _stages(told[rate], book) | _load_of(*sent[rate]) for rate in rates}
    if json:
        print_json(found)
    else:
        columns = ["points/s", *next(iter(found.values()))]
        print_table("Produce → anomaly", columns, ([r, *(f"{v:.1f}" for v in f.values())] for r, f in found.items()))


def _load_of(broken: int, load: float) -> dict[str, float]:
    return {"broken": float(broken), "load_points_per_s": load}


def _stages(told: dict[str, tuple[Instant, Instant]], book: dict[str, tuple[float, ...]]) -> dict[str, float]:
    """Percentiles in ms over the alarms, in all and by stage."""
    rows = [
        (came - made, book[alarm][0] - made, *(1000 * s for s in book[alarm][1:]), came - book[alarm][0])
        for alarm, (made, came) in told.items()
        if alarm in book
    ]
    if not rows:
        return {"alarms": 0.0}
    times = np.array(rows)
    times[:, 4] -= times[:, 2] + times[:, 3]
    found = {"alarms": float(len(rows))}
    for column, stage in enumerate(("", "queue_", "decode_", "detect_", "send_")):
        for name, q in (("p50", 50.0), ("p99", 99.0), ("p999", 99.9)):
            found[f"{stage}{name}_ms"] = float(np.percentile(times[:, column], q))
    return found


def _at(broker: Broker, rate: int, seconds: float) -> tuple[dict[str, tuple[Instant, Instant]], int, float]:
    """(sent, read) times of each alarm's sample and anomaly, the number of faults, and the points a second sent."""
    over = threading.Event()
    seen: dict[str, tuple[Instant, Instant]] = {}
    run_id = f"probe{now_ms() % 1_000_000}"
    sent = [0]
    threads = [
        threading.Thread(target=_watch, args=(broker, run_id, seen, over), daemon=True),
        threading.Thread(target=_load, args=(broker, rate, over, sent), daemon=True),
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    broken = _probe(broker, run_id, seconds)
    taken = time.monotonic() - began
    load = sent[0] / taken
    time.sleep(1.0)
    over.set()
    for thread in threads:
        thread.join(10)
    return seen, broken, load


def _probe(broker: Broker, run_id: str, seconds: float) -> int:
    """Send a sample of each probe every 100 ms. After its history, one in twenty begins a fault of five samples."""
    rng = np.random.default_rng(5)
    broken, sick = 0, np.zeros(PROBES, int)
    moments = HISTORY + int(seconds / PERIOD_S)
    with Publisher(broker, settings={"linger.ms": 0}) as publisher:
        for moment in range(moments):
            due = time.monotonic() + (PERIOD_S if moment >= HISTORY else 0.01)
            for at in range(PROBES):
                if moment > HISTORY and sick[at] <= -40 and rng.random() < 0.05:
                    sick[at], broken = 5, broken + 1
                sick[at] -= 1
                shift = 40.0 if sick[at] >= 0 else 0.0
                metrics = {f"m{m}": float(v) for m, v in enumerate(rng.normal(50 + shift, 2, METRICS_EACH))}
                entity = f"{run_id}/service/{at}"
                value = orjson.dumps({"entity": entity, "ts": now_ms(), "metrics": metrics})
                publisher.send_raw(METRICS.name, entity.encode(), value)
            publisher.poll()
            time.sleep(max(0.0, due - time.monotonic()))
    return broken


def _load(broker: Broker, rate: int, over: threading.Event, sent: list[int]) -> None:
    """Send frames of 1,000 entities with ten metrics as load, `rate` points a second, one frame to each partition."""
    rng, began, moment = np.random.default_rng(6), time.monotonic(), 0
    parts = [range(partition, LOAD_ENTITIES, METRICS.partitions) for partition in range(METRICS.partitions)]
    names = [
        pack_names([f"load/service/{e}" for e in own], [(e, f"m{m}") for e in range(len(own)) for m in range(10)])
        for own in parts
    ]
    with Publisher(broker) as publisher:
        while not over.is_set():
            for partition, own in enumerate(parts):
                n = len(own)
                frame = Frame(
                    names[partition], np.full(n, now_ms(), np.int64), np.arange(n, dtype=np.uint32),
                    np.arange(0, 10 * n + 1, 10, dtype=np.uint32), np.arange(10 * n, dtype=np.uint32),
                    rng.normal(50, 2, 10 * n),
                )  # fmt: skip
                publisher.send_raw(METRICS.name, b"load", pack(frame), partition=partition)
            publisher.poll()
            moment += 1
            sent[0] = moment * LOAD_ENTITIES * METRICS_EACH
            over.wait(max(0.0, sent[0] / rate - (time.monotonic() - began)))


def _watch(
    broker: Broker, run_id: str, seen: dict[str, tuple[Instant, Instant]], over: threading.Event
) -> None:  # fmt: skip
    for raw in tail(broker, [ANOMALIES.name], stop=over.is_set):
        anomaly = decode(raw).record
        assert isinstance(anomaly, Anomaly)
        if anomaly.state == "raised" and anomaly.entity.startswith(run_id):
            seen[anomaly.id] = (anomaly.ts, now_ms())
