"""Measures a decision, from an incident to the gate's answer with a hundred policies, and each part alone."""

from __future__ import annotations

import functools
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from app.clock import now_ms
from app.policy.shipped import texts
from app.printing import print_json, print_table
from app.security.keys import WORKER, keys_of
from app.shipped import packs
from models.decision.advisor import Bounds
from models.decision.planner import Planner
from models.policy.engine import Policies
from models.policy.facts import facts_of
from models.policy.rego import Rego
from models.safety.chain import Chain, Notary
from models.safety.limits import GateState
from models.safety.masking import mask_json
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.safety.signing import seal, sign_proposal
from models.versions import Book
from topics.actions import Command
from topics.incidents import Hypothesis, Incident, State, SymptomKind
from topics.policies import SystemFacts
from topics.proposals import Proposal
from topics.spec import Instant, Origin

POLICIES: Final = 100
CAUSES: Final = ("bad_configuration", "faulty_state", "memory_leak")  # of each incident: five options

# each reads another field of the proposal, so that answers of one are not reused for another
_POLICY: Final = """# METADATA
# custom:
#   id: {name}
#   type: {kind}
#   owner: bench
package opsloop.{name}

import rego.v1

default allow := true

allow := false if {{
	{condition}
	input.action.name == "none{number}"
}}

require_approval contains {{"role": "lead", "quorum": 1, "reason": "{name}"}} if {{
	{condition}
	input.proposal.attempt > {number}
}}
"""
_CONDITIONS: Final = (
    "input.time.hour >= 0", "input.proposal.confidence > 0.1", 'input.target.environment == "production"',
    "input.system.actions >= 0", 'startswith(input.target.service, "s")',
)  # fmt: skip
_KINDS: Final = ("quota", "security", "compliance", "cost", "operational")

Times = list[tuple[int, int]]  # (wall time, CPU time of this thread) of each run, in ns


@functools.cache
def policies(count: int = POLICIES) -> Policies:
    """`count` compiled policies, shipped ones included. They are compiled once."""
    shipped = list(texts())
    made = (
        _POLICY.format(name=f"bench_{n}", kind=_KINDS[n % 5], condition=_CONDITIONS[n % 5], number=n)
        for n in range(count - len(shipped))
    )
    return Policies(Rego(), [*shipped, *made])


