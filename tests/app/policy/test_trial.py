"""A policy on trial: what is found out before it is signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.errors import UserError
from app.policy.trial import Case, Trial, cases_of, tried
from app.policy.trial import trial as trial_
from models.policy.base import PolicyEffect
from tests.rules import GRANT, rule

STORM = 'default allow := true\nallow := false if input.system.storm\nreasons contains "wait" if not allow'


def trial(source: str, *cases: Case) -> Trial:
    return trial_(source, cases)


def test_a_sound_policy_passes_and_both_of_its_sides_are_seen() -> None:
    found = trial(rule(STORM), Case("storm", {"system": {"storm": True}}, PolicyEffect.DENY, "wait"),
                  Case("calm", {}, PolicyEffect.ALLOW))  # fmt: skip
    assert (found.good, found.policy, found.passed) == (True, "probe", ("storm", "calm"))
    assert found.effects["deny"] > 50
    assert found.effects["allow"] > 50


WRONG = {
    "the text": (rule("allow := nosuch(1)"), [], "nosuch"),
    "another effect": (rule(STORM), [Case("a", {}, PolicyEffect.DENY)], "a: allow"),
    "another reason": (
        rule(STORM),
        [Case("a", {"system": {"storm": True}}, PolicyEffect.DENY, "x")],
        "no reason says 'x'",
    ),
    "input that is none": (rule(STORM), [Case("a", {"sytem": {"storm": True}}, PolicyEffect.DENY)], "no sytem"),
    "a place in it that is none": (
        rule(STORM),
        [Case("a", {"system": {"strom": True}}, PolicyEffect.DENY)],
        "no strom",
    ),
    "a value that is none": (rule(STORM), [Case("a", {"system": {"storm": 1}}, PolicyEffect.DENY)], "bool"),
    "what it does not cover": (
        rule(GRANT, scope="bank"),
        [Case("a", {}, PolicyEffect.ALLOW)],
        "does not cover restart_service on alpha/one/0",
    ),
    "no answer to some input": (rule("allow if input.system.storm"), [], "undefined"),
    "an error for some input": (rule("allow if 10 / input.proposal.attempt > 1"), [], "error"),
}


@pytest.mark.parametrize(("source", "cases", "word"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found_and_said(source: str, cases: list[Case], word: str) -> None:
    found = trial(source, *cases)
    assert not found.good
    assert word in " ".join(found.failed)


def test_a_policy_is_tried_in_another_process_which_may_take_only_so_long() -> None:
    assert tried(rule(STORM), (Case("calm", {}, PolicyEffect.ALLOW),)).passed == ("calm",)
    numbers = ", ".join(map(str, range(60)))
    endless = rule(
        f"ns := [{numbers}]\nallow := count([1 | a := ns[_]; b := ns[_]; c := ns[_]; d := ns[_]; a > d]) > 0"
    )
    assert "does not come to an end" in tried(endless, limit_s=3).failed[0]


def test_the_other_process_knows_the_actions_of_this_one() -> None:
    """Else every input would have an action that nobody knows, and no rule about its risk or cost would be tried."""
    source = rule("default allow := true\nallow := false if not input.action.known")
    case = Case("ordinary", {}, PolicyEffect.ALLOW)
    here, there = trial(source, case), tried(source, (case,))
    assert (there.passed, there.failed) == (("ordinary",), ())
    assert there.effects == here.effects
    assert there.effects["allow"] > 100


def test_worked_examples_stand_beside_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "storm.rego"
    assert cases_of(file) == ()
    beside = tmp_path / "storm_test.json"
    beside.write_text(json.dumps([{"name": "calm", "input": {}, "effect": "allow"}]))
    assert cases_of(file) == (Case("calm", {}, PolicyEffect.ALLOW),)
    beside.write_text('[{"name": "calm", "effect": "maybe"}]')
    with pytest.raises(UserError, match="storm_test"):
        cases_of(file)


def test_the_shipped_policies_pass_their_worked_examples() -> None:
    folder = Path(__file__).parents[3] / "deploy" / "policies"
    files = sorted(folder.glob("*.rego"))
    for file in files:
        found = trial(file.read_text(), *cases_of(file))
        assert (found.failed, len(found.passed) >= 2) == ((), True), file.name
    assert len(files) >= 3
