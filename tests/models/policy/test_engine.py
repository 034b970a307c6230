"""Many policies, one ruling; and whatever goes wrong denies (I8)."""

from __future__ import annotations

import functools
import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from app.policy.shipped import policies, texts
from models.actions.catalogue import ACTIONS, SHIPPED
from models.policy.base import Compiled, Evaluator, PolicyEffect, PolicyFault
from models.policy.engine import Policies, Ruling, share
from models.policy.examples import examples
from models.policy.facts import facts_of
from models.policy.rego import Rego
from models.safety.limits import GateState
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.versions import Book
from tests.builders import NOW, policy, proposal
from tests.keys import RING
from tests.rules import GRANT, rule
from topics.decisions import Decision, DecisionState
from topics.policies import Facts, SystemFacts

ACCESS = rule(name="access", kind="access")
DAY = 86_400_000


def facts(now: int = NOW, system: SystemFacts | None = None, **changes: Any) -> Facts:
    return facts_of(proposal(**changes), system or SystemFacts("autonomous"), 1, {"bank": "staging"}, now)


def asked(*sources: str, now: int = NOW, system: SystemFacts | None = None, **changes: Any) -> Ruling:
    """What these policies and one that grants say to a proposal."""
    return Policies(Rego(), [ACCESS, *sources]).rule(Book(), facts(now, system, **changes))


def test_what_an_access_policy_allows_and_no_other_denies_is_allowed() -> None:
    ruling = asked(rule())
    assert (ruling.effect, ruling.denied) == (PolicyEffect.ALLOW, "")
    assert [r.policy for r in ruling.results] == ["access", "probe"]


def test_without_an_access_policy_nothing_is_allowed() -> None:
    assert Policies(Rego(), [rule()]).rule(Book(), facts()).denied == "no access policy covers it"
    assert Policies(Rego()).rule(Book(), facts()).effect is PolicyEffect.DENY


def test_one_denial_is_enough_and_says_why() -> None:
    body = 'default allow := false\nreasons contains sprintf("%s is not for us", [input.action.name]) if not allow'
    assert asked(rule(body), rule(name="other")).denied == "probe: restart_service is not for us"


NO_ANSWER = {
    "undefined": "allow if input.action.irreversible",
    "nothing": "x := 1",
    "text": 'allow := "yes"',
    "number": "allow := 1",
    "null": "allow := null",
    "a set": "allow contains true",
    "error": "allow := 1 / (input.proposal.attempt - input.proposal.attempt) == 0",
    "two values": "allow := true if true\nallow := false if true",
    "a role that is none": f'{GRANT}\nrequire_approval contains {{"role": "god"}}',
    "no people": f'{GRANT}\nrequire_approval contains {{"quorum": 0}}',
    "reasons that are none": f"{GRANT}\nreasons := 7",
}


@pytest.mark.parametrize("body", NO_ANSWER.values(), ids=NO_ANSWER)
def test_a_policy_that_gives_no_answer_denies(body: str) -> None:
    ruling = asked(rule(body))
    assert ruling.effect is PolicyEffect.DENY
    assert ruling.results[1].effect == PolicyEffect.FAULT


def test_a_policy_that_is_too_old_denies_until_it_is_renewed() -> None:
    source = rule(valid_until="2023-11-14")
    assert asked(source, now=NOW - 2 * DAY).effect is PolicyEffect.ALLOW
    assert "nobody has renewed it" in asked(source).denied


@pytest.mark.parametrize("enforcement", ["advisory", "monitor"])
def test_what_is_not_enforced_is_written_down_and_changes_nothing(enforcement: str) -> None:
    body = 'default allow := false\nrequire_approval contains {"role": "lead"}\ndegrade contains {"mode": "observe"}'
    ruling = asked(rule(body, enforcement=enforcement))
    assert (ruling.effect, ruling.role, ruling.mode) == (PolicyEffect.ALLOW, "", Mode.AUTONOMOUS)
    assert (ruling.results[1].effect, ruling.results[1].enforced) == (PolicyEffect.DENY, False)


def test_an_access_policy_that_is_not_enforced_grants_nothing() -> None:
    assert Policies(Rego(), [rule(kind="access", enforcement="advisory")]).rule(Book(), facts()).denied


