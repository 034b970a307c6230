"""What other policies would have made of recorded decisions."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import msgspec

from app.policy.shipped import texts
from models.policy.compare import Simulation, outcome
from models.policy.engine import Active, Policies
from models.policy.examples import examples
from models.policy.rego import Rego
from models.safety.limits import GateState
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.versions import Book
from tests.builders import NOW, decision, proposal
from tests.rules import GRANT, rule
from topics.decisions import Decision, DecisionState


@functools.cache
def holding(*more: str) -> list[Active]:
    return Policies(Rego(), [*texts(), *more]).active(Book())


@functools.cache
def recorded(count: int = 150) -> list[Decision]:
    """Decisions as the gate makes them, in every mode, on inputs of every kind."""
    return [
        decision(
            proposed=proposal(id=f"p{n}", action=f.action.name, target=f.target.id, confidence=f.proposal.confidence),
            facts=f, ts=NOW + n,
        )
        for n, f in enumerate(examples(count))
    ]  # fmt: skip


def simulated(*more: str) -> Simulation:
    simulation, after = Simulation(), holding(*more)
    for one in recorded():
        simulation.add(one, holding(), after)
    return simulation


def test_unchanged_policies_come_to_exactly_no_difference() -> None:
    after = Policies(Rego(), texts()).active(Book())
    simulation = Simulation()
    for one in recorded():
        simulation.add(one, holding(), after)
    assert (simulation.decisions, simulation.changes, simulation.faults) == (150, [], 0)


def test_what_a_new_policy_denies_is_newly_blocked_and_the_other_way_round_newly_allowed() -> None:
    quota = rule("default allow := true\nallow := false if input.system.actions > 3", name="quota", kind="quota")
    found = simulated(quota)
    blocked = {c.decision for c in found.changes}
    assert {c.kind for c in found.changes} == {"newly_blocked"}
    assert len(blocked) == found.newly_blocked > 10
    back = Simulation()
    for one in recorded():
        back.add(one, holding(quota), holding())
    assert {c.decision for c in back.changes if c.kind == "newly_allowed"} == blocked
    assert (back.newly_blocked, back.changed) == (0, 0)


def test_other_votes_another_mode_and_other_parameters_are_told_with_the_reason() -> None:
    votes = simulated(rule(f'{GRANT}\nrequire_approval contains {{"role": "lead", "quorum": 2, "reason": "two"}}'))
    assert (votes.newly_allowed, votes.newly_blocked) == (0, 0)
    assert votes.changed == len(votes.changes) > 10
    assert all(c.after.startswith("asked: 2 × lead") and any("two" in why for why in c.why) for c in votes.changes)
    assert {c.before.split(":")[0].split(" ")[0] for c in votes.changes} == {"asked", "free"}

    mode = simulated(rule(f'{GRANT}\ndegrade contains {{"mode": "approve", "reason": "slowly"}}'))
    assert mode.changed > 10
    assert all("in mode approve" in c.after for c in mode.changes)
    less = simulated(rule(f'{GRANT}\ndegrade contains {{"parameters": {{"replicas": "1"}}}}', actions=["scale_out"]))
    assert {c.action for c in less.changes} == {"scale_out"}
    assert all(c.after.endswith("replicas = 1") for c in less.changes)


def test_a_policy_that_is_not_enforced_changes_nothing() -> None:
    assert simulated(rule("default allow := false", enforcement="monitor")).changes == []


def test_a_policy_without_an_answer_is_counted() -> None:
    found = simulated(rule("allow if input.system.storm"))
    assert found.faults > 30
    assert found.newly_allowed == 0


def test_what_was_never_put_to_policies_is_left_out() -> None:
    simulation = Simulation()
    simulation.add(decision(), holding(), holding())
    assert simulation.decisions == 0


def judged(mode: Mode, confidence: float, *more: str) -> Iterator[tuple[Decision, str]]:
    """What the gate itself says, beside what is thought here that it says."""
    made = Policies(Rego(), [*texts(), *more])
    settings = SafetySettings(mode=mode)
    (said,) = GateState().judge(proposal(confidence=confidence), settings, made, NOW)
    if said.facts is not None:
        yield said, outcome(said.proposal, said.facts, made.rule(Book(), said.facts)).effect


def test_the_outcome_is_the_one_that_the_gate_comes_to() -> None:
    policies = (
        (), (rule("default allow := false"),), (rule(f'{GRANT}\ndegrade contains {{"mode": "approve"}}'),),
        (rule(f'{GRANT}\nrequire_approval contains {{"role": "lead"}}'),),
        (rule(f'{GRANT}\ndegrade contains {{"mode": "observe"}}'),),
    )  # fmt: skip
    word = {DecisionState.DENIED: "denied", DecisionState.PENDING: "asked", DecisionState.APPROVED: "free"}
    seen = set()
    for mode, confidence, more in itertools.product(Mode, (0.5, 0.75, 0.9, 0.99), policies):
        for said, thought in judged(mode, confidence, *more):
            assert word[said.state] == thought, (mode, confidence, more)
            seen.add(thought)
    assert seen == {"denied", "asked", "free"}


def test_what_was_made_under_other_policies_is_counted_as_drifted() -> None:
    (one,) = recorded(1)
    simulation = Simulation()
    simulation.add(msgspec.structs.replace(one, blocked="policy"), holding(), holding())
    simulation.add(msgspec.structs.replace(one, blocked=""), holding(), holding())
    assert simulation.drifted == 1
