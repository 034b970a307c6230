"""Measures policies: one ruling by a hundred policies, and the simulation of a day against a changed one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import msgspec

from app.policy.shipped import texts
from app.printing import out, print_json
from models.policy.compare import Simulation
from models.policy.engine import Active, Policies
from models.policy.examples import NOON, examples
from models.policy.facts import time_facts
from models.policy.rego import Rego
from models.versions import Book
from topics.codec import decode_value, encode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.policies import Facts
from topics.proposals import Proposal
from topics.spec import DAY_MS

_ACTIONS: Final = ("restart_service", "scale_out", "scale_in", "rollback_config")

# texts of policies of the seven types, each with a number of its own
_BODIES: Final = (
    ("quota", 'allow := false if input.system.actions > {n}'),
    ("quota", 'allow := false if {{\n\tinput.action.name == "{action}"\n\tinput.system.target_actions >= {n}\n}}'),
    ("cost", 'allow := false if {{\n\tinput.action.cost > 0\n\tinput.system.services > {n}\n}}'),
    ("security", 'allow := false if input.proposal.requester == "service-{n}"'),
    ("quality", 'require_approval contains {{"role": "approver", "reason": "unsure"}} if {{\n'
                '\tinput.proposal.confidence < 0.{n:02}\n}}'),
    ("operational", 'allow := false if {{\n\tinput.time.weekday == "friday"\n\tinput.time.hour >= {hour}\n}}'),
    ("compliance", 'require_approval contains {{"role": "lead", "reason": "change board"}} if {{\n'
                   '\tinput.target.environment == "production"\n\tinput.action.risk == "high"\n'
                   '\tinput.proposal.priority > {small}\n}}'),
    ("operational", 'degrade contains {{"mode": "approve", "reason": "in vain"}} if input.system.failures > {n}'),
    ("security", 'allow := false if startswith(input.target.id, "vault-{n}/")'),
    ("operational", 'allow := false if {{\n\tinput.system.unwell * 100 > input.system.services * {n}\n'
                    '\tinput.action.blast_radius > 1\n}}'),
)  # fmt: skip


def hundred(count: int = 100) -> tuple[str, ...]:
    """`count` policies: the shipped ones, and others of the seven types. Two thirds cover everything."""
    return (*texts(), *(_policy(number) for number in range(count - len(texts()))))


def _policy(number: int) -> str:
    kind, body = _BODIES[number % len(_BODIES)]
    said = body.format(n=number % 90 + 5, hour=number % 12 + 12, small=number % 5, action=_ACTIONS[number % 4])
    narrow = f"#   scope: system-{number}\n" if number % 3 == 2 else ""
    return (
        f"# METADATA\n# custom:\n#   id: p{number}\n#   type: {kind}\n#   owner: bench\n{narrow}"
        f"package opsloop.p{number}\n\nimport rego.v1\n\ndefault allow := true\n\n{said}\n"
    )


def day(count: int, seed: str = "") -> Iterator[Decision]:
    """`count` decisions within a day, each at another time, on generated inputs."""
    for number, made in enumerate(examples(count, seed=seed)):
        at = NOON + number * DAY_MS // count
        facts = msgspec.structs.replace(made, time=time_facts(at))
        proposal = Proposal(
            id=f"p{number}", ts=at, action=facts.action.name, target=facts.target.id, parameters=facts.parameters,
            requester=facts.proposal.requester, confidence=facts.proposal.confidence, cause=facts.proposal.cause,
            reasons=(f"{facts.proposal.cause} of {facts.target.id}",),
        )  # fmt: skip
        yield Decision(
            id=f"d{number}",
            ts=at,
            state=DecisionState.APPROVED,
            proposal=proposal,
            tier=facts.proposal.tier,
            mode=facts.system.mode,
            reasons=("enough",),
            facts=facts,
        )


def run(count: int, decisions: int, json: bool) -> None:
    """Measure both and print the results."""
    found = {"kind": "bench_policies", **rulings(count), **simulation(decisions)}
    if json:
        print_json(found)
        return
    out.print(
        f"a ruling with {found['policies']} policies, {found['covering']:.0f} of which cover it: p50 "
        f"{found['policy_p50_ms']:.3f} ms, p99 {found['policy_p99_ms']:.3f} ms (of the processor; the first ones "
        f"{found['policy_first_ms']:.1f} ms)"
    )
    took = f"{found['simulate_s']:.1f} s, {found['simulate_cpu_s']:.1f} of them of the processor"
    out.print(
        f"{found['decisions']:,} decisions against a changed policy: {took}, {found['changed']:,} differ; "
        f"against an unchanged one: {found['unchanged_differences']} differ"
    )


def rulings(count: int, policies: int = 100) -> dict[str, float]:
    """Milliseconds of this thread's CPU for one ruling, over different inputs, after as many warm-up inputs."""
    ready, book = Policies(Rego(), hundred(policies)), Book()
    first = [_cost(ready, book, d.facts) for d in day(count, "before") if d.facts is not None]
    costs, covering = [], 0
    for decision in day(count, "after"):
        if decision.facts is not None:
            costs.append(_cost(ready, book, decision.facts))
            covering += len(ready.rule(book, decision.facts).results)
    costs.sort()
    return {
        "policies": policies, "rulings": count, "covering": covering / count,
        "policy_p50_ms": round(costs[len(costs) // 2], 4), "policy_p99_ms": round(costs[int(len(costs) * 0.99)], 4),
        "policy_max_ms": round(costs[-1], 4), "policy_first_ms": round(max(first), 2),
    }  # fmt: skip


def _cost(ready: Policies, book: Book, facts: Facts) -> float:
    began = time.thread_time()
    ready.rule(book, facts)
    return (time.thread_time() - began) * 1e3


def simulation(count: int) -> dict[str, float]:
    """Seconds to simulate a day of decisions, from bytes to the differences, with a changed policy and without."""
    messages = [encode(decision).value for decision in day(count)]
    before = Policies(Rego(), texts()).active(Book())
    changed = [*before, *Policies(Rego(), [_policy(0)]).active(Book())]
    began, used = time.perf_counter(), time.process_time()
    found = _simulated(messages, before, changed)
    took, used = time.perf_counter() - began, time.process_time() - used
    same = _simulated(messages, before, Policies(Rego(), texts()).active(Book()))
    return {
        "decisions": count, "simulate_s": round(took, 4), "simulate_cpu_s": round(used, 4),
        "changed": len(found.changes), "unchanged_differences": len(same.changes),
    }  # fmt: skip


def _simulated(messages: list[bytes], before: list[Active], after: list[Active]) -> Simulation:
    found = Simulation()
    for message in messages:
        decision = decode_value(DECISIONS, message)
        if isinstance(decision, Decision):
            found.add(decision, before, after)
    return found
