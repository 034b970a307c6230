"""Two inputs with the same question have the same answer."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable

import msgspec
import pytest

from app.policy.shipped import texts
from models.policy.base import PolicyFault
from models.policy.checks import check
from models.policy.engine import Policies
from models.policy.examples import examples, ordinary, taste_of
from models.policy.question import question
from models.policy.rego import Rego
from tests.rules import rule
from topics.policies import Facts

BODIES = {
    "one threshold": "default allow := false\nallow if input.proposal.confidence < 0.8",
    "all relations": "\n".join(
        f"a{i} if input.system.actions {op} {i}" for i, op in enumerate(("<", "<=", ">", ">=", "==", "!="))
    ) + "\nallow := [a | a := 1; a0] == []",
    "in a body": "default allow := true\nallow := false if {\n\tinput.system.storm\n"
                 "\tinput.proposal.confidence >= 0.7\n"
                 "\tinput.time.hour < 9; input.proposal.priority != 2\n}",
    "negated": "default allow := true\nallow := false if not input.proposal.attempt > 1",
    "compared and shown": 'default allow := false\nallow if input.proposal.attempt < 3\n'
                          'reasons contains sprintf("%d attempts", [input.proposal.attempt]) if not allow',
    "the constant first": "default allow := false\nallow if 3 > input.proposal.attempt",
    "more arithmetic": "default allow := false\nallow if input.system.unwell * 2 < input.system.services",
    "arithmetic on the next line": "default allow := false\nallow if {\n\tx := 5 -\n\t\tinput.system.actions\n"
                                   "\tx > 2\n}",
    "arithmetic behind it": "default allow := false\nallow if {\n\tinput.system.actions < 3 + input.system.failures\n}",
    "arithmetic behind the line": "default allow := false\nallow if {\n\tinput.system.actions < 3\n"
                                  "\t\t+ input.system.failures\n}",
    "kept in a name": "default allow := false\nallow if {\n\tn := input.system.actions\n\tn < 3\n}",
    "as an index": 'default allow := false\nallow if ["a", "b", "c"][input.system.failures] == "b"',
    "the whole": "default allow := false\nallow if {\n\ts := input.system\n\ts.actions < 3\n}",
    "everything": "default allow := false\nallow if count(input) > 3",
    "by a text": 'default allow := false\nallow if input["system"].actions < 3',
    "parameters": 'default allow := true\nallow := false if to_number(input.parameters.replicas) > 2',
    "a negative constant": "default allow := true\nallow := false if {\n\tinput.action.cost < -0.5\n}",
    "compared and more": "default allow := false\nallow if {\n\tinput.system.actions > 1\n"
                         "\tinput.system.actions % 2 == 0\n}",
    "in a set": "default allow := false\nallow if input.proposal.attempt in {1, 2}",
    "in a comprehension": "default allow := false\nallow if count([1 | input.system.actions > 2]) == 1",
}  # fmt: skip
SOURCES = {name: rule(body) for name, body in BODIES.items()} | {f"shipped {i}": t for i, t in enumerate(texts())}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_inputs_of_the_same_question_have_the_same_answer(source: str) -> None:
    loaded = Policies(Rego()).load(source)
    answers: dict[Hashable, set[str]] = defaultdict(set)
    for facts in itertools.chain(examples(200, taste_of([source])), near()):
        try:
            said = repr(loaded.ask(facts))
        except PolicyFault as fault:
            said = fault.code
        answers[loaded.question(facts)].add(said)
    assert all(len(said) == 1 for said in answers.values())
    assert len(answers) > 1 or len({next(iter(said)) for said in answers.values()}) == 1


def near() -> list[Facts]:
    """An ordinary input with every count from 0 to 6 in two places at once."""
    start = ordinary()
    return [
        msgspec.structs.replace(
            start, proposal=msgspec.structs.replace(start.proposal, attempt=a, confidence=a / 10),
            system=msgspec.structs.replace(start.system, actions=a, failures=b, unwell=a, services=2 * b),
            time=msgspec.structs.replace(start.time, hour=a + b + 3),
            parameters={"replicas": str(b)},
        )
        for a, b in itertools.product(range(7), range(4))
    ]  # fmt: skip


def questions(body: str) -> int:
    """How many different questions the inputs around an ordinary one come to."""
    source = rule(body)
    ask = question(source, check(source))
    return len({ask(facts) for facts in near()})


def test_a_number_that_is_only_compared_makes_a_question_of_each_side_alone() -> None:
    assert questions(BODIES["one threshold"]) == 1, "all of them are below 0.8"
    assert questions("default allow := false\nallow if input.proposal.attempt < 3") == 3  # below, at, above
    assert questions(BODIES["compared and shown"]) == 7
    assert questions(BODIES["more arithmetic"]) == 28


def test_no_number_is_nowhere() -> None:
    source = rule(BODIES["one threshold"])
    ask = question(source, check(source))
    start = ordinary()
    strange = msgspec.structs.replace(start, proposal=msgspec.structs.replace(start.proposal, confidence=float("nan")))
    assert ask(strange) != ask(start)
    assert ask(strange) != ask(strange)
