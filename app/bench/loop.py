"""Measures the hops of the loop, from an anomaly on its topic to the command on its topic."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from app.client import Publisher
from app.clock import now_ms
from app.demo.run import broker_for
from app.drills.processes import spread_systems
from app.errors import UserError
from app.kafka.broker import Broker, tail
from app.printing import err, print_json, print_table
from topics.actions import COMMANDS, SignedCommand
from topics.codec import decode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.incidents import INCIDENTS, Incident
from topics.proposals import PROPOSALS, Proposal
from topics.signals import ANOMALIES, SYMPTOMS, Anomaly, Contribution, Symptom
from topics.spec import Instant, derive, system_of

HOPS: Final = ("diagnose", "respond", "decide", "gate", "approve")
WARM_UP: Final = 20  # anomalies that are not counted, while the worker warms up
WATCHED: Final = (ANOMALIES, SYMPTOMS, INCIDENTS, PROPOSALS, DECISIONS, COMMANDS)


def run(address: str, count: int, rate: float, json: bool) -> None:
    """Publish `count` anomalies at `rate` a second, each of another system, and time what follows.

    Times are the broker's arrival times, in ms.
    """
    spread_systems()
    prefix = f"bench{now_ms() % 10_000_000}"
    with broker_for(address, lambda text: err.print(f"· {text}")) as broker, _worker(broker):
        arrivals: dict[str, dict[str, Instant]] = defaultdict(dict)
        over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(broker, prefix, arrivals, over), daemon=True)
        watcher.start()
        time.sleep(0.5)
        with Publisher(broker) as publisher:
            for number in range(WARM_UP):
                publisher.send(anomaly(f"warm{prefix}-{number}/service/0", "raised", now_ms()))
                time.sleep(0.1)
            for number in range(count):
                publisher.send(anomaly(f"{prefix}-{number}/service/0", "raised", now_ms()))
                time.sleep(1 / rate)
            end = time.monotonic() + 15
            while time.monotonic() < end and sum("approve" in a for a in arrivals.values()) < count:
                time.sleep(0.05)
            for number in range(count):
                publisher.send(anomaly(f"{prefix}-{number}/service/0", "cleared", now_ms()))
        over.set()
    _report([arrivals[system] for system in arrivals], count, "given" if address else "in-memory", json)


def _report(found: list[dict[str, Instant]], count: int, broker: str, json: bool) -> None:
    whole = [a for a in found if all(hop in a for hop in ("anomaly", *HOPS))]
    if not whole:
        raise UserError("no anomaly became a command", "Run `opsloop worker loop --verbose` to see why", exit_code=1)
    order = ("anomaly", *HOPS)
    hops = {to: sorted(a[to] - a[of] for a in whole) for of, to in itertools.pairwise(order)}
    hops["anomaly_to_command"] = sorted(a["approve"] - a["anomaly"] for a in whole)
    figures = {hop: {"p50_ms": _at(times, 0.5), "p99_ms": _at(times, 0.99)} for hop, times in hops.items()}
    if json:
        print_json(
            {"kind": "bench_loop", "broker": broker, "anomalies": count, "commands": len(whole), "hops": figures}
        )
    else:
        rows = [(hop, f["p50_ms"], f["p99_ms"]) for hop, f in figures.items()]
        print_table(f"{len(whole)} of {count} anomalies became commands", ("hop", "p50 ms", "p99 ms"), rows)


def _at(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextlib.contextmanager
def _worker(broker: Broker) -> Iterator[None]:
    """A loop worker in the autonomous mode, ready."""
    arguments = ["worker", "loop", "--mode", "autonomous", "--broker", broker.bootstrap]
    process = subprocess.Popen([sys.executable, "-m", "app", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "ready" in line:
                break
        else:
            raise UserError("the loop worker did not start", "Run `opsloop worker loop` to see why", exit_code=1)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _watch(broker: Broker, prefix: str, arrivals: dict[str, dict[str, Instant]], over: threading.Event) -> None:
    for raw in tail(broker, [topic.name for topic in WATCHED], stop=over.is_set):
        record = decode(raw).record
        match record:
            case Anomaly(state="raised"):
                stage, entity = "anomaly", record.entity
            case Symptom(state="began"):
                stage, entity = "diagnose", record.entity
            case Incident(step="confirm"):
                stage, entity = "respond", record.entity
            case Proposal():
                stage, entity = "decide", record.target
            case Decision(state=DecisionState.APPROVED):
                stage, entity = "gate", record.proposal.target
            case SignedCommand():
                stage, entity = "approve", record.target
            case _:
                continue
        if entity.startswith(prefix):
            arrivals[system_of(entity)].setdefault(stage, raw.arrived)


def anomaly(entity: str, state: str, ts: Instant) -> Anomaly:
    """An anomaly of a process that is gone, first seen at `ts` (ms)."""
    gone = Contribution(metric="up.refused", z=99.0, value=1.0, expected=0.0)
    return Anomaly(
        id=derive("anomaly", entity, "bench"), entity=entity, ts=ts, state="raised" if state == "raised" else "cleared",
        kind="point", score=9.0, grade="critical", confidence=0.99, metric=gone.metric, direction="up", value=1.0,
        expected=0.0, low=0.0, high=0.0, onset=ts, attribution=(gone,) if state == "raised" else (), detector="bench",
        detector_version=1,
    )  # fmt: skip