def test_a_gradual_policy_meets_its_share_of_targets_from_its_date_and_all_of_them_from_the_other() -> None:
    source = rule("default allow := false", enforcement="gradual", percent=30, since="2023-11-10", until="2023-12-10")
    targets = [f"shop/s{n}/0" for n in range(1_000)]
    denied = {
        at: sum(asked_once(source, NOW + at * DAY, target) for target in targets) for at in (-10, 0, 10, 40)
    }  # fmt: skip
    assert (denied[-10], denied[40]) == (0, 1_000)
    assert denied[0] == denied[10] == sum(share("probe", target) < 30 for target in targets)
    assert 250 < denied[0] < 350


def asked_once(source: str, now: int, target: str) -> bool:
    return bool(GRADUAL.setdefault(source, Policies(Rego(), [ACCESS, source])).rule(
        Book(), facts(now, target=target)
    ).denied)  # fmt: skip


GRADUAL: dict[str, Policies] = {}


def test_of_votes_the_strictest_count_and_of_modes_the_one_that_does_least() -> None:
    votes = '{"role": "approver", "quorum": 3, "reason": "a"}', '{"role": "lead", "quorum": 2, "reason": "b"}'
    modes = '{"mode": "approve", "reason": "c"}', '{"mode": "act_and_report"}'
    sources = [
        rule(f"{GRANT}\nrequire_approval contains {v}\ndegrade contains {m}", name=f"p{i}")
        for i, (v, m) in enumerate(zip(votes, modes, strict=True))
    ]
    ruling = asked(*sources)
    assert (ruling.role, ruling.quorum, ruling.mode) == ("lead", 3, Mode.APPROVE)
    assert ruling.effect is PolicyEffect.REQUIRE_APPROVAL
    assert ruling.reasons[0] == "policy p0: 3 × approver: a, at most approve: c"


def test_a_policy_may_give_other_parameters_as_far_as_the_action_takes_them() -> None:
    less = 'degrade contains {"parameters": {"replicas": "%s"}, "reason": "slowly"}'
    proposed = proposal(action="scale_out", target="shop/catalog", parameters={"replicas": "3"})
    allowed, objection = asked(rule(f"{GRANT}\n{less % 1}")).applied(proposed)
    assert (allowed.parameters, objection) == ({"replicas": "1"}, "")
    assert "from 1 to 3" in asked(rule(f"{GRANT}\n{less % 9}")).applied(proposed)[1]


@pytest.mark.parametrize(
    ("target", "covered"), [("shop/catalog/0", 1), ("shop/catalog", 1), ("shop/catalogue/0", 0), ("shop", 0)]
)
def test_a_scope_is_a_path(target: str, covered: int) -> None:
    assert len(asked(rule(scope="shop/catalog"), target=target).results) == 1 + covered


def test_a_policy_of_some_actions_is_not_asked_about_others() -> None:
    assert len(asked(rule(actions=["scale_out"])).results) == 1


def test_the_narrower_policy_takes_the_place_of_the_wider_one_where_that_one_lets_it() -> None:
    wide = rule("default allow := false", name="wide", overridable=True)
    narrow = rule(name="narrow", scope="shop", overrides="wide")
    assert asked(wide, narrow).effect is PolicyEffect.ALLOW
    assert asked(wide, narrow, target="bank/x/0").effect is PolicyEffect.DENY
    assert asked(wide.replace("overridable: true", "overridable: false"), narrow).effect is PolicyEffect.DENY
    assert asked(wide, narrow.replace("scope: shop", "scope:")).effect is PolicyEffect.DENY, "as wide as the other"
    assert asked(wide, rule(name="narrow", scope="shop", overrides="wide", kind="cost")).effect is PolicyEffect.DENY
    assert asked(wide, rule(name="narrow", scope="shop", overrides="wide", enforcement="monitor")).denied


def test_policies_see_the_environment_of_a_target() -> None:
    source = rule('default allow := false\nallow if input.target.environment == "staging"')
    assert asked(source, target="bank/x/0").effect is PolicyEffect.ALLOW
    assert asked(source).effect is PolicyEffect.DENY


def test_a_registered_version_takes_the_place_of_the_shipped_one_and_a_bad_one_does_not() -> None:
    ready, book = policies(), Book()
    assert ready.rule(book, facts()).effect is PolicyEffect.ALLOW
    book.take(policy(rule("default allow := false", name="actions", kind="access")), RING, ready.check, NOW)
    assert ready.rule(book, facts()).effect is PolicyEffect.DENY
    assert ready.rule(book, facts()).results[0].version == 1


