"""Promotion: what has earned autonomy asks for it, a lead's vote makes it a grant, and nobody else's word does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.testing import MemoryLoop, World
from models.policy.engine import Policies
from models.policy.rego import Rego
from models.safety.limits import GateState, SafetySettings
from models.safety.modes import Mode
from models.safety.promotion import GRANT, check_grant, granted, group_of, promotion
from models.safety.signing import OURS, TRUST, Refused, sign_setting
from models.safety.trust import CHECK_MS, Trust
from tests.builders import NOW, approval, decision, proposal, switch, verdict_on
from tests.keys import RING, WORKER_KEY, key_of
from tests.rules import GRANT as ALLOW
from tests.rules import rule
from topics.actions import Command
from topics.decisions import Decision, DecisionState
from topics.proposals import Proposal
from topics.refusals import Refusal
from topics.settings import Setting
from topics.spec import Instant
from topics.verdicts import Effect

CLASS = "shop/restart_service/instance/production"
EARNING = SafetySettings(mode=Mode.AUTONOMOUS, earn=True)
DAY = EARNING.promotion_ms
READY = Policies(Rego(), [rule(ALLOW, "grant", "access")])
replace = msgspec.structs.replace


def earned(count: int = 60, helped: bool = True) -> GateState:
    """A gate that has seen so many outcomes of one class."""
    gate = GateState()
    for number in range(count):
        tell(gate.trust, number, helped)
    return gate


def tell(trust: Trust, number: int, helped: bool, now: Instant = NOW) -> None:
    made = decision(DecisionState.DISPATCHED, proposal(id=f"p{number}"))
    for record in (made, verdict_on(Effect.REMEDIATED if helped else Effect.INEFFECTIVE, decision=made.id)):
        trust.see(record, EARNING, now)


def proposals(gate: GateState, now: Instant = NOW, settings: SafetySettings = EARNING) -> list[Proposal]:
    return list(gate.proposals(settings, READY, now))


def judged(
    gate: GateState, proposed: Proposal, policies: Policies = READY, settings: SafetySettings = EARNING
) -> Decision:
    (answer,) = gate.judge(proposed, settings, policies, proposed.ts)
    return answer


def test_a_class_that_has_earned_it_is_proposed_once_with_its_outcomes_as_the_reason() -> None:
    gate = earned()
    (proposed,) = proposals(gate)
    assert (proposed.action, proposed.target, proposed.requester, group_of(proposed)) == (GRANT, "shop", TRUST, CLASS)
    assert proposed.reasons == (f"{CLASS} has earned to act alone: 60 of 60 helped",)
    assert proposals(gate, NOW + CHECK_MS) == []
    assert len(proposals(gate, NOW + DAY)) == 1, "led to nothing, it is proposed again a day later"


@pytest.mark.parametrize(
    ("gate", "settings"),
    [(earned(20), EARNING), (earned(60, helped=False), EARNING), (earned(), replace(EARNING, earn=False))],
    ids=["too little is known", "it does not help", "nothing has to be earned"],
)
def test_nothing_is_proposed(gate: GateState, settings: SafetySettings) -> None:
    assert proposals(gate, settings=settings) == []


def test_it_waits_for_a_lead_however_sure_and_free_the_mode_is() -> None:
    gate = earned()
    answer = judged(gate, proposals(gate)[0])
    assert (answer.state, answer.required_role, answer.quorum) == (DecisionState.PENDING, "lead", 1)
    assert answer.expires == NOW + DAY
    assert answer.reasons[-1].endswith("a lead ratifies it")
    assert gate.open == {}, "it holds up nothing that is to be done"


def test_the_quorum_is_the_larger_of_the_settings_and_the_policys() -> None:
    gate = earned()
    (proposed,) = proposals(gate)
    assert judged(gate, proposed, settings=replace(EARNING, quorum=2)).quorum == 2
    two = 'default allow := true\nrequire_approval contains {"role": "lead", "quorum": 3, "reason": "so much"}'
    assert judged(earned(), proposed, Policies(Rego(), [rule(two, "three", "access")])).quorum == 3


DENIED: dict[str, tuple[GateState, dict[str, Any], str]] = {
    "by somebody else": (earned(), {"requester": "ana"}, "not_allowed"),
    "of what was not earned": (earned(20), {}, "not_allowed"),
    "of another class": (earned(), {"target": "bank"}, "not_allowed"),
    "of half a class": (earned(), {"parameters": {}}, "not_allowed"),
}


@pytest.mark.parametrize("name", DENIED)
def test_a_promotion_is_denied(name: str) -> None:
    gate, changes, blocked = DENIED[name]
    answer = judged(gate, replace(promotion(CLASS, "60 of 60 helped", 0, NOW), **changes))
    assert (answer.state, answer.blocked) == (DecisionState.DENIED, blocked)


def test_a_policy_and_the_kill_switch_deny_a_promotion() -> None:
    gate = earned()
    (proposed,) = proposals(gate)
    never = rule(f'default allow := true\nallow := false if input.action.name == "{GRANT}"', "never", "access")
    assert judged(gate, proposed, Policies(Rego(), [never])).blocked == "policy"
    killed = earned()
    killed.set(switch("on"), RING, NOW)
    assert judged(killed, proposed).blocked == "killed"


def ratified(*voters: str, **changes: Any) -> Setting:
    """The grant that follows from these votes, under the worker's key."""
    proposed = replace(promotion(CLASS, "60 of 60 helped", 0, NOW), **changes)
    votes = [approval(decision(DecisionState.PENDING, proposed), voter) for voter in voters]
    return sign_setting(granted(proposed, votes, NOW + 1), WORKER_KEY)


