"""Circumstances under which nothing acts, or nothing acts alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from app.policy.shipped import policies
from models.safety.context import CONTEXT_CHECKS, KEPT
from models.safety.limits import GateState
from models.safety.modes import Mode
from models.safety.settings import Freeze, SafetySettings
from models.safety.signing import Refused, sign_setting
from tests.builders import CATALOG, NOW, SymptomKind, decision, incident, proposal, reread, sample, topology, verdict_on
from tests.keys import RING, key_of
from topics.decisions import Decision, DecisionState
from topics.incidents import State
from topics.settings import Setting
from topics.verdicts import EXPECTATION, RESULT, Effect

SETTINGS = SafetySettings(mode=Mode.AUTONOMOUS, blast_share=1.0, concurrency=50)
SHOP = topology(*(("shop/gateway", f"shop/{s}") for s in ("catalog", "cart", "orders")), ("shop/catalog", "shop/store"))
SECOND, MINUTE = 1_000, 60_000


def judge(gate: GateState, now: int = NOW, settings: SafetySettings = SETTINGS, **changes: Any) -> Decision:
    *_, answer = gate.judge(proposal(**{"id": f"p{now}", "ts": now} | changes), settings, policies(), now)
    return answer


def restarted(gate: GateState) -> GateState:
    return reread(gate)


def unwell(gate: GateState, *services: str) -> None:
    gate.context.see(SHOP)
    for service in services:
        gate.context.see(incident(id=f"i-{service}", entity=f"shop/{service}/0", affected=()))


def failed_on(gate: GateState, times: int, ts: int = NOW - SECOND) -> None:
    for number in range(times):
        done = decision(DecisionState.DISPATCHED, proposal(id=f"vain{number}"))
        gate.context.see(done)
        for _ in range(2):  # a verdict that is told twice counts once
            gate.context.see(
                verdict_on(Effect.INEFFECTIVE, id=f"v{number}", decision=done.id, entity="shop/x/0", ts=ts)
            )


def under_maintenance(gate: GateState) -> None:
    gate.set(Setting(name="maintenance/shop/catalog", value=str(NOW + MINUTE), ts=NOW, by="anybody"), RING, NOW)


FROZEN = msgspec.structs.replace(SETTINGS, freezes=(Freeze("13 22 * * 2", 5, "shop"),))  # NOW is a Tuesday, 22:13:20
BLOCKS: dict[str, tuple[Callable[[GateState], None], dict[str, Any], SafetySettings]] = {
    "frozen": (lambda gate: None, {}, FROZEN),
    "maintenance": (under_maintenance, {}, SETTINGS),
    "consecutive_failures": (lambda gate: failed_on(gate, 3), {}, SETTINGS),
    "exponential_backoff": (lambda gate: failed_on(gate, 2), {}, SETTINGS),
    "storm_active": (lambda gate: unwell(gate, "gateway", "catalog", "store"), {"incident": "i-catalog"}, SETTINGS),
    "capacity_floor": (lambda gate: unwell(gate, "catalog"), {"action": "scale_in", "incident": "i9"}, SETTINGS),
}


@pytest.mark.parametrize("reason", BLOCKS)
@pytest.mark.parametrize("restart", [False, True], ids=["", "restarted"])
def test_a_circumstance_denies_with_its_reason_before_and_after_a_restart(reason: str, restart: bool) -> None:
    prepare, changes, settings = BLOCKS[reason]
    gate = GateState()
    prepare(gate)
    answer = judge(restarted(gate) if restart else gate, NOW, settings, **changes)
    assert (answer.state, answer.blocked) == (DecisionState.DENIED, reason), answer.reasons
    assert answer.reasons[0]


def test_every_circumstance_there_is_has_been_tried() -> None:
    assert len(CONTEXT_CHECKS) == len(BLOCKS)


@pytest.mark.parametrize(("minutes", "frozen"), [(-1, False), (0, True), (4, True), (5, False)])
def test_a_freeze_holds_from_its_time_for_its_minutes(minutes: int, frozen: bool) -> None:
    began = NOW - 20 * SECOND
    answer = judge(GateState(), began + minutes * MINUTE, FROZEN)
    assert (answer.blocked == "frozen") is frozen
    assert judge(GateState(), began, FROZEN, target="bank/x/0").state is DecisionState.APPROVED


def test_what_is_no_cron_expression_is_refused_when_the_settings_are_read() -> None:
    with pytest.raises(msgspec.ValidationError, match="no cron expression"):
        msgspec.convert({"freezes": [{"cron": "every tuesday", "minutes": 5}]}, SafetySettings)


def test_maintenance_ends_at_its_time_and_covers_its_scope_alone() -> None:
    gate = GateState()
    under_maintenance(gate)
    assert judge(gate, NOW, target="shop/cart/0").state is DecisionState.APPROVED
    assert judge(gate, NOW + MINUTE).state is DecisionState.APPROVED


def test_maintenance_is_ended_early_by_who_may_stop_things_alone() -> None:
    gate = GateState()
    under_maintenance(gate)
    end = Setting(name="maintenance/shop/catalog", value="0", ts=NOW, by="ben")
    for setting in (end, sign_setting(msgspec.structs.replace(end, by="vera"), key_of("vera"))):
        with pytest.raises(Refused):
            gate.set(setting, RING, NOW)
    assert judge(gate).blocked == "maintenance"
    gate.set(sign_setting(end, key_of("ben")), RING, NOW)
    assert judge(gate, NOW + 1).state is DecisionState.APPROVED


def test_a_success_ends_a_row_of_failures() -> None:
    gate = GateState()
    failed_on(gate, 3)
    gate.context.see(verdict_on(Effect.REMEDIATED, id="good", decision=decision(proposed=proposal(id="vain0")).id))
    assert judge(gate).state is DecisionState.APPROVED


def test_waiting_doubles_with_each_further_failure() -> None:
    patient = msgspec.structs.replace(SETTINGS, failures=10)
    for count, wait in ((2, 10), (3, 20), (4, 40)):
        gate = GateState()
        failed_on(gate, count, NOW)
        assert judge(gate, NOW + wait * SECOND - 1, patient).blocked == "exponential_backoff"
        assert judge(gate, NOW + wait * SECOND, patient).state is DecisionState.APPROVED


def test_in_a_storm_the_cause_at_the_bottom_may_be_treated() -> None:
    gate = GateState()
    unwell(gate, "gateway", "catalog", "store")
    assert judge(gate, target="shop/store/0", incident="i-store").state is DecisionState.APPROVED
    gate.context.see(incident(id="i-store", entity="shop/store/0", seq=5, state=State.RESOLVED, affected=()))
    assert judge(gate, NOW + 1, incident="i-catalog").state is DecisionState.APPROVED


def test_the_state_of_an_incident_that_comes_late_changes_nothing() -> None:
    gate = GateState()
    gate.context.see(incident(id="i1", seq=4, priority=0))
    gate.context.see(incident(id="i1", seq=2, priority=3))
    assert gate.context.priority(proposal(incident="i1")) == 0


@pytest.mark.parametrize(
    ("age", "state"),
    [(0, DecisionState.APPROVED), (14 * SECOND, DecisionState.APPROVED), (17 * SECOND, DecisionState.PENDING)],
)
def test_i20_nothing_acts_alone_on_stale_telemetry(age: int, state: DecisionState) -> None:
    gate = GateState()
    gate.context.see(incident())
    gate.context.see(sample(CATALOG, NOW - age, SymptomKind.DOWN))
    answer = judge(restarted(gate))
    assert answer.state is state
    assert ("telemetry" in answer.reasons[0]) is (state is DecisionState.PENDING)


@pytest.mark.parametrize(
    ("age", "state"), [(120 * SECOND, DecisionState.APPROVED), (122 * SECOND, DecisionState.PENDING)]
)
def test_i20_telemetry_that_comes_once_a_minute_is_fresh_for_two(age: int, state: DecisionState) -> None:
    gate = GateState()
    gate.context.see(incident())
    gate.context.see(sample(CATALOG, NOW - age, SymptomKind.DOWN, period_ms=60 * SECOND))
    answer = judge(restarted(gate))
    assert answer.state is state
    assert ("older than 120 s" in answer.reasons[0]) is (state is DecisionState.PENDING)


def test_i20_nothing_acts_alone_when_telemetry_of_most_of_what_is_affected_is_missing() -> None:
    gate = GateState()
    gate.context.see(incident(affected=("shop/catalog/0", "shop/cart/0", "shop/orders/0")))
    gate.context.see(sample(CATALOG, NOW, SymptomKind.DOWN))
    assert judge(gate).state is DecisionState.PENDING
    gate.context.see(sample("shop/cart/0", NOW, SymptomKind.DOWN))
    assert judge(gate, NOW + 1, target="shop/cart/0").state is DecisionState.APPROVED


def test_i20_a_proposal_that_rests_on_no_telemetry_at_all_is_asked_about() -> None:
    assert judge(GateState(), incident="").state is DecisionState.PENDING


def test_what_only_waits_makes_room_for_something_more_urgent_and_is_told_to_whom() -> None:
    gate = GateState()
    gate.context.see(incident(id="low", priority=3))
    gate.context.see(incident(id="high", priority=0))
    asking = SafetySettings()
    waiting = judge(gate, NOW, asking, incident="low")
    lost, winner = gate.judge(
        proposal(id="p2", ts=NOW, incident="high", target="shop/catalog"), asking, policies(), NOW
    )
    assert (lost.id, lost.state, lost.blocked) == (waiting.id, DecisionState.DENIED, "lease_held")
    assert winner.id in lost.reasons[-1]
    assert winner.state is DecisionState.PENDING
    assert judge(restarted(gate), NOW + 1, asking, incident="low").blocked == "duplicate_in_progress"


@pytest.mark.parametrize("target", ["shop/catalog/1", "shop/cart/0"])
def test_what_waits_is_withdrawn_when_its_requester_wants_something_else_for_the_same_incident(target: str) -> None:
    gate = GateState()
    gate.context.see(incident(id="one", priority=4))
    asking = SafetySettings(concurrency=1)
    waiting = judge(gate, NOW, asking, incident="one")
    other = proposal(id="p2", ts=NOW, incident="one", target=target, cause="process_hung")
    stale, winner = gate.judge(other, asking, policies(), NOW + 1)
    assert (stale.id, stale.state, stale.blocked) == (waiting.id, DecisionState.DENIED, "superseded")
    assert "process_hung" in stale.reasons[-1]
    assert winner.id in stale.reasons[-1]
    assert winner.state is DecisionState.PENDING
    gate.follow(stale, asking)
    assert [held.decision for held in gate.open.values()] == [winner.id]


@pytest.mark.parametrize("changes", [{"incident": "two"}, {"requester": "ana"}, {"incident": ""}], ids=str)
def test_nobody_else_withdraws_what_waits(changes: dict[str, str]) -> None:
    gate, asking = GateState(), SafetySettings()
    waiting = judge(gate, NOW, asking, incident=changes.get("incident", "one") and "one")
    other = proposal(id="p2", ts=NOW, **{"incident": "one", "target": "shop/cart/0"} | changes)
    assert waiting.id not in [d.id for d in gate.judge(other, asking, policies(), NOW + 1)]


def test_what_has_been_said_yes_to_makes_room_for_nothing() -> None:
    gate = GateState()
    gate.context.see(incident(id="high", priority=0))
    asking = SafetySettings()
    waiting = judge(gate, NOW, asking, incident="low")
    gate.follow(msgspec.structs.replace(waiting, state=DecisionState.APPROVED), asking)
    answer = judge(gate, NOW + 1, asking, incident="high")
    assert (answer.state, answer.blocked) == (DecisionState.DENIED, "duplicate_in_progress")


def test_the_narrowest_scope_chooses_the_mode() -> None:
    scoped = msgspec.structs.replace(SETTINGS, scopes={"shop": Mode.APPROVE, "shop/catalog": Mode.SUGGEST})
    assert judge(GateState(), settings=scoped).blocked == "mode"
    assert judge(GateState(), settings=scoped, target="shop/cart/0").state is DecisionState.PENDING
    assert judge(GateState(), settings=scoped, target="bank/cart/0").state is DecisionState.APPROVED


def test_memory_has_bounds() -> None:
    gate = GateState()
    for number in range(KEPT + 200):
        gate.context.see(incident(id=f"i{number}", entity=f"shop/s{number}/0"))
        gate.context.see(sample(f"shop/s{number}/0", NOW))
        gate.context.see(verdict_on(Effect.INEFFECTIVE, id=f"v{number}", entity=f"shop/s{number}/0"))
    sizes = [len(getattr(gate.context, name)) for name in ("open", "samples", "failed", "judged")]
    assert max(sizes) <= KEPT, sizes


def test_an_actuators_own_word_does_not_end_a_row_of_failures() -> None:
    gate = GateState()
    made = decision(DecisionState.DISPATCHED, proposal(id="p1"))
    gate.context.see(made)
    gate.context.see(verdict_on(Effect.INEFFECTIVE, id="v1", decision=made.id))
    gate.context.see(verdict_on(Effect.REMEDIATED, id="v2", decision=made.id, basis=RESULT))
    assert [failed.count for failed in gate.context.failed.values()] == [1]
    gate.context.see(verdict_on(Effect.REMEDIATED, id="v3", decision=made.id, basis=EXPECTATION))
    assert gate.context.failed == {}


@pytest.mark.parametrize("value", ["999999999999999", "1" + "0" * 30, "²", "", "soon", "-1"])
def test_a_maintenance_whose_end_cannot_be_kept_is_refused_with_its_cause(value: str) -> None:
    gate = GateState()
    with pytest.raises(Refused, match="its end must be a time in ms") as refused:
        gate.set(Setting(name="maintenance/x", value=value, ts=NOW, by="anybody"), RING, NOW)
    assert refused.value.code == "invalid_setting"
    assert restarted(gate).context.maintained == {}


def test_a_maintenance_that_goes_on_is_not_forgotten_for_shorter_ones() -> None:
    gate = GateState()
    gate.context.maintained.most = 3
    for number, until in enumerate([NOW + MINUTE, NOW - 3, NOW - 2, NOW - 1, NOW + SECOND]):
        gate.set(Setting(name=f"maintenance/s{number}", value=str(until), ts=NOW, by="anybody"), RING, NOW)
    assert list(gate.context.maintained) == ["s0", "s3", "s4"]


def test_in_a_storm_no_service_waits_for_one_that_waits_for_it() -> None:
    gate = GateState()
    unwell(gate, "gateway", "catalog", "store")
    gate.context.see(topology(
        ("shop/catalog", "shop/store"), ("shop/store", "shop/catalog"), ("shop/catalog", "shop/catalog"),
        ("shop/gateway", "shop/catalog"),
    ))  # fmt: skip
    assert gate.context.storm("shop", msgspec.structs.replace(SETTINGS, storm_share=0.1)) is False, "three services"
    gate.context.see(topology(
        ("shop/catalog", "shop/store"), ("shop/store", "shop/catalog"), ("shop/gateway", "shop/cart"),
    ))  # fmt: skip
    assert gate.context.storm("shop", SETTINGS)
    assert judge(gate, target="shop/catalog/0", incident="i-catalog").state is DecisionState.APPROVED


def test_a_service_that_calls_itself_is_not_its_own_unwell_caller() -> None:
    gate = GateState()
    gate.context.see(topology(("shop/catalog", "shop/catalog")))
    gate.context.see(incident(symptom=SymptomKind.SURPLUS))
    answer = judge(gate, action="scale_in", target="shop/catalog", incident="i1")
    assert answer.blocked != "capacity_floor", answer.reasons


def test_an_empty_topology_ends_what_was_known_of_a_system() -> None:
    gate = GateState()
    gate.context.see(SHOP)
    assert gate.context.services("shop", SETTINGS)
    gate.context.see(topology())
    assert gate.context.services("shop", SETTINGS) == set()


def test_a_record_of_an_incident_that_is_over_opens_it_no_more() -> None:
    gate = GateState()
    gate.context.see(incident(id="i1", seq=4, state=State.RESOLVED))
    gate.context.see(incident(id="i1", seq=2))
    assert restarted(gate).context.unwell("shop", SETTINGS) == set()
    gate.context.see(incident(id="i1", seq=5))
    assert gate.context.unwell("shop", SETTINGS) == {"shop/catalog"}


def test_what_was_taken_out_of_an_incident_is_not_unwell() -> None:
    gate = GateState()
    gate.context.see(incident(affected=("shop/catalog/0", "shop/cart/0")))
    gate.context.see(incident(affected=("shop/cart/0",), seq=1))
    assert gate.context.unwell("shop", SETTINGS) == {"shop/cart"}