def test_when_even_the_shipped_ones_are_withdrawn_nothing_is_allowed() -> None:
    book = Book()
    book.take(policy(texts()[0], 0, active=False), RING, lambda _: None, NOW)
    assert policies().rule(book, facts()).denied == "no access policy covers it"


def test_the_shipped_policies_let_the_four_actions_of_the_demo_pass() -> None:
    for action in sorted(SHIPPED):
        assert policies().rule(Book(), facts(action=action)).effect is PolicyEffect.ALLOW, action


def test_the_shipped_policies_ask_a_lead_before_what_cannot_be_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    final = msgspec.structs.replace(ACTIONS["restart_service"], name="reboot_node", irreversible=True)
    monkeypatch.setattr("models.policy.facts.ACTIONS", {"reboot_node": final})
    ruling = policies().rule(Book(), facts(action="reboot_node"))
    assert (ruling.effect, ruling.role, ruling.quorum) == (PolicyEffect.REQUIRE_APPROVAL, "lead", 1)
    assert policies().rule(Book(), facts(action="burn_it_down")).effect is PolicyEffect.DENY


def test_in_a_storm_a_person_looks_before_anything_becomes_smaller() -> None:
    storm = SystemFacts("autonomous", storm=True)
    assert policies().rule(Book(), facts(system=storm, action="scale_in")).mode is Mode.APPROVE
    assert policies().rule(Book(), facts(system=storm, action="scale_out")).effect is PolicyEffect.ALLOW


# --- faults (I8) ------------------------------------------------------------------------------------------------------


