"""Trust: a tier that breaks its promise is demoted by itself, and autonomy is earned, granted and lost again."""

from __future__ import annotations

import functools
import statistics
from typing import Any

import msgspec
import numpy as np
import pytest

from app.bench.calibration import broken_after
from models.policy.engine import Policies
from models.policy.rego import Rego
from models.safety.limits import GateState, SafetySettings
from models.safety.modes import Mode
from models.safety.signing import Refused, sign_setting
from models.safety.trust import ALPHA, PROMISES, Trust
from tests.builders import NOW, decision, proposal, reread, verdict_on
from tests.keys import RING, key_of
from tests.rules import GRANT, rule
from topics.decisions import Decision, DecisionState
from topics.settings import Setting
from topics.verdicts import Effect

ALONE = SafetySettings(mode=Mode.AUTONOMOUS)
EARNING = SafetySettings(mode=Mode.AUTONOMOUS, earn=True)
CLASS = "shop/restart_service/instance/production"


@functools.cache
def grant_all() -> Policies:
    return Policies(Rego(), [rule(GRANT, "grant", "access")])


def tell(trust: Trust, helped: bool, number: int, **changes: Any) -> None:
    """One action and its verdict."""
    made = decision(DecisionState.DISPATCHED, proposal(id=f"p{number}", **changes))
    effect = Effect.REMEDIATED if helped else Effect.INEFFECTIVE
    for record in (made, verdict_on(effect, decision=made.id), made, verdict_on(effect, decision=made.id)):
        trust.see(record, ALONE, NOW + number)


def ask(trust: Trust, settings: SafetySettings = ALONE, **changes: Any) -> Decision:
    """What the gate says to one more proposal."""
    (answer,) = GateState(trust=trust).judge(proposal(id="next", ts=NOW, **changes), settings, grant_all(), NOW)
    return answer


def say(trust: Trust, name: str, value: str, by: str = "ana", ts: int = NOW + 10_000) -> None:
    setting = Setting(name=f"autonomy/{name}", value=value, ts=ts, by=by)
    trust.set(sign_setting(setting, key_of(by)), RING, ts)


@pytest.mark.parametrize("name", PROMISES)
def test_a_tier_that_keeps_its_promise_is_demoted_in_no_more_than_alpha_of_1000_runs(name: str) -> None:
    rng = np.random.default_rng(1)
    false = sum(broken_after(rng, PROMISES[name], PROMISES[name], 200) > 0 for _ in range(1_000))
    assert false <= ALPHA * 1_000


@pytest.mark.parametrize(("name", "rate", "most"), [("autonomous", 0.5, 20), ("automatic", 0.5, 50), ("lead", 0.3, 45)])
def test_a_broken_tier_is_demoted_within_a_stated_number_of_outcomes(name: str, rate: float, most: int) -> None:
    rng = np.random.default_rng(2)
    found = [broken_after(rng, PROMISES[name], rate, 1_000) for _ in range(200)]
    assert all(found)
    assert statistics.quantiles(found, n=20)[-1] <= most


def test_a_long_good_past_does_not_hide_a_bad_present() -> None:
    rng = np.random.default_rng(3)
    found = [broken_after(rng, 0.95, 0.5, 500, good=200) for _ in range(200)]
    assert statistics.quantiles(found, n=20)[-1] <= 40


def test_a_demoted_tier_asks_a_person_says_so_and_is_restored_by_a_lead() -> None:
    trust = Trust()
    assert ask(trust).state is DecisionState.APPROVED
    for number in range(6):
        tell(trust, False, number)
    answer = ask(trust)
    assert (answer.state, answer.required_role, answer.quorum) == (DecisionState.PENDING, "approver", 1)
    assert answer.reasons[-1] == ("tier autonomous has broken its promise of 0.95 (0 of 6 helped): demoted to person")
    again = reread(trust)
    assert ask(again).reasons == answer.reasons, "it survives a restart"
    say(trust, "shop/autonomous", "granted")
    assert ask(trust).state is DecisionState.PENDING, "the class of action has lost its autonomy as well"
    say(trust, CLASS, "granted")
    assert ask(trust).state is DecisionState.APPROVED


def test_of_a_demoted_tier_of_leads_a_lead_is_asked() -> None:
    trust = Trust()
    for number in range(40):
        tell(trust, False, number, confidence=0.75)
    answer = ask(trust, confidence=0.75)
    assert (answer.state, answer.required_role) == (DecisionState.PENDING, "lead")


def test_another_tier_class_and_system_are_not_touched() -> None:
    trust = Trust()
    for number in range(6):
        tell(trust, False, number)
    assert ask(trust, target="bank/teller/0").state is DecisionState.APPROVED
    assert ask(trust, confidence=0.9, action="scale_out", target="shop/catalog").state is DecisionState.APPROVED


