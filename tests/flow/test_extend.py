"""docs/extend.md, word by word: its files make a package, its commands are run, and what they print is what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extend.md").read_text()
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```\n", re.S)
COMMAND = re.compile(r"<!-- extend: (\d+) ?(.*?) ?-->\n```console\n(.*?)```\n", re.S)
RECIPES = ("detector", "format", "action", "actuator", "policy")


def install(folder: Path) -> None:
    """What `pip install -e .` leaves behind: the package's name and entry points, where Python looks."""
    project: Mapping[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "opsloop_shop").mkdir()
    (folder / "opsloop_shop" / "__init__.py").touch()
    for name, text in FILE.findall(PAGE):
        (folder / name).write_text(text)
    install(folder)
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200", "PYTEST_ADDOPTS": "-p no:cacheprovider",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False
    )


def test_there_is_a_recipe_for_each_of_five() -> None:
    assert re.findall(r"^## Your first (\w+)$", PAGE, re.M) == list(RECIPES)
    for recipe in RECIPES:
        section = PAGE.partition(f"## Your first {recipe}\n")[2].partition("\n## ")[0]
        assert COMMAND.search(section), recipe


def test_every_block_of_the_page_is_a_file_or_is_run() -> None:
    assert len(re.findall(r"^```\w+$", PAGE, re.M)) == len(FILE.findall(PAGE)) + len(COMMAND.findall(PAGE))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("code", "expected", "command"), COMMAND.findall(PAGE), ids=lambda text: text.split("\n")[0])
def test_a_command_of_the_page_does_what_it_says(code: str, expected: str, command: str, package: Path) -> None:
    done = run(command, package)
    shown = done.stdout + done.stderr
    assert done.returncode == int(code), shown
    words = expected.split() if command == "opsloop check plugins\n" else [expected]
    assert all(word in shown for word in words), shown
    assert "Traceback" not in shown
