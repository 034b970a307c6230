"""The gate: each limit with its block reason, across restarts, on each proposal once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agents.gate import Gate
from app.policy.shipped import policies
from models.safety.context import in_scope
from models.safety.limits import CHECKS, SEEN_KEPT, GateState, SafetySettings
from models.safety.modes import Mode, acts, tier
from tests.builders import CATALOG, NOW, decision, proposal, reread, sample, switch
from tests.keys import RING, WORKER_KEY
from topics.decisions import Decision, DecisionState
from topics.settings import Setting

SETTINGS = SafetySettings(mode=Mode.AUTONOMOUS)
UNLIMITED = msgspec.structs.replace(SETTINGS, blast_share=1.0, concurrency=5)
SILENT = (Mode.OBSERVE, Mode.SUGGEST)
ENDS = [DecisionState.DENIED, DecisionState.REJECTED, DecisionState.EXPIRED, DecisionState.COMPLETED]


def judge(gate: GateState, now: int = NOW, settings: SafetySettings = SETTINGS, **changes: Any) -> Decision:
    """The gate's one answer to a proposal of its own id."""
    changes = {"id": f"p{now}{changes.get('target', '')}", "ts": now} | changes
    (answer,) = gate.judge(proposal(**changes), settings, policies(), now)
    return answer


def follow(gate: GateState, of: Decision, state: DecisionState, ts: int) -> None:
    gate.follow(msgspec.structs.replace(of, state=state, ts=ts), SETTINGS)


def act(gate: GateState, now: int, target: str = CATALOG) -> Decision:
    """An action that the gate lets through, from its decision to its end."""
    answer = judge(gate, now, target=target)
    assert answer.state is DecisionState.APPROVED, answer.blocked
    for state in (DecisionState.APPROVED, DecisionState.DISPATCHED, DecisionState.COMPLETED):
        follow(gate, answer, state, now)
    return answer


def restarted(gate: GateState) -> GateState:
    return reread(gate)


def killed(gate: GateState) -> None:
    gate.set(switch("on"), RING, NOW)


def in_progress(gate: GateState) -> None:
    judge(gate, NOW, id="another", target="shop/catalog")


def cooling(gate: GateState) -> None:
    act(gate, NOW - 9_999)


def thrice(gate: GateState) -> None:
    for number in range(3):
        act(gate, NOW - 100_000 + 20_000 * number)


def spent(gate: GateState) -> None:
    for number in range(20):
        act(gate, NOW - 590_000 + 25_000 * number, f"shop/service{number}/0")


def busy(gate: GateState) -> None:
    for number in range(5):
        judge(gate, NOW - 60_000 + number, UNLIMITED, target=f"shop/service{number}/0")


def spread(gate: GateState) -> None:
    for number in range(3):
        act(gate, NOW - 5_000, f"shop/service{number}/0")


BLOCKS: dict[str, tuple[Callable[[GateState], None], dict[str, Any], SafetySettings]] = {
    "killed": (killed, {}, SETTINGS),
    "mode": (lambda gate: None, {}, SafetySettings(mode=Mode.OBSERVE)),
    "not_allowed": (lambda gate: None, {"action": "reboot_everything"}, SETTINGS),
    "duplicate_in_progress": (in_progress, {}, SETTINGS),
    "recently_remediated": (cooling, {}, SETTINGS),
    "consecutive_failures": (thrice, {}, SETTINGS),
    "budget_exhausted": (spent, {}, SETTINGS),
    "resource_busy": (busy, {}, UNLIMITED),
    "blast_radius": (spread, {}, SETTINGS),
}


@pytest.mark.parametrize("reason", BLOCKS)
@pytest.mark.parametrize("restart", [False, True], ids=["", "restarted"])
def test_a_limit_denies_with_its_reason_before_and_after_a_restart(reason: str, restart: bool) -> None:
    prepare, changes, settings = BLOCKS[reason]
    gate = GateState()
    prepare(gate)
    if restart:
        gate = restarted(gate)
    answer = judge(gate, NOW, settings, **changes)
    assert (answer.state, answer.blocked) == (DecisionState.DENIED, reason)
    assert answer.reasons[0]
    assert answer.expires == 0


