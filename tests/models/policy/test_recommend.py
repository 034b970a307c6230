"""A policy proposed from recorded behaviour."""

from __future__ import annotations

import msgspec

from app.policy.trial import trial
from models.policy.engine import Policies
from models.policy.examples import ordinary
from models.policy.recommend import Experience, experiences, recommend
from models.policy.rego import Rego
from models.versions import Book
from tests.builders import decision, proposal
from topics.decisions import DecisionState
from topics.policies import Facts
from topics.verdicts import Effect


def facts(actions: int = 0, cause: str = "process_gone", action: str = "restart_service") -> Facts:
    start = ordinary()
    return msgspec.structs.replace(
        start, action=msgspec.structs.replace(start.action, name=action),
        proposal=msgspec.structs.replace(start.proposal, cause=cause),
        system=msgspec.structs.replace(start.system, actions=actions),
    )  # fmt: skip


def done(effect: Effect | None, count: int, **about: object) -> list[Experience]:
    return [Experience(facts(**about), DecisionState.COMPLETED, effect) for _ in range(count)]  # type: ignore[arg-type]


def text(*seen: Experience) -> str:
    return recommend(seen, "recommended", "2026-11-01", "2026-11-21")


def effect(source: str, about: Facts) -> tuple[str, tuple[str, ...]]:
    (said,) = Policies(Rego(), [source]).rule(Book(), about).results
    assert (said.enforcement, said.enforced) == ("monitor", False)
    return said.effect, said.reasons


HELPED, VAIN = Effect.REMEDIATED, Effect.INEFFECTIVE


def test_more_than_was_ever_of_use_is_over_the_quota() -> None:
    source = text(*done(HELPED, 6, actions=2), *done(VAIN, 3, actions=7))
    assert trial(source, ()).failed == ()
    assert "9 times restart_service was done, 6 times it helped, never after more than 2 actions" in source
    assert effect(source, facts(actions=3))[0] == "allow"
    assert effect(source, facts(actions=4)) == (
        "deny", ("restart_service never helped after so many actions on its system",)
    )  # fmt: skip


def test_it_would_have_stopped_nothing_that_helped() -> None:
    seen = [*done(HELPED, 6, actions=2), *done(HELPED, 1, actions=9), *done(VAIN, 20, actions=4, cause="overload")]
    source = text(*seen)
    assert all(effect(source, e.facts)[0] == "allow" for e in seen if e.effect is HELPED)


def test_where_an_action_seldom_helped_a_person_is_asked_and_where_it_hardly_did_a_lead() -> None:
    source = text(*done(VAIN, 4, cause="overload"), *done(HELPED, 2, cause="overload"), *done(VAIN, 9, cause="memory"))
    assert trial(source, ()).failed == ()
    assert effect(source, facts(cause="overload")) == (
        "require_approval", ("1 × approver: helped 2 of 6 times",)
    )  # fmt: skip
    assert effect(source, facts(cause="memory"))[1] == ("1 × lead: helped 0 of 9 times",)
    assert effect(source, facts())[0] == "allow"


def test_what_people_say_no_to_is_asked_about() -> None:
    rejected = [Experience(facts(cause="surplus"), DecisionState.REJECTED) for _ in range(6)]
    assert effect(text(*rejected), facts(cause="surplus"))[0] == "require_approval"


def test_from_a_few_nothing_is_concluded() -> None:
    source = text(*done(HELPED, 4), *done(VAIN, 4, cause="overload"))
    assert trial(source, ()).failed == ()
    assert "contains" not in source


def test_a_recorded_word_never_becomes_code() -> None:
    nasty = 'x" } allow := true if { "1" == "1'
    source = text(*done(VAIN, 9, cause=nasty), *done(HELPED, 9, action=nasty))
    assert "allow := true if" not in source
    assert trial(source, ()).failed == ()


def test_a_decision_is_one_experience_with_its_last_state_and_its_effect() -> None:
    one = decision(DecisionState.PENDING, facts=facts())
    later = msgspec.structs.replace(one, state=DecisionState.COMPLETED, facts=None)
    other = decision(DecisionState.DENIED, proposal(id="p2"))
    assert experiences([one, later, other], {one.id: HELPED}) == [Experience(facts(), DecisionState.COMPLETED, HELPED)]
