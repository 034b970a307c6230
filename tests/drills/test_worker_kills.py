"""I5, I6, I16: each worker killed once in the middle of an incident; it still ends well, with exactly one effect."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from processes import opsloop

from app.history.records import records
from app.kafka.broker import Broker
from app.kafka.local import LocalKafka
from models.safety.chain import verify
from topics.audit import AUDIT, AuditEntry


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Broker]:
    with LocalKafka(tmp_path / "kafka") as started:
        yield started.broker


def child(parent: int, role: str) -> psutil.Process:
    """The demo's worker of a role."""
    for process in psutil.Process(parent).children():
        line = process.cmdline()
        if line[-1] != "guard" and "worker" in line and line[line.index("worker") + 1] == role:
            return process
    raise AssertionError(f"no worker {role}")


@pytest.mark.kafka
@pytest.mark.timeout(240)
@pytest.mark.parametrize("role", ["lane", "loop", "act"])
def test_i6_a_worker_killed_during_an_incident_costs_time_and_nothing_else(kafka: Broker, role: str) -> None:
    seed = random.randrange(10**6)
    moment = random.Random(seed)
    seen = moment.choice(["kill of catalog injected", "triggered", "dispatched"])
    print("seed", seed, "killed after", seen)
    arguments = ("--break", "kill:catalog", "--approve", "auto", "--until", "resolved", "--json", "--limit", "100")
    with opsloop("demo", *arguments, "--broker", kafka.bootstrap) as demo:
        demo.wait_for(seen, 90)
        time.sleep(moment.random() / 2)
        child(demo.process.pid, role).kill()
        demo.wait_for(f"{role} died and is started again", 10)
        assert demo.finish(120) == 0, demo.told()
    report = demo.report()
    assert report["faults"][0]["resolved"]
    assert report["effects"] == 1, report
    assert report["repeated_effects"] == 0
    entries = [read.record for read in records(kafka, [AUDIT]) if isinstance(read.record, AuditEntry)]
    assert entries
    assert verify(entries) == [], "the audit chain is whole across the kill"
