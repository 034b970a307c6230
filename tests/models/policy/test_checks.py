"""What a policy may be made of."""

from __future__ import annotations

import pytest

from app.policy.shipped import texts
from models.policy.base import PolicyFault
from models.policy.checks import BUILTINS, LONGEST, bare, check, project
from models.policy.engine import Policies
from models.policy.rego import Rego
from models.versions import Book, Held
from tests.builders import NOW
from tests.models.policy.rego_cases import EXPRESSIONS, UNEQUAL
from tests.rules import rule
from topics.policies import ActionFacts, Facts, ProposalFacts, SystemFacts, TargetFacts, TimeFacts

REFUSED = {
    "the network": 'allow := http.send({"url": "x"}).status_code == 200',
    "the host": "allow := opa.runtime().env.HOME",
    "a clock": "allow := time.now_ns() > 1",
    "other data": "allow := data.opsloop.actions.allow",
    "another input": 'allow if { true with input as {"a": 1} }',
    "an import": "import data.lib\nallow := true",
    "a template string": 'allow := $"{http.send({})}" == ""',
    "a call through an index": 'allow := input.parameters["x"](1)',
    "an unknown function": "allow := nosuch(1)",
    "a built-in that differs": 'allow := concat(",", {"b", "a"}) == "a,b"',
    "a function with the name of a built-in": "walk(x) := x\nallow := walk(true)",
    "a typing error in the input": 'allow := input.actoin.name == "x"',
    "a typing error in a name": "deny_it if input.action.irreversible\nallow if not denyit",
    "input that is not there": "allow := input.action.owner",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_it_is_refused(body: str) -> None:
    with pytest.raises(PolicyFault, match="invalid"):
        check(rule(body))


@pytest.mark.parametrize("body", UNEQUAL.values(), ids=UNEQUAL)
def test_what_the_interpreter_takes_otherwise_than_opa_never_becomes_a_policy(body: str) -> None:
    with pytest.raises(PolicyFault, match="invalid"):
        Policies(Rego()).load(rule(body.replace("input.", "input.parameters.")))


@pytest.mark.parametrize("body", [
    "deny contains m if input.parameters.replicas > 2", 'deny contains "m" if input.parameters["replicas"] >= 2',
    'deny contains "m" if 2 < input.parameters.replicas', 'deny contains "m" if input.time.hour > "5"',
    'deny contains "m" if input.target.id <= 5', 'n := input.parameters.replicas\ndeny contains "m" if n > 2',
    'deny contains "m" if object.get(input.parameters, "replicas", "0") > 3',
    "many(x) if x > 2\nallow if input.parameters.x",
    'deny contains "m" if input.parameters.replicas > input.action.cost', 'deny contains "m" if lower("a") < 3',
    'deny contains "m" if { some n in [1, 2]; input.parameters.replicas > n }', "allow if input.system.storm > 0",
    'deny contains "m" if max([input.parameters.replicas, 3]) == 3',
    "allow if count(input.parameters) > input.parameters.x",
    'deny contains "m" if input.proposal.confidence < "0.5"', 'allow if input.action.cost + 1 > "a"',
])  # fmt: skip
def test_text_and_numbers_are_never_put_in_order(body: str) -> None:
    with pytest.raises(PolicyFault, match=r"text|parameters|truth"):
        check(rule(body.replace("contains m", 'contains "m"')))


@pytest.mark.parametrize("body", [
    'deny contains "m" if to_number(input.parameters.replicas) > 2',
    'deny contains "m" if 2 <= to_number(input.parameters["a"])',
    'n := to_number(input.parameters.replicas)\ndeny contains "m" if n > 2', "allow if 1 + 2 > 1",
    "allow if input.proposal.confidence >= 0.5", 'deny contains "m" if input.parameters.replicas == "9"',
    "many(x) if x > 2\nallow if many(input.action.cost)",
    'allow if input.parameters.since < "2026-01-01"', 'allow if input.time.date >= "2026-01-01"',
    "allow if to_number(input.parameters.a) * 2 > count(input.parameters) - 1", "allow if input.action.cost < -1",
    "limit := 0.5\nallow if input.proposal.confidence > limit", "allow if max([1, 2]) > 1",
])  # fmt: skip
def test_what_is_of_one_type_is_put_in_order(body: str) -> None:
    check(rule(body))


def test_every_builtin_that_is_accepted_is_compared_with_opa() -> None:
    assert set(EXPRESSIONS) == BUILTINS


def test_a_policy_of_any_length_has_an_end() -> None:
    with pytest.raises(PolicyFault, match="longer"):
        check(rule("allow := true\n" + "#" * LONGEST))


def test_comments_and_texts_are_not_code() -> None:
    source = rule('# http.send(data.x)\nreasons contains "with data.x: http.send(1) $" if true\nallow := true')
    assert check(source) == frozenset()
    assert bare('a # "b\n"c # d" `e\n"f`') == 'a  \n"" ""'


def test_it_knows_what_a_policy_looks_at() -> None:
    source = rule('allow if {\n\tinput.action.name == "x"\n\tinput.parameters.replicas\n\tinput.system.storm\n}')
    assert check(source) == {("action", "name"), ("parameters",), ("system", "storm")}
    assert check(rule("allow if count(input) > 1")) == {()}


def test_only_what_it_looks_at_is_shown_to_it() -> None:
    facts = {"action": {"name": "x", "cost": 1}, "parameters": {"a": "1"}, "time": {"ms": 1}}
    assert project(facts, frozenset({("action", "name"), ("parameters",)})) == {
        "action": {"name": "x"}, "parameters": {"a": "1"},
    }  # fmt: skip
    assert project(facts, frozenset({(), ("time", "ms")})) == facts


def test_the_shipped_policies_are_sound() -> None:
    assert len(texts()) >= 3
    for source in texts():
        Policies(Rego()).load(source)


FACTS = Facts(
    ActionFacts("restart_service"), TargetFacts("shop/a", "shop", "shop/a", "service"), {},
    ProposalFacts("decide", 0.9, "lead", "", "", 0, True, 1), TimeFacts(NOW, "2023-11-14", 22, "tuesday"),
    SystemFacts("approve"),
)  # fmt: skip
NEVER = {
    "a dotted path": "allow if input.wish.confidence > 0.9",
    "an index": 'allow if input["wish"].confidence > 0.9',
    "both": 'allow if input["wish"]["confidence"] > 0.9',
    "object.get": 'allow if object.get(input, "wish", {}) == {}',
    "a name for the input": "allow if { given := input; given.wish.confidence > 0.9 }",
    "a name on a line of its own": "allow if {\n\tgiven := input\n\tgiven.wish.confidence > 0.9\n}",
}


@pytest.mark.parametrize("body", NEVER.values(), ids=NEVER)
def test_a_rule_that_could_never_fire_is_refused_with_what_to_write_instead(body: str) -> None:
    with pytest.raises(PolicyFault, match=r"input\.wish is now input\.proposal: write that"):
        check(rule(body))


@pytest.mark.parametrize("body", NEVER.values(), ids=NEVER)
def test_a_policy_that_is_held_and_could_never_fire_denies_what_it_covers(body: str) -> None:
    source = rule(body)
    book = Book(held={"probe": Held(1, NOW, "ada", source)})
    (fault,) = [p for p in Policies(Rego()).active(book) if p.name == "probe"]
    assert isinstance(fault.loaded, PolicyFault)
    said = Policies(Rego(), [rule("default allow := true", name="granted", kind="access")]).rule(book, FACTS)
    assert "input.wish is now input.proposal" in said.denied


@pytest.mark.parametrize(
    "body",
    [
        NEVER["a dotted path"].replace("wish", "proposal"), NEVER["an index"].replace("wish", "proposal"),
        NEVER["a name for the input"].replace("wish", "proposal"), 'allow if input.parameters["wish"] == "x"',
        'allow if object.get(input.parameters, "wish", "") == ""',
        'reasons contains "input.wish" if input.system.storm',
        'allow if { some name in ["wish"]; object.get(input.parameters, name, "") == "" }',
    ],
)  # fmt: skip
def test_what_is_there_is_accepted_however_it_is_written(body: str) -> None:
    assert check(rule(body))
