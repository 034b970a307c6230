"""How soon an anomaly follows its sample, from produce to its topic: a real worker, a real Kafka, under load."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Final

import numpy as np
import orjson

from app.bench.lane import broker_for_bench
from app.broker import Broker, tail
from app.client import Publisher, Telemetry
from app.clock import now_ms
from app.printing import err, print_json, print_table
from topics.codec import decode
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant
from topics.telemetry import METRICS

PROBES: Final = 12  # entities that break in turn
HISTORY: Final = 60  # ordinary looks of a probe before it may break
PERIOD_S: Final = 0.1
METRICS_EACH: Final = 10


def run(address: str, seconds: float, rates: list[int], json: bool) -> None:
    """For each rate of background load (points a second), break probes for `seconds` and time what is said of them."""
    found: dict[str, dict[str, float]] = {}
    with broker_for_bench(address) as broker:
        worker = subprocess.Popen(
            [sys.executable, "-m", "app", "worker", "lane", "--broker", broker.bootstrap],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while not _at(broker, 10_000, 2.0)["alarms"]:
                err.print("· the worker is starting")
            for rate in rates:
                found[f"{rate}"] = _at(broker, rate, seconds)
                err.print(f"· {rate:,} points/s: p99 {found[f'{rate}']['p99_ms']:.0f} ms")
        finally:
            worker.terminate()
            worker.wait(15)
    if json:
        print_json(found)
    else:
        columns = ["points/s", *next(iter(found.values()))]
        print_table("Produce → anomaly", columns, ([r, *(f"{v:.1f}" for v in f.values())] for r, f in found.items()))


def _at(broker: Broker, rate: int, seconds: float) -> dict[str, float]:
    over = threading.Event()
    seen: dict[str, tuple[Instant, Instant]] = {}  # alarm → (arrival of the sample that raised it, of the anomaly)
    run_id = f"probe{now_ms() % 1_000_000}"
    watcher = threading.Thread(target=_watch, args=(broker, run_id, seen, over), daemon=True)
    watcher.start()
    sent = [0]
    load = threading.Thread(target=_load, args=(broker, rate, over, sent), daemon=True)
    load.start()
    began = time.monotonic()
    broken = _probe(broker, run_id, seconds)
    taken = time.monotonic() - began
    time.sleep(1.0)
    over.set()
    load.join(10)
    watcher.join(10)
    times = sorted(told - made for made, told in seen.values())
    if not times:
        return {"p50_ms": float("nan"), "p99_ms": float("nan"), "p999_ms": float("nan"), "alarms": 0.0}
    p50, p99, p999 = (float(np.percentile(times, q)) for q in (50, 99, 99.9))
    return {
        "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "alarms": float(len(times)), "broken": float(broken),
        "load_points_per_s": sent[0] / taken,
    }  # fmt: skip


def _probe(broker: Broker, run_id: str, seconds: float) -> int:
    """Send each probe's looks every 100 ms; after its history, one in twenty looks begins a fault of five looks."""
    rng = np.random.default_rng(5)
    broken, sick = 0, np.zeros(PROBES, int)
    looks = HISTORY + int(seconds / PERIOD_S)
    with Publisher(broker, settings={"linger.ms": 0}) as publisher:
        for look in range(looks):
            due = time.monotonic() + (PERIOD_S if look >= HISTORY else 0.01)
            for at in range(PROBES):
                if look > HISTORY and sick[at] <= -40 and rng.random() < 0.05:
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
    """Background frames of 1,000 entities with ten metrics each, `rate` points a second."""
    telemetry, values = Telemetry(broker, linger_s=0.05), {f"m{m}": 50.0 + m for m in range(METRICS_EACH)}
    began, number = time.monotonic(), 0
    while not over.is_set():
        ahead = sent[0] / rate - (time.monotonic() - began)
        if ahead > 0.005:
            time.sleep(ahead)
        for _ in range(100):
            telemetry.record(f"load/service/{number % 1000}", values, now_ms())
            number += 1
        sent[0] = number * METRICS_EACH
    telemetry.flush()


def _watch(
    broker: Broker, run_id: str, seen: dict[str, tuple[Instant, Instant]], over: threading.Event
) -> None:  # fmt: skip
    for raw in tail(broker, [ANOMALIES.name], stop=over.is_set):
        anomaly = decode(raw).record
        assert isinstance(anomaly, Anomaly)
        if anomaly.state == "raised" and anomaly.entity.startswith(run_id):
            seen[anomaly.id] = (anomaly.ts, raw.arrived)