def run(count: int, json: bool) -> None:
    """Run each part `count` times and print its cost.

    A decision is a new incident with five options on a system of its own, so cached answers help as much as in
    operation. `policy_fresh` evaluates all policies without cached answers.
    """
    with tempfile.TemporaryDirectory(prefix="opsloop-bench-") as folder:
        times = {name: _timed(step, count) for name, step in _steps(Path(folder)).items()}
    times["policy_fresh"] = _timed(_fresh(), max(count // 50, 5))
    figures = {name: _figures(found) for name, found in times.items()}
    flat = {
        f"{name}_{what}_ms": round(value / 1e6, 4)
        for name in ("decision", "policy", "policy_fresh")
        for what, value in figures[name].items()
    }
    result = {
        "kind": "bench_decide", "count": count, "policies": POLICIES, "options": 5, **flat,
        "gate_per_s": round(1e9 / figures["gate"]["mean"]), "sign_us": round(figures["sign"]["p50"] / 1e3, 1),
        "audit_us": round(figures["audit"]["p50"] / 1e3, 1),
    }  # fmt: skip
    if json:
        print_json(result)
        return
    rows = (
        (name, *(f"{f[what] / 1e3:.1f}" for what in ("p50", "p99", "cpu_p50", "cpu_p99")))
        for name, f in figures.items()
    )
    print_table(f"µs, each {count} times, {POLICIES} policies", ("what", "p50", "p99", "CPU p50", "CPU p99"), rows)


def incidents(start: Instant) -> Iterator[Incident]:
    """New incidents, each of a system of its own."""
    number = 0
    while True:
        number, ts = number + 1, start + 1_000 * number
        entity = f"s{number}/catalog/0"
        yield Incident(
            id=f"i{number}", entity=entity, symptom=SymptomKind.ERRORS, onset=ts, ts=ts, state=State.TRIGGERED,
            step="confirm", seq=0, priority=number % 3, affected=(entity,), evidence=("opsloop.telemetry.metrics-0-1",),
            hypotheses=tuple(
                Hypothesis(cause, entity, round(0.95 - 0.1 * i - 0.001 * (number % 40), 3), ("it fails",))
                for i, cause in enumerate(CAUSES)
            ), detected=ts,
        )  # fmt: skip


def _steps(folder: Path) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Name → function that prepares one run and returns the function to time."""
    keys, start = keys_of(folder), now_ms()
    signer, held, settings = keys.own(WORKER), policies(), SafetySettings(mode=Mode.AUTONOMOUS)
    bounds = Bounds(safety=settings, policies=held)
    chain, notary, told = Chain(0), Notary(), incidents(start)
    planner, gate, other = Planner(knowledge=packs().knowledge(Book())), GateState(), GateState()
    offsets = iter(range(10**9))

    def proposed() -> tuple[Proposal, Instant]:
        incident = next(told)
        (proposal,) = planner.incident(incident, bounds, incident.ts)
        over = msgspec.structs.replace(incident, state=State.RESOLVED, seq=1)
        list(planner.incident(over, bounds, incident.ts))
        return proposal, incident.ts

    def decide() -> Callable[[], Any]:
        incident = next(told)

        def step() -> None:
            (proposal,) = planner.incident(incident, bounds, incident.ts)
            proposal = sign_proposal(proposal, signer)
            if gate.admit(proposal, next(offsets), keys, incident.ts):
                list(gate.judge(proposal, settings, held, incident.ts))

        return step

    def rule() -> Callable[[], Any]:
        proposal, now = proposed()
        facts = facts_of(proposal, SystemFacts(mode=Mode.AUTONOMOUS), 1, {}, now)
        return lambda: held.rule(gate.policies, facts)

    def judge() -> Callable[[], Any]:
        """Prepare the judgement of a signed proposal, verification of the signature included."""
        proposal, now = proposed()
        proposal = sign_proposal(proposal, signer)
        return lambda: (
            other.admit(proposal, next(offsets), keys, now) and list(other.judge(proposal, settings, held, now))
        )

    command = Command(
        id="c", decision="d", incident="i", ts=start, action="restart_service", target="shop/catalog/0", parameters={},
        expires=start + 30_000, audience="supervisor/shop", epoch=start, requester="decide", confidence=0.99,
    )  # fmt: skip
    (answer,) = GateState().judge(proposed()[0], settings, policies(0), start)  # with the shipped policies alone
    body = msgspec.json.encode(answer)

    def audit() -> None:
        entry = chain.link("shop", Origin("opsloop.decisions", 0, next(offsets)), mask_json(body), start)
        notary.see(entry)
        if len(notary.fresh) >= 128:
            notary.checkpoint()

    return {
        "decision": decide, "policy": rule, "gate": judge, "sign": lambda: lambda: seal(command, signer),
        "audit": lambda: audit,
    }  # fmt: skip


def _fresh() -> Callable[[], Callable[[], Any]]:
    """Prepare an evaluation of all policies without cached answers. Compilation is not timed."""
    held, book = policies(), GateState().policies
    planner, bounds, told = Planner(knowledge=packs().knowledge(Book())), Bounds(), incidents(now_ms())

    def prepare() -> Callable[[], Any]:
        incident = next(told)
        (proposal,) = planner.incident(incident, bounds, incident.ts)
        facts = facts_of(proposal, SystemFacts(mode=Mode.AUTONOMOUS), 1, {}, incident.ts)
        for active in held.active(book):
            getattr(active.loaded, "answers", {}).clear()
        return lambda: held.rule(book, facts)

    return prepare


def _timed(prepare: Callable[[], Callable[[], Any]], count: int) -> Times:
    """The times of `count` runs, after some warm-up runs."""
    times: Times = []
    gc.collect()
    for number in range(-max(count // 10, 3), count):
        step = prepare()
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        step()
        if number >= 0:
            times.append((time.perf_counter_ns() - wall, time.thread_time_ns() - cpu))
    return times


def _figures(times: Times) -> dict[str, float]:
    wall, cpu = sorted(t[0] for t in times), sorted(t[1] for t in times)
    last = min(int(0.99 * len(times)), len(times) - 1)
    middle = len(times) // 2
    return {
        "p50": wall[middle], "p99": wall[last], "cpu_p50": cpu[middle], "cpu_p99": cpu[last],
        "mean": sum(wall) / len(wall),
    }  # fmt: skip
