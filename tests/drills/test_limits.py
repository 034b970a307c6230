"""I11: a storm of proposals, a gate that is killed in the middle and another beside it: counted at the target."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import read_all
from app.security.keys import WORKER, keys_of
from app.settings import home as home_of
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.safety.signing import seal, sign_proposal
from tests.builders import proposal
from tests.clusters import Cluster
from tests.hands import Effect, Hands, actuator
from tests.processes import until, worker
from topics.actions import RESULTS, Command
from topics.codec import decode
from topics.decisions import DECISIONS

pytestmark = [pytest.mark.drill, pytest.mark.timeout(240)]

SERVICES, STORM = 40, 500
LIMITS: dict[str, Any] = {
    "mode": Mode.AUTONOMOUS, "cooldown_ms": 3_000, "per_target": 2, "per_scope": 12, "per_site": 14,
    "window_ms": 60_000, "concurrency": 4, "blast_share": 1.0, "stale_ms": 60_000,
}  # fmt: skip
ENV = {f"OPSLOOP_SAFETY__{name.upper()}": str(value) for name, value in LIMITS.items()}


def most(effects: list[Effect], window_ms: int) -> int:
    """The most effects that any window held."""
    times = sorted(effect.ts for effect in effects)
    return max((sum(0 <= other - ts < window_ms for other in times) for ts in times), default=0)


def check(effects: list[Effect]) -> str:
    """No limit was passed; what the most was of each."""
    by_target: dict[str, list[Effect]] = {}
    for effect in effects:
        by_target.setdefault(effect.target, []).append(effect)
    seen = {
        "per_scope": most(effects, LIMITS["window_ms"]),
        "per_target": max(most(of, LIMITS["window_ms"]) for of in by_target.values()),
        "repeats": max(Counter(effect.command for effect in effects).values()),
    }
    assert seen["per_scope"] <= LIMITS["per_scope"], seen
    assert seen["per_target"] <= LIMITS["per_target"], seen
    assert seen["repeats"] == 1, seen
    return f"most in {LIMITS['window_ms'] // 1000} s: {seen} of {LIMITS['per_scope']} and {LIMITS['per_target']}"


def test_i11_a_storm_passes_no_limit_over_a_restart_and_beside_a_second_gate(
    cluster: Cluster, home: Path, tmp_path: Path
) -> None:
    broker, hands = cluster.broker, Hands(tmp_path / "effects", takes_s=0.05)
    keys_of(home)
    with actuator(broker, home, hands, SafetySettings(**LIMITS)):
        with worker("loop", broker, env={**os.environ, **ENV}) as first:
            storm(broker, "a")
            until(hands.effects, 30)
            with worker("loop", broker, env={**os.environ, **ENV}):
                first.process.send_signal(signal.SIGKILL)
                for number in range(20):
                    storm(broker, f"b{number}", STORM // 20)
                    time.sleep(0.4)
                answered = until(lambda: (d := _decided(broker)) >= 2 * STORM and d, 180, lambda: str(_decided(broker)))
        effects = hands.effects()
    print(f"{answered} proposals answered, {len(effects)} effects; {check(effects)}")
    assert len(effects) >= LIMITS["concurrency"]


def storm(broker: Any, name: str, count: int = STORM) -> None:
    signer = keys_of(home_of()).own(WORKER)
    with Publisher(broker) as publisher:
        for number in range(count):
            service = (number * 7 + sum(map(ord, name))) % SERVICES
            proposed = proposal(id=f"{name}-{number}", ts=now_ms(), target=f"shop/s{service}/0", confidence=0.99)
            publisher.send(sign_proposal(proposed, signer))


def _decided(broker: Any) -> int:
    return len({decode(raw).record.proposal.id for raw in read_all(broker, [DECISIONS.name])})  # type: ignore[attr-defined]


def test_i11_an_actuator_passes_no_limit_when_gates_are_of_two_minds(
    cluster: Cluster, home: Path, tmp_path: Path
) -> None:
    """Two gates that know nothing of each other let the whole storm through, each under a good signature."""
    broker, hands = cluster.broker, Hands(tmp_path / "effects")
    signer = keys_of(home).own(WORKER)
    orders = []
    for gate in range(2):
        for number in range(STORM // 2):
            now = now_ms()
            orders.append(seal(Command(
                id=f"g{gate}-{number}", decision=f"d{gate}-{number}", incident="", ts=now, action="restart_service",
                target=f"shop/s{number % SERVICES}/0", parameters={}, expires=now + 30_000,
                audience="supervisor/shop", epoch=now + number, requester="decide", confidence=0.99,
            ), signer))  # fmt: skip
    half = len(orders) // 2
    for life in range(2):  # the actuator is started anew in the middle
        with actuator(broker, home, hands, SafetySettings(**LIMITS)):
            with Publisher(broker) as publisher:
                for order in orders[life * half : (life + 1) * half]:
                    publisher.send(order)
            done = (life + 1) * half
            until(lambda done=done: len(_ended(broker)) >= done, 60, lambda: str(len(_ended(broker))))  # type: ignore[misc]
    effects = hands.effects()
    print(f"{len(orders)} orders, {len(effects)} effects; {check(effects)}")
    assert len(effects) == LIMITS["per_scope"]
    refused = Counter(detail.split(":")[0] for detail in _ended(broker).values())
    assert refused["budget_exhausted"] > 0
    assert set(refused) <= {"budget_exhausted", "recently_remediated", "stale_epoch", "counted"}, refused


def _ended(broker: Any) -> dict[str, str]:
    results = (decode(raw).record for raw in read_all(broker, [RESULTS.name]))
    return {r.command: r.detail for r in results}  # type: ignore[attr-defined]


def test_the_counting_of_a_window_is_right() -> None:
    effects = [Effect(str(n), "t", ts) for n, ts in enumerate((0, 10, 20, 100, 105))]
    assert [most(effects, window) for window in (1, 11, 21, 1_000)] == [1, 2, 3, 5]
    with pytest.raises(AssertionError):
        check([msgspec.structs.replace(effects[0], command="x")] * 2)
