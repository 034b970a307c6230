from __future__ import annotations

import math
import os
import time

from app.ingest.collect.host import Host, Processes


def burn(seconds: float) -> None:
    """Use as much processor time."""
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


def test_the_host_is_measured_within_its_bounds() -> None:
    host = Host()
    host.read(0)
    burn(0.05)
    metrics = host.read(1_000)
    assert all(math.isfinite(value) and value >= 0 for value in metrics.values())
    assert 0 < metrics["system.memory.utilization"] <= 1
    assert 0 < metrics["system.cpu.utilization"] <= 1
    assert {"system.network.io.receive", "system.cpu.load_average.1m", "system.paging.io.in"} <= metrics.keys()


def test_a_process_is_found_by_id_and_its_use_measured() -> None:
    me = Processes("node", str(os.getpid()))
    me.read(0)
    burn(0.05)
    sample = me.read(1_000)
    assert sample.entity == f"node/{os.getpid()}"
    assert sample.metrics["up"] == 1
    assert sample.metrics["process.memory.usage"] > 1e6
    assert 0.03 < sample.metrics["process.cpu.utilization"] < 5


def test_a_process_that_is_not_there_is_down_and_has_nothing_else() -> None:
    assert Processes("node", "no-such-program").read(0).metrics == {"up": 0.0, "up.refused": 1.0, "process.count": 0.0}
