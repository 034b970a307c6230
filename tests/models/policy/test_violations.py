"""What was done and still stands, held against the policies of now."""

from __future__ import annotations

import msgspec
import pytest

from app.testing import MemoryLoop, World
from models.policy.engine import Policies
from models.policy.examples import NOON, ordinary
from models.policy.facts import action_facts, target_facts
from models.policy.rego import Rego
from models.policy.violations import AGAIN_MS, CHECK_MS, TRIES, UPHOLD
from models.safety.limits import GateState, SafetySettings
from models.safety.modes import Mode
from tests.builders import NOW, approval, decision, incident, policy, proposal, result, sample, topology, verdict_on
from tests.keys import RING
from tests.rules import rule
from topics.actions import Result
from topics.decisions import Decision, DecisionState
from topics.incidents import SymptomKind
from topics.policies import Facts
from topics.proposals import Proposal
from topics.spec import Record
from topics.verdicts import Effect

READY = Policies(Rego())
CAP = rule(
    'default allow := true\nallow := false if input.action.name == "scale_out"\n'
    'reasons contains "too dear" if not allow',
    name="cap", kind="cost", standing=True,
)  # fmt: skip
SERVICE = "shop/catalog"
SETTINGS = SafetySettings()


def facts(action: str, requester: str = "decide") -> Facts:
    start = ordinary()
    return msgspec.structs.replace(
        start, action=action_facts(action), target=target_facts(SERVICE, {}), parameters={"replicas": "2"},
        proposal=msgspec.structs.replace(start.proposal, requester=requester),
    )  # fmt: skip


def sent(action: str = "scale_out", requester: str = "decide", number: int = 1) -> Decision:
    proposed = proposal(id=f"p{number}", action=action, target=SERVICE, requester=requester)
    return decision(DecisionState.DISPATCHED, proposed, facts=facts(action, requester))


def did(of: Decision, outcome: str = "succeeded") -> Result:
    return result(decision=of.id, action=of.proposal.action, target=SERVICE, outcome=outcome, id=f"r{of.id}")


def upholder(*words: object, source: str = CAP) -> GateState:
    """A gate that has read these, and then of a policy."""
    gate = GateState()
    for word in words:
        if isinstance(word, Decision):
            gate.violations.decided(word)
        elif isinstance(word, Result):
            gate.violations.done(word)
    gate.policies.take(policy(source), RING, READY.check, NOW)
    return gate


def samples(gate: GateState, now: int = NOON, settings: SafetySettings = SETTINGS) -> list[Proposal]:
    return list(gate.proposals(settings, READY, now))


OUT = sent()


def test_what_stands_against_a_new_policy_is_to_be_undone_and_says_why() -> None:
    (proposed,) = samples(upholder(OUT, did(OUT)))
    assert (proposed.action, proposed.target, proposed.parameters) == ("scale_in", SERVICE, {"replicas": "2"})
    assert (proposed.requester, proposed.cause, proposed.incident, proposed.kind) == (
        UPHOLD,
        "policy_violation",
        "",
        "compliance",
    )
    assert proposed.reasons == ("policy cap denies the scale_out that stands there: too dear",)


def test_the_order_of_topics_does_not_matter_and_repeats_say_nothing_new() -> None:
    straight = samples(upholder(OUT, did(OUT)))
    assert samples(upholder(did(OUT), OUT)) == straight
    assert samples(upholder(OUT, did(OUT), OUT, did(OUT))) == straight


