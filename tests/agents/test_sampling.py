"""The same fault at any rate of sampling: the same incident, the same action, the same verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from agents._partition import through
from agents.decode import chunk_of
from app import pipeline
from app.testing import MemoryLoop, World
from tests.builders import CATALOG, NOW
from topics.actions import Command
from topics.codec import encode
from topics.incidents import Incident
from topics.learning import LEARNING
from topics.signals import Anomaly
from topics.spec import Instant, Raw
from topics.telemetry import METRICS
from topics.verdicts import Effect, Verdict

RESTART = ("restart_service", CATALOG)
WARM = 80  # samples before the loop begins
Metrics = dict[str, float]


def ordinary(rng: np.random.Generator) -> Metrics:
    requests = int(rng.poisson(200))
    return {
        "up": 1.0, "up.refused": 0.0, "http.server.request.rate": float(requests),
        "http.server.error_ratio": rng.binomial(requests, 0.001) / requests,
        "http.server.request.duration.p95": 0.01 + 0.001 * rng.random(),
        "http.server.utilization": float(np.clip(0.2 + 0.05 * rng.standard_normal(), 0, 1)),
        "process.memory.usage": 40e6 + 4096 * float(rng.integers(0, 400)),
        "process.cpu.utilization": float(np.clip(0.03 + 0.01 * rng.standard_normal(), 0, 1)),
    }  # fmt: skip


FAULTS: dict[str, Callable[[Metrics], Metrics]] = {
    "down": lambda _: {"up": 0.0, "up.refused": 1.0},
    "errors": lambda usual: usual | {"http.server.error_ratio": 0.5},
}


class Sampled(World):
    """A service of which a sample comes once in a period, and which a restart cures; its lane learns as a real one."""

    def __init__(self, period_ms: int) -> None:
        super().__init__([RESTART])
        self.period_ms, self.rng = period_ms, np.random.default_rng(5)
        self.stages = [make() for make in pipeline.lane()]
        self.fault: Callable[[Metrics], Metrics] | None = None
        self.controls: list[Any] = []  # what the loop says of learning
        self.taken = 0
        for number in range(WARM):
            assert self.sampled(NOW - (WARM - number) * period_ms) == []

    def sampled(self, ts: Instant) -> list[Anomaly]:
        metrics = ordinary(self.rng)
        value = orjson.dumps({
            "entity": CATALOG, "ts": ts, "metrics": self.fault(metrics) if self.fault else metrics,
        })  # fmt: skip
        messages = [encode(read.record) for read in self.controls[self.taken :]]
        self.taken = len(self.controls)
        raws = [Raw(METRICS.name, 0, 0, m.key, m.value, tuple(m.headers), arrived=ts) for m in messages]
        raws.append(Raw(METRICS.name, 0, 1, CATALOG.encode(), value, arrived=ts))
        return [each for each in through(self.stages, chunk_of(raws), ts) if isinstance(each, Anomaly)]

    def samples(self, now: Instant) -> list[Anomaly]:
        self.now = now
        return [] if (now - NOW) % self.period_ms else self.sampled(now)

    def run(self, command: Command) -> Any:
        self.fault = None
        return super().run(command)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("period_s", [1, 15, 30, 60])
def test_a_fault_and_its_cure_are_judged_alike_at_any_rate_of_sampling(period_s: int, fault: str) -> None:
    world = Sampled(period_s * 1000)
    loop = MemoryLoop(world)
    world.controls = loop.log[LEARNING.name]
    loop.run(2)
    assert loop.of(Incident) == []
    world.fault = FAULTS[fault]
    loop.run(max(30, 16 * period_s))
    (verdict,) = loop.of(Verdict)
    assert verdict.effect is Effect.REMEDIATED
    assert [(command.action, command.target) for command in world.ran] == [RESTART]
    incidents = loop.of(Incident)
    assert {(i.entity, i.symptom, i.id) for i in incidents} == {(CATALOG, fault, incidents[0].id)}
    assert (incidents[-1].state, incidents[-1].closed_as) == ("resolved", "remediated")
    assert incidents[0].ts - NOW <= 2_000 + 5 * period_s * 1000
