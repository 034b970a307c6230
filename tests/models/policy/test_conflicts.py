"""Policies that contradict each other, with the input on which they do."""

from __future__ import annotations

import pytest

from app.policy.shipped import texts
from models.policy.conflicts import Conflict, conflicts
from models.policy.engine import Policies, answers
from models.policy.examples import ordinary
from models.policy.rego import Rego
from models.versions import Book
from tests.rules import GRANT, rule
from topics.policies import Facts


def found(*sources: str, recorded: tuple[tuple[str, Facts], ...] = (), count: int = 400) -> list[Conflict]:
    return conflicts(Policies(Rego(), sources).active(Book()), sources, recorded, count)


def night(hours: str, name: str, kind: str = "operational") -> str:
    return rule(f"default allow := true\nallow := false if {hours}", name=name, kind=kind)


def test_the_shipped_policies_do_not_contradict_each_other() -> None:
    assert found(*texts(), count=2_000) == []


def test_two_of_one_type_that_say_otherwise_about_an_input_are_found_with_it() -> None:
    early, late = night("input.time.hour < 6", "early"), night("input.time.hour < 7", "late")
    (conflict,) = found(early, late)
    assert (conflict.kind, conflict.policies) == ("allow_deny", ("early", "late"))
    assert conflict.witness is not None
    assert conflict.witness.time.hour == 6
    active = Policies(Rego(), [early, late]).active(Book())
    assert [r.effect for r, _ in answers(active, conflict.witness)] == ["allow", "deny"], "the witness holds"
    assert 0 < conflict.inputs < conflict.shared == 400


def test_that_a_policy_of_another_type_restricts_is_no_contradiction() -> None:
    assert found(rule(name="access", kind="access"), night("input.time.hour < 7", "late")) == []


def test_votes_for_what_another_denies_are_of_no_use() -> None:
    votes = rule(f'{GRANT}\nrequire_approval contains {{"role": "lead"}} if input.action.name == "scale_in"',
                 name="votes", kind="compliance")  # fmt: skip
    no = night('input.action.name == "scale_in"\nreasons contains "never" if not allow', "no")
    (conflict,) = found(no, votes)
    assert (conflict.kind, conflict.says) == ("ask_deny", ("deny (never)", "require_approval (1 × lead: )"))
    assert conflict.witness is not None
    assert conflict.witness.action.name == "scale_in"


def test_two_values_for_one_parameter_are_a_contradiction_and_equal_ones_are_not() -> None:
    def sets(value: int, name: str) -> str:
        return rule(f'{GRANT}\ndegrade contains {{"parameters": {{"replicas": "{value}"}}}}', name=name, kind="cost")

    assert [c.kind for c in found(sets(1, "one"), sets(2, "two"))] == ["parameters"]
    assert found(sets(1, "one"), sets(1, "two")) == []


def test_a_rare_place_is_found_because_the_texts_speak_of_it() -> None:
    one = rule('default allow := true\nallow := false if input.parameters.replicas == "17"', name="one", kind="cost")
    other = rule(name="other", kind="cost", scope="moon/base", actions=["scale_out"])
    (conflict,) = found(one, other)
    assert conflict.witness is not None
    assert conflict.witness.parameters["replicas"] == "17"
    assert conflict.witness.target.id.startswith("moon/base")


def test_a_recorded_input_is_the_witness_where_there_is_one() -> None:
    (conflict,) = found(
        night("input.time.hour < 12", "early"), rule(name="late"), recorded=(("d1", ordinary()),), count=100
    )
    assert (conflict.recorded, conflict.witness) == ("d1", ordinary())


def test_what_is_not_enforced_contradicts_nothing() -> None:
    quiet = rule("default allow := false", name="quiet", enforcement="monitor")
    assert found(quiet, rule(name="loud")) == []


@pytest.mark.parametrize(
    ("wide", "narrow", "why"),
    [
        ({}, {"scope": "shop"}, "not overridable"),
        ({"overridable": True, "kind": "cost"}, {"scope": "shop"}, "another type"),
        ({"overridable": True, "scope": "shop"}, {"scope": "shop"}, "not the wider one"),
        ({"name": "else"}, {"scope": "shop"}, "no such policy"),
        ({"overridable": True}, {"scope": "shop"}, ""),
    ],
)
def test_an_override_that_has_no_effect_is_told(wide: dict[str, object], narrow: dict[str, object], why: str) -> None:
    sources = rule(**{"name": "wide", **wide}), rule(name="narrow", overrides="wide", **narrow)  # type: ignore[arg-type]
    told = [c.says[1] for c in found(*sources, count=0)]
    assert (why in told[0]) if why else told == []