def test_what_was_unsure_from_the_beginning_costs_the_class_nothing() -> None:
    trust = Trust()
    for number in range(40):
        tell(trust, False, number, confidence=0.4)
    (standing,) = trust.standing.values()
    assert (list(trust.standing), standing.count, standing.broken) == (["shop/person"], 40, 0), "counted, no more"


def test_an_outcome_counts_once_however_often_it_is_told() -> None:
    trust = Trust()
    tell(trust, True, 1)
    assert {name: (s.count, s.helped) for name, s in trust.standing.items()} == {
        "shop/autonomous": (1, 1), CLASS: (1, 1),
    }  # fmt: skip


def test_autonomy_is_earned_then_granted_and_only_then_used() -> None:
    trust = Trust()
    assert ask(trust, EARNING).reasons[-1] == f"{CLASS} has not earned to act alone (0 of 0 helped)"
    say(trust, CLASS, "granted", ts=NOW)
    assert ask(trust, EARNING).state is DecisionState.PENDING, "what was not earned cannot be granted"
    say(trust, CLASS, "revoked", ts=NOW + 1)
    for number in range(60):
        tell(trust, True, number)
    told = ask(trust, EARNING)
    assert told.state is DecisionState.PENDING
    assert told.reasons[-1] == f"{CLASS} has earned to act alone (60 of 60 helped), and no lead has granted it yet"
    say(trust, CLASS, "granted", ts=NOW + 60)
    assert ask(trust, EARNING).state is DecisionState.APPROVED
    assert ask(trust, EARNING, target="shop/catalog").state is DecisionState.PENDING, "a service is another class"
    assert ask(trust, msgspec.structs.replace(EARNING, environments={"shop": "staging"})).state is DecisionState.PENDING
    for number in range(100, 130):
        tell(trust, False, number)
    assert ask(trust, EARNING).state is DecisionState.PENDING
    assert not trust.granted(CLASS), "the grant went with it"
    say(trust, CLASS, "granted", ts=NOW + 20)
    assert not trust.granted(CLASS), "a word from before does not bring it back"


def test_only_a_lead_or_an_admin_says_what_acts_alone() -> None:
    trust = Trust()
    with pytest.raises(Refused, match="may not say what acts alone"):
        say(trust, CLASS, "granted", by="ben")
    with pytest.raises(Refused, match="unsigned"):
        trust.set(Setting(name=f"autonomy/{CLASS}", value="granted", ts=NOW, by="ana"), RING, NOW)
    say(trust, CLASS, "granted", by="ada")
    assert trust.granted(CLASS)


def test_an_older_word_does_not_undo_a_newer_one() -> None:
    trust = Trust()
    say(trust, CLASS, "revoked", ts=NOW + 2)
    with pytest.raises(Refused, match="outdated"):
        say(trust, CLASS, "granted", ts=NOW + 1)
    assert not trust.granted(CLASS)


def test_a_withdrawal_counts_although_the_clock_of_who_granted_it_was_fast() -> None:
    trust, minute = Trust(), 60_000
    grant = sign_setting(
        Setting(name=f"autonomy/{CLASS}", value="granted", ts=NOW + 4 * minute, by="ana"), key_of("ana")
    )
    withdrawal = sign_setting(
        Setting(name=f"autonomy/{CLASS}", value="revoked", ts=NOW + minute, by="ada"), key_of("ada")
    )
    trust.set(grant, RING, NOW)
    trust.set(withdrawal, RING, NOW + minute)
    assert not trust.granted(CLASS)
    trust.set(grant, RING, NOW + 2 * minute)
    assert not trust.granted(CLASS), "somebody has sent the old grant again"
    say(trust, CLASS, "granted", ts=NOW + 5 * minute)
    trust.set(withdrawal, RING, NOW + 6 * minute)
    assert trust.granted(CLASS), "a withdrawal that was ended and is read again changes nothing"
    with pytest.raises(Refused, match="clock_ahead"):
        trust.set(grant_at(NOW + 60 * minute), RING, NOW + 6 * minute)


def grant_at(ts: int) -> Setting:
    return sign_setting(Setting(name=f"autonomy/{CLASS}", value="granted", ts=ts, by="ana"), key_of("ana"))


def test_what_people_and_programs_asked_for_without_an_incident_counts_too() -> None:
    trust = Trust()
    tell(trust, True, 1, incident="", requester="robot", confidence=0.9)
    tell(trust, False, 2, incident="", requester="olga", confidence=0.0)
    assert {name: (s.count, s.helped) for name, s in trust.standing.items()} == {
        "shop/automatic": (1, 1), CLASS: (1, 1), "shop/person": (1, 0),
    }  # fmt: skip