NOTHING = {
    "without a policy of what stands": upholder(OUT, did(OUT), source=CAP.replace("standing: true", "standing: false")),
    "where it is only written down": upholder(
        OUT, did(OUT), source=CAP.replace("standing: true", "standing: true\n#   enforcement: monitor")
    ),
    "where nothing was done": upholder(OUT),
    "where it failed": upholder(OUT, did(OUT, "failed")),
    "where it was undone": upholder(OUT, did(OUT), sent("scale_in", number=2), did(sent("scale_in", number=2))),
    "where it was undone, and then both are read again": upholder(
        OUT, did(OUT), sent("scale_in", number=2), did(sent("scale_in", number=2)), OUT, did(OUT)
    ),
    "where it was done to uphold a policy": upholder(sent(requester=UPHOLD), did(sent(requester=UPHOLD))),
    "where it cannot be undone": upholder(sent("restart_service"), did(sent("restart_service"))),
    "where the policy gives no answer": upholder(
        OUT, did(OUT), source=rule("allow if input.system.storm", name="cap", standing=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("state", NOTHING.values(), ids=NOTHING)
def test_nothing_is_proposed(state: GateState) -> None:
    assert samples(state) == []


def test_it_is_proposed_again_after_growing_waits_and_then_no_more() -> None:
    state = upholder(OUT, did(OUT))
    when = [now - NOON for now in range(NOON, NOON + 40 * AGAIN_MS, AGAIN_MS // 2) for _ in samples(state, now)]
    assert when == [0, AGAIN_MS, 3 * AGAIN_MS, 7 * AGAIN_MS, 15 * AGAIN_MS]
    assert len(when) == TRIES


def test_a_policy_of_hours_is_looked_at_with_the_time_of_now() -> None:
    source = rule("default allow := true\nallow := false if input.time.hour >= 20", name="cap", standing=True)
    state = upholder(OUT, did(OUT), source=source)
    assert samples(state, NOON) == []
    assert len(samples(state, NOON + 10 * 3_600_000)) == 1


def denied_if(condition: str) -> str:
    return rule(f"default allow := true\nallow := false if {condition}", name="cap", standing=True)


SHOP = topology(*((f"shop/s{n}", f"shop/s{n + 1}") for n in range(4)))
STORM = [incident(id=f"i{n}", entity=f"shop/s{n}/0", affected=(f"shop/s{n}/0",)) for n in range(4)]
RECENT = [
    decision(DecisionState.DISPATCHED, proposal(id=f"p{n}", target=f"shop/s{n}/0", incident=""), ts=NOON - n)
    for n in range(10, 13)
]
VAIN = [sent(number=40), verdict_on(Effect.INEFFECTIVE, decision=sent(number=40).id)]
NOW_SO: dict[str, tuple[str, list[Record], SafetySettings]] = {
    "health": ("input.system.storm", [SHOP, *STORM], SETTINGS),
    "incidents": ("input.system.incidents >= 4", STORM, SETTINGS),
    "capacity": ("input.system.services >= 5", [SHOP], SETTINGS),
    "budget": ("input.system.actions >= 3", list(RECENT), SETTINGS),
    "failures": ("input.system.failures >= 1", VAIN, SETTINGS),
    "telemetry": ("not input.system.stale", [sample("shop/catalog/0", NOON + CHECK_MS, SymptomKind.DOWN)], SETTINGS),
    "mode": ('input.system.mode == "observe"', [], SafetySettings(mode=Mode.OBSERVE)),
    "label": ('input.target.environment == "staging"', [], SafetySettings(environments={"shop": "staging"})),
}


@pytest.mark.parametrize("name", NOW_SO)
def test_what_stands_is_looked_at_as_things_are_now_and_not_as_they_were(name: str) -> None:
    condition, seen, settings = NOW_SO[name]
    gate = upholder(OUT, did(OUT), source=denied_if(condition))
    assert samples(gate) == [], "as things were"
    for record in seen:
        gate.context.see(record)
        if isinstance(record, Decision):
            gate.follow(record, settings)
    (proposed,) = samples(gate, NOON + CHECK_MS, settings)
    assert (proposed.action, proposed.target, proposed.requester) == ("scale_in", SERVICE, UPHOLD)


def test_who_wanted_what_stands_and_why_is_as_it_was() -> None:
    source = denied_if('input.proposal.requester == "olga"')
    assert samples(upholder(OUT, did(OUT), source=source)) == []
    hers = sent(requester="olga")
    assert len(samples(upholder(hers, did(hers), source=source))) == 1


def test_a_look_is_taken_at_once_when_a_policy_changes_and_else_now_and_then() -> None:
    state = upholder(OUT, did(OUT), source=rule(name="cap"))
    assert samples(state, NOON) == []
    state.policies.take(policy(CAP, 2), RING, READY.check, NOW)
    assert len(samples(state, NOON + 1)) == 1


def test_in_the_loop_a_violation_goes_through_the_gate_and_is_undone() -> None:
    world = World([("scale_out", SERVICE)])
    loop = MemoryLoop(world)
    loop.publish(topology(("shop/gateway", SERVICE)))
    loop.run(1)
    world.break_("shop/catalog/0", SymptomKind.SATURATION)
    loop.run(20)
    assert [c.action for c in world.ran] == ["scale_out"]
    loop.publish(policy(CAP, ts=loop.now))
    loop.run(5)
    (proposed,) = [p for p in loop.of(Proposal) if p.requester == UPHOLD]
    (asked,) = [d for d in loop.of(Decision) if d.proposal.id == proposed.id]
    assert (asked.state, asked.policy[-1].policy) == (DecisionState.PENDING, "storm"), (
        "it met the policies as every other"
    )
    loop.publish(approval(asked, "ana"))
    loop.run(20)
    assert [c.action for c in world.ran] == ["scale_out", "scale_in"]
    assert len([p for p in loop.of(Proposal) if p.requester == UPHOLD]) == 1, "nothing is left to be undone"