def test_every_limit_there_is_has_been_tried() -> None:
    assert len(CHECKS) == len(BLOCKS)


def test_without_an_objection_it_passes() -> None:
    answer = judge(GateState())
    assert (answer.state, answer.blocked, answer.expires) == (DecisionState.APPROVED, "", 0)
    assert answer.reasons == ("confidence 0.96 is enough in mode autonomous",)


@pytest.mark.parametrize("mode", Mode, ids=str)
@pytest.mark.parametrize("confidence", [0.0, 0.69, 0.70, 0.84, 0.85, 0.95, 0.96, 1.0])
def test_mode_and_confidence_decide_between_acting_and_asking(mode: Mode, confidence: float) -> None:
    answer = judge(GateState(), NOW, SafetySettings(mode=mode), confidence=confidence)
    expected = (
        DecisionState.DENIED
        if mode in SILENT
        else DecisionState.APPROVED
        if acts(mode, confidence)
        else DecisionState.PENDING
    )
    assert (answer.state, answer.tier, answer.mode) == (expected, tier(confidence), mode)
    assert answer.expires == (NOW + 120_000 if expected is DecisionState.PENDING else 0)


def test_asking_is_the_default() -> None:
    assert judge(GateState(), NOW, SafetySettings(), confidence=1.0).state is DecisionState.PENDING


def test_a_proposal_is_answered_once_also_after_a_restart() -> None:
    gate = GateState()
    judge(gate, id="p1")
    assert list(gate.judge(proposal(id="p1"), SETTINGS, policies(), NOW)) == []
    assert list(restarted(gate).judge(proposal(id="p1"), SETTINGS, policies(), NOW)) == []


def test_an_answer_that_was_given_just_before_a_crash_stands() -> None:
    """The state of before the answer comes back, and the answer is read from the topic."""
    answer = judge(GateState(), id="p1")
    gate = GateState()
    gate.follow(answer, SETTINGS)
    assert list(gate.judge(proposal(id="p1"), SETTINGS, policies(), NOW)) == []
    assert judge(gate, NOW + 100).blocked == "duplicate_in_progress"
    follow(gate, answer, DecisionState.DISPATCHED, NOW + 100)
    follow(gate, answer, DecisionState.COMPLETED, NOW + 1_000)
    assert judge(gate, NOW + 1_000).blocked == "recently_remediated"


@pytest.mark.parametrize("state", ENDS, ids=str)
def test_a_target_is_free_again_when_its_decision_has_ended(state: DecisionState) -> None:
    gate = GateState()
    answer = judge(gate)
    assert judge(gate, NOW + 1).blocked == "duplicate_in_progress"
    follow(gate, answer, state, NOW + 2)
    follow(gate, answer, DecisionState.PENDING, NOW + 3)  # a late repeat
    assert judge(gate, NOW + 4).state is DecisionState.APPROVED


def test_the_end_of_another_decision_frees_nothing() -> None:
    gate = GateState()
    judge(gate, id="p1")
    other = decision(DecisionState.EXPIRED, proposal(id="p9"))
    gate.follow(other, SETTINGS)
    assert judge(gate, NOW + 1).blocked == "duplicate_in_progress"


def test_a_decision_whose_end_is_never_seen_does_not_block_for_ever() -> None:
    gate = GateState()
    judge(gate)
    assert judge(gate, NOW + SETTINGS.open_for_ms - 1).blocked == "duplicate_in_progress"
    assert judge(gate, NOW + SETTINGS.open_for_ms).state is DecisionState.APPROVED


def test_cooldown_and_window_end_when_they_should() -> None:
    gate = GateState()
    act(gate, NOW)
    assert judge(gate, NOW + 9_999).blocked == "recently_remediated"
    act(gate, NOW + 10_000)
    act(gate, NOW + 20_000)
    assert judge(gate, NOW + SETTINGS.window_ms - 1).blocked == "consecutive_failures"
    assert judge(gate, NOW + SETTINGS.window_ms).state is DecisionState.APPROVED


