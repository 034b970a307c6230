"""What a metric, an action or a service is called stands in packs, never in what decides."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.demo.plan import CALLS
from app.shipped import actions, packs
from models.knowledge.knowledge import patterns
from topics.selectors import parts

ROOT = Path(__file__).parents[3]
# by name alone it is known what a series of this unit may be like before it has shown itself
ABOUT_UNITS = ROOT / "models" / "detection" / "prior.py"
FILES = [f for folder in ("models", "agents") for f in sorted((ROOT / folder).rglob("*.py")) if f != ABOUT_UNITS]


def names() -> set[str]:
    """Names of metrics, causes and actions in the packs that could not be an ordinary word, and all services."""
    known = [packs().load(text) for text in packs().shipped.values()]
    found = {parts(pattern).name.rstrip(".*") for pack in known for _, pattern in patterns(pack)}
    found |= {signal.name for pack in known for signal in pack.signals}
    found |= {cause.name for pack in known for cause in pack.causes}
    found |= {action.name for action in actions()} | {cure.action for pack in known for cure in pack.cures}
    return {name for name in found if "." in name or "_" in name} | set(CALLS)


def strings(file: Path) -> Iterator[str]:
    """The string constants of a file, without its docstrings."""
    tree = ast.parse(file.read_text())
    bodies = (n.body for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef))
    docs = {id(b[0].value) for b in bodies if b and isinstance(b[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_the_packs_have_names_to_look_for() -> None:
    assert {"http.server.error_ratio", "restart_service", "process_gone", "catalog"} <= names()


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_name_of_a_pack_stands_in_what_decides(file: Path) -> None:
    words = {word for text in strings(file) for word in text.replace("→", " ").replace("/", " ").split()}
    assert sorted(words & names()) == []