class Broken:
    """An evaluator that fails in one way, at the n-th question."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.fault = rng, ""

    def compile(self, source: str, package: str) -> Compiled:
        return Wrapped(self, Rego().compile(source, package))


class Wrapped:
    def __init__(self, owner: Broken, inner: Compiled) -> None:
        self.owner, self.inner = owner, inner
        self.said: dict[bytes, Any] = {}

    def evaluate(self, facts: dict[str, Any]) -> Any:
        asked = msgspec.json.encode(facts)
        if asked not in self.said:
            self.said[asked] = self.inner.evaluate(facts)
        said = self.said[asked]
        match self.owner.fault:
            case "error" | "timeout" as code:
                raise PolicyFault(code, "injected")
            case "undefined":
                return {name: value for name, value in said.items() if name != "allow"}
            case "empty":
                return {}
            case "not a document":
                return self.owner.rng.choice([None, True, 1, "allow", [True]])
            case "not boolean":
                return said | {"allow": self.owner.rng.choice([1, "true", None, [True], {"allow": True}, 1.0])}
            case "garbage":
                return said | {"require_approval": self.owner.rng.choice([7, [7], [{"role": "root"}], None])}
        return said


FAULTS = ("error", "timeout", "undefined", "empty", "not a document", "not boolean", "garbage", "missing", "old",
          "does not compile")  # fmt: skip


def gate_under(fault: str, evaluator: Evaluator) -> tuple[GateState, Policies]:
    """A gate whose bundle is missing, old or broken, or whose evaluator is."""
    sources = list(texts())
    if fault == "old":
        sources[0] = sources[0].replace("#   owner: platform", "#   owner: platform\n#   valid_until: 2020-01-01")
    gate = GateState()
    if fault == "missing":
        sources = sources[1:]
    made = Policies(evaluator, sources)
    if fault == "does not compile":
        gate.policies.take(policy("package opsloop.actions", name="actions"), RING, lambda _: None, NOW)
    return gate, made


def proposed(rng: random.Random, number: int) -> dict[str, Any]:
    return {
        "id": f"p{number}", "action": rng.choice(sorted(SHIPPED)), "confidence": rng.random(),
        "target": f"s{number}/catalog/{rng.randint(0, 9)}", "attempt": rng.randint(0, 9), "incident": f"i{number}",
        "requester": rng.choice(["decide", "ana", "tune"]), "cause": rng.choice(["overload", "memory_leak"]),
    }  # fmt: skip


def test_i8_ten_thousand_proposals_under_injected_faults_are_never_allowed() -> None:
    rng = random.Random(8)
    settings = SafetySettings(mode=Mode.AUTONOMOUS)
    seen: Counter[tuple[str, str]] = Counter()
    for number in range(10_000):
        fault = FAULTS[number % len(FAULTS)]
        if number < len(FAULTS):
            continue
        broken = GATES.setdefault(fault, (Broken(rng),))[0]
        if len(GATES[fault]) == 1:
            GATES[fault] = (broken, *gate_under(fault, broken))
            broken.fault = fault
        _, gate, made = GATES[fault]
        (answer,) = gate.judge(proposal(ts=NOW, **proposed(rng, number)), settings, made, NOW)
        seen[fault, answer.state] += 1
        assert (answer.state, answer.blocked) == (DecisionState.DENIED, "policy"), (fault, answer)
    assert {fault for fault, _ in seen} == set(FAULTS)


GATES: dict[str, Any] = {}


@functools.cache
def generated() -> list[Facts]:
    return list(examples(10_000))


@pytest.mark.parametrize("fault", FAULTS)
def test_i8_ten_thousand_inputs_under_each_fault_are_never_allowed(fault: str) -> None:
    broken = Broken(random.Random(8))
    gate, made = gate_under(fault, broken)
    broken.fault = fault
    allowed = [f for f in generated() if made.rule(gate.policies, f).effect is not PolicyEffect.DENY]
    assert (len(generated()), allowed) == (10_000, [])


def test_without_a_fault_most_of_those_inputs_are_allowed() -> None:
    broken = Broken(random.Random(8))
    gate, made = gate_under("", broken)
    assert sum(made.rule(gate.policies, f).effect is not PolicyEffect.DENY for f in generated()) > 5_000


def test_without_a_fault_the_same_gate_allows() -> None:
    """The self-test of the injector: what denies above is the fault and nothing else."""
    rng = random.Random(8)
    broken = Broken(rng)
    gate, made = gate_under("", broken)
    answers: list[Decision] = []
    for number in range(200):
        answers += gate.judge(
            proposal(ts=NOW, **proposed(rng, number)), SafetySettings(mode=Mode.AUTONOMOUS), made, NOW
        )
    assert {a.state for a in answers} == {DecisionState.APPROVED, DecisionState.PENDING}


# --- the gate ---------------------------------------------------------------------------------------------------------


def judged(gate: GateState, source: str, settings: SafetySettings, **changes: Any) -> Decision:
    (answer,) = gate.judge(proposal(**changes), settings, Policies(Rego(), [ACCESS, source]), NOW)
    return answer


AUTONOMOUS = SafetySettings(mode=Mode.AUTONOMOUS)


def test_the_gate_asks_for_the_votes_that_a_policy_wants_whatever_the_mode() -> None:
    source = rule(f'{GRANT}\nrequire_approval contains {{"role": "lead", "quorum": 2}}')
    answer = judged(GateState(), source, AUTONOMOUS)
    assert (answer.state, answer.required_role, answer.quorum) == (DecisionState.PENDING, "lead", 2)
    assert answer.expires == NOW + AUTONOMOUS.approval_ms
    assert answer.facts is not None
    assert answer.facts.action.name == "restart_service"


def test_a_degraded_proposal_waits_for_a_person_who_may_say_yes() -> None:
    answer = judged(
        GateState(), rule(f'{GRANT}\ndegrade contains {{"mode": "approve", "reason": "carefully"}}'), AUTONOMOUS
    )
    assert (answer.state, answer.mode, answer.required_role) == (DecisionState.PENDING, "approve", "approver")
    assert "carefully" in answer.reasons[0]


def test_degraded_to_silence_nothing_acts_and_the_target_stays_free() -> None:
    gate = GateState()
    answer = judged(gate, rule(f'{GRANT}\ndegrade contains {{"mode": "suggest"}}'), AUTONOMOUS)
    assert (answer.state, answer.blocked) == (DecisionState.DENIED, "mode")
    assert gate.open == {}


def test_what_policy_denies_holds_no_target_and_takes_none_from_another() -> None:
    gate = GateState()
    assert judged(gate, rule("default allow := false"), AUTONOMOUS).blocked == "policy"
    assert gate.open == {}
    assert judged(gate, rule(), AUTONOMOUS, id="p2").state is DecisionState.APPROVED