def test_a_dispatch_that_is_told_twice_is_counted_once() -> None:
    gate = GateState()
    answer = act(gate, NOW)
    for ts in (NOW, NOW + 700, NOW + 1_400):  # a worker that does it again after a crash says another time
        follow(gate, answer, DecisionState.DISPATCHED, ts)
    assert gate.recent(NOW + 2_000, SETTINGS, target=CATALOG) == [NOW]


def test_what_was_let_through_but_never_dispatched_counts_nothing() -> None:
    gate = GateState()
    answer = judge(gate)
    follow(gate, answer, DecisionState.EXPIRED, NOW + 1)
    assert gate.recent(NOW + 2, SETTINGS, scope="shop") == []


def test_systems_on_one_partition_have_budgets_of_their_own() -> None:
    gate = GateState()
    spent(gate)
    assert judge(gate, target="shop/other/0").blocked == "budget_exhausted"
    assert judge(gate, target="bank/other/0").state is DecisionState.APPROVED


WEB = msgspec.structs.replace(
    SETTINGS, limit_scopes={"web-*": "web", "shop/db*": "stores"}, concurrency=3, blast_share=1.0, per_scope=4
)


def of_web() -> GateState:
    gate = GateState()
    gate.count_by(WEB)
    return gate


def test_hosts_and_services_of_one_scope_are_limited_together() -> None:
    gate = of_web()
    answers = [judge(gate, settings=WEB, target=host) for host in ("web-1", "web-2/nginx/0", "web-3", "web-4", "db-1")]
    assert [answer.blocked for answer in answers] == ["", "", "", "resource_busy", ""]
    assert "3 decisions on web have not ended" in answers[3].reasons


def test_a_scope_divides_a_system_and_the_budget_is_that_of_the_scope() -> None:
    gate = of_web()
    for number in range(4):
        answer = judge(gate, NOW - 60_000 * (4 - number), WEB, target=f"shop/db{number}/0")
        assert answer.state is DecisionState.APPROVED, answer.reasons
        for state in (DecisionState.DISPATCHED, DecisionState.COMPLETED):
            follow(gate, answer, state, answer.ts)
    assert judge(gate, NOW, WEB, target="shop/db9/0").blocked == "budget_exhausted"
    assert judge(gate, NOW, WEB, target="shop/cart/0").state is DecisionState.APPROVED


def test_the_blast_radius_is_a_share_of_what_is_known_of_a_scope_hosts_included() -> None:
    settings = msgspec.structs.replace(WEB, concurrency=4, blast_share=0.5)
    few, many = of_web(), of_web()
    for number in range(10):
        many.context.see(sample(f"web-{number}", NOW))
    for gate, most in ((few, 2), (many, 4)):
        allowed = [judge(gate, settings=settings, target=f"web-{n}").state is DecisionState.APPROVED for n in range(6)]
        assert sum(allowed) == most, "half of the four that may be, or four at a time"


def test_an_agent_counts_by_the_scopes_of_its_settings_also_after_a_restart() -> None:
    gate = Gate(WEB, WORKER_KEY, RING, policies())
    judge(gate.state, settings=WEB, target="web-1")
    again = Gate(WEB, WORKER_KEY, RING, policies())
    again.restore(gate.snapshot())
    assert again.state.open.keys_of(in_scope("web")) == ["web-1"]


def test_the_kill_switch_stays_on_across_a_restart_until_it_is_turned_off() -> None:
    gate = GateState()
    killed(gate)
    gate.set(Setting(name="colour", value="off", ts=NOW, by="ana"), RING, NOW)
    gate = restarted(gate)
    assert judge(gate, NOW).blocked == "killed"
    gate.set(switch("off"), RING, NOW)
    assert judge(gate, NOW + 1).state is DecisionState.APPROVED


def test_memory_has_bounds() -> None:
    gate = GateState()
    for number in range(SEEN_KEPT + 100):
        answer = judge(gate, NOW + 10_000 * number, id=f"p{number}", target=f"s{number}/a/0")
        follow(gate, answer, DecisionState.DISPATCHED, NOW + 10_000 * number)
    assert len(gate.seen) == SEEN_KEPT
    assert len(gate.open) <= SETTINGS.open_for_ms // 10_000 + 1
    assert len(gate.acted) <= SETTINGS.window_ms // 10_000 + 1