def test_a_ratified_grant_is_believed_for_the_votes_it_carries_and_survives_them() -> None:
    gate, grant = earned(), ratified("ana")
    gate.set(grant, RING, NOW + 10 * DAY)
    assert gate.trust.granted(CLASS)
    assert proposals(gate, NOW + 2 * DAY) == []
    assert gate.trust.objection(proposal(), EARNING) == "", "it acts alone"


FALSE = {
    "no votes": sign_setting(replace(ratified("ana"), approvals=()), WORKER_KEY),
    "the vote of an approver": ratified("ben"),
    "a vote for another class": sign_setting(
        replace(ratified("ana"), name="autonomy/shop/scale_out/service/production"), WORKER_KEY
    ),
    "a vote for another system": sign_setting(
        replace(ratified("ana"), name=f"autonomy/{CLASS.replace('shop', 'bank')}"), WORKER_KEY
    ),
    "a vote for a tier": sign_setting(replace(ratified("ana"), name="autonomy/shop/autonomous"), WORKER_KEY),
    "a vote for something to be done": sign_setting(
        replace(ratified("ana"), approvals=(approval(decision()),)), WORKER_KEY
    ),
    "a vote that is long over": sign_setting(replace(ratified("ana"), ts=NOW + 10**7), WORKER_KEY),
    "a no": sign_setting(
        replace(ratified("ana"), approvals=tuple(replace(v, vote="reject") for v in ratified("ana").approvals)),
        WORKER_KEY,
    ),
    "votes that were put under it afterwards": replace(
        sign_setting(replace(ratified("ana"), approvals=()), WORKER_KEY), approvals=ratified("ana").approvals
    ),
    "the key of somebody who is no worker": sign_setting(ratified("ana"), key_of("ben")),
    "a worker in a person's name": sign_setting(replace(ratified("ana"), by="ana"), WORKER_KEY),
}


@pytest.mark.parametrize("grant", FALSE.values(), ids=FALSE)
def test_a_worker_alone_may_grant_nothing(grant: Setting) -> None:
    gate = earned()
    with pytest.raises(Refused):
        gate.set(grant, RING, NOW + 2)
    assert not gate.trust.granted(CLASS)


def test_what_carries_votes_takes_nothing_away() -> None:
    revoked = sign_setting(replace(ratified("ana"), value="revoked"), WORKER_KEY)
    with pytest.raises(Refused, match="may not say"):
        check_grant(revoked, RING)


def test_after_a_person_took_it_away_it_is_not_proposed_for_a_day() -> None:
    gate = earned()
    gate.set(
        sign_setting(Setting(name=f"autonomy/{CLASS}", value="revoked", ts=NOW, by="ana"), key_of("ana")), RING, NOW
    )
    assert proposals(gate, NOW + DAY - 1) == []
    assert len(proposals(gate, NOW + DAY + CHECK_MS)) == 1


def test_autonomy_that_was_ratified_is_lost_by_itself_and_asked_for_no_more() -> None:
    gate = earned()
    gate.set(ratified("ana"), RING, NOW)
    for number in range(100, 140):
        tell(gate.trust, number, helped=False, now=NOW + 5)
    assert not gate.trust.granted(CLASS)
    assert proposals(gate, NOW + 3 * DAY) == []
    assert "has lost its autonomy" in gate.trust.objection(proposal(confidence=0.75), EARNING)


def test_the_names_of_our_own_agents_are_reserved() -> None:
    assert {"decide", "uphold", TRUST} == OURS


@pytest.mark.parametrize(("voter", "state"), [("ana", DecisionState.COMPLETED), ("ben", DecisionState.PENDING)])
def test_in_the_loop_a_leads_yes_becomes_a_grant_and_an_approvers_is_refused(voter: str, state: DecisionState) -> None:
    world = World()
    loop = MemoryLoop(world, Mode.AUTONOMOUS)
    gate: Any = next(agent for agent in loop.agents if agent.name == "gate")
    gate.settings = EARNING
    gate.state.trust = earned().trust
    loop.run(2)
    (asked,) = [d for d in loop.of(Decision) if d.proposal.action == GRANT]
    loop.publish(approval(asked, voter))
    loop.run(2)
    assert [d.state for d in loop.of(Decision) if d.id == asked.id][-1] is state
    assert loop.of(Command) == []
    assert world.ran == []
    if voter == "ana":
        (grant,) = loop.of(Setting)
        assert (grant.name, grant.value, grant.by) == (f"autonomy/{CLASS}", "granted", TRUST)
        assert gate.state.trust.granted(CLASS)
    else:
        assert [r.code for r in loop.of(Refusal)] == ["wrong_role"]


def test_in_the_loop_a_promotion_that_nobody_ratifies_expires() -> None:
    loop = MemoryLoop(World(), Mode.AUTONOMOUS)
    gate: Any = next(agent for agent in loop.agents if agent.name == "gate")
    gate.settings = replace(EARNING, promotion_ms=3_000)
    gate.state.trust = earned().trust
    loop.run(2)
    (asked,) = loop.of(Decision)
    loop.run(1.5)
    assert [d.state for d in loop.of(Decision) if d.id == asked.id] == [DecisionState.PENDING, DecisionState.EXPIRED]
    loop.run(1.5)
    assert len({d.id for d in loop.of(Decision)}) == 2, "and is proposed again"
    assert not gate.state.trust.granted(CLASS)
