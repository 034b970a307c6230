"""Measures signatures, the actuator's checks, the gate, and an audit entry."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from app.clock import now_ms
from app.policy.shipped import policies
from app.printing import print_json, print_table
from app.security.keys import WORKER, keys_of
from models.safety.chain import Chain, Notary
from models.safety.guard import Guard, Past
from models.safety.limits import GateState
from models.safety.masking import mask_json
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.safety.signing import seal, sign_proposal, unseal
from topics.actions import Command
from topics.proposals import Proposal
from topics.spec import Origin


def run(count: int, json: bool) -> None:
    """Run each step `count` times and print its median and 99th percentile in µs."""
    with tempfile.TemporaryDirectory(prefix="opsloop-bench-") as folder:
        figures = {name: _measured(step, count) for name, step in _steps(Path(folder), count).items()}
    gate_per_s = 1e6 / figures["gate"][2]
    if json:
        flat = {f"{name}_us": round(p50, 1) for name, (p50, _, _) in figures.items()}
        tails = {f"{name}_p99_us": round(p99, 1) for name, (_, p99, _) in figures.items()}
        print_json({"kind": "bench_security", "count": count, **flat, **tails, "gate_per_s": round(gate_per_s)})
        return
    rows = [(name, f"{p50:.1f}", f"{p99:.1f}") for name, (p50, p99, _) in figures.items()]
    print_table(f"µs, each {count} times; the gate answers {gate_per_s:.0f} proposals/s", ("what", "p50", "p99"), rows)


def _steps(folder: Path, count: int) -> dict[str, Callable[[int], Any]]:
    keys, now = keys_of(folder), now_ms()
    signer, settings = keys.own(WORKER), SafetySettings(mode=Mode.AUTONOMOUS)
    guard, gate, chain, notary = Guard(keys, settings, "supervisor/shop"), GateState(), Chain(0), Notary()
    command = Command(
        id="c", decision="d", incident="i", ts=now, action="restart_service", target="shop/catalog/0", parameters={},
        expires=now + 30_000, audience="supervisor/shop", epoch=now, requester="decide", confidence=0.99,
    )  # fmt: skip
    order = seal(command, signer)
    past = [Past(id=f"p{n}", target=f"bank/s{n}/0", ts=now - 700_000, epoch=n) for n in range(100)]
    body = msgspec.json.encode(command)

    proposals = [sign_proposal(Proposal(
        id=f"p{number}", ts=now, action="restart_service", target=f"shop/s{number % 50}/0", parameters={},
        requester="decide", confidence=0.99, cause="process_gone", reasons=("gone",),
    ), signer) for number in range(2 * count)]  # fmt: skip

    def audit(number: int) -> None:
        entry = chain.link("shop", Origin("opsloop.decisions", 0, number), mask_json(body), now)
        notary.see(entry)
        if len(notary.fresh) >= 128:
            notary.checkpoint()

    def judge(number: int) -> None:
        if gate.admit(proposals[number], number, keys, now):
            list(gate.judge(proposals[number], settings, policies(), now + number))

    return {
        "sign": lambda _: seal(command, signer),
        "verify": lambda _: unseal(order, keys),
        "guard": lambda _: guard.check(command, past, now),
        "gate": judge,
        "audit": audit,
    }


def _measured(step: Callable[[int], Any], count: int) -> tuple[float, float, float]:
    """(median, 99th percentile, mean) in µs, after a tenth as many runs to warm up."""
    times = []
    for number in range(-count // 10, count):
        began = time.perf_counter_ns()
        step(number + count)
        if number >= 0:
            times.append((time.perf_counter_ns() - began) / 1000)
    times.sort()
    return statistics.median(times), times[int(0.99 * count)], statistics.fmean(times)
