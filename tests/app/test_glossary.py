"""docs/glossary.md has every value that people read in records."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from models.decision.base import DecisionKind
from models.policy.base import Enforcement, PolicyEffect, PolicyKind
from models.safety import context, limits
from models.safety.modes import TIERS, Mode, tier
from models.safety.roles import Role
from topics.actions import Outcome
from topics.codec import Cause
from topics.decisions import PASSING, DecisionState
from topics.incidents import State, SymptomKind
from topics.learning import Feedback
from topics.signals import AnomalyKind
from topics.verdicts import Effect

PAGE = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text()
RENAMED = (
    "signed command", "label", "audit writer", "proposal", "symptom", "sample", "snapshot store", "topic partition",
    "partition state", "pending restore", "in-flight snapshot", "durable", "revoked", "produce", "commit",
    "stall detector", "suspension detector", "warm up", "detector configuration", "univariate", "entity score",
    "alarm trajectory", "detector set", "entity detectors", "safety context", "failed attempts",
    "violation remediator", "approval tracker", "history",
)  # fmt: skip


def block_reasons() -> Iterator[str]:
    """The first text that each check of the gate returns with its objection, and those that the gate writes itself."""
    for module in (limits, context):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(first := node.elts[0], ast.Constant):
                if isinstance(first.value, str) and isinstance(node.elts[1], ast.JoinedStr | ast.Constant):
                    yield first.value
            elif isinstance(node, ast.keyword) and node.arg == "blocked" and isinstance(node.value, ast.Constant):
                yield node.value.value
    yield from PASSING


VALUES = {
    "state of an incident": set(State),
    "kind of symptom": set(SymptomKind),
    "state of a decision": set(DecisionState),
    "tier": {tier(share / 100) for share in range(101)} | {name for _, name in TIERS},
    "mode": set(Mode),
    "block reason": set(block_reasons()) - {""},
    "effect of an action": set(Effect),
    "outcome of a command": set(get_args(Outcome)),
    "label": set(get_args(Feedback)),
    "value": set(get_args(AnomalyKind)),
    "kind of policy": set(PolicyKind),
    "enforcement": set(Enforcement),
    "what a policy answers": set(PolicyEffect),
    "kind of decision": set(DecisionKind),
    "role": set(Role),
    "cause of a dead letter": set(Cause),
}


def in_table(head: str) -> set[str]:
    """The values in the first column of the table whose first heading this is."""
    table = PAGE.partition(f"\n| {head} |")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.M))


@pytest.mark.parametrize("head", VALUES)
def test_every_value_of_the_code_is_in_its_table_and_no_other(head: str) -> None:
    assert in_table(head) == {str(value) for value in VALUES[head]}


def test_the_block_reasons_are_found_in_the_code() -> None:
    assert len(VALUES["block reason"]) >= 15


@pytest.mark.parametrize("word", RENAMED)
def test_a_concept_has_one_entry(word: str) -> None:
    entries = [name.lower() for name in re.findall(r"\*\*([^*]+)\*\*", PAGE)]
    assert entries.count(word) == 1
