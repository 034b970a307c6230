"""The command line: every command is named by its system, and only what is typed is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from app import cli
from app.pipeline import systems

COMMANDS = {command.name: command for system in systems() for command in system.commands}
FILES = {file.stem for file in Path(cli.__file__).parent.glob("[!_]*.py") if "def register(" in file.read_text()}
HEAVY = {"numpy", "numba", "faust", "river", "scipy", "confluent_kafka", "structlog", "aiokafka", "fastapi", "uvloop"}


def registered(file: str) -> set[str]:
    """The names that a file adds to the command line."""
    holder = typer.Typer()
    import_module(f"app.cli.{file}").register(holder)
    return set(typer.main.get_group(holder).commands)


@pytest.mark.parametrize("file", sorted(FILES))
def test_every_command_of_a_file_is_named_by_a_system(file: str) -> None:
    assert registered(file) == {command.name for command in COMMANDS.values() if command.file == file}


def test_no_command_is_named_twice() -> None:
    names = Counter(command.name for system in systems() for command in system.commands)
    assert set(names.values()) == {1}


def test_help_lists_every_command_with_a_line() -> None:
    said = CliRunner().invoke(cli.build(), ["--help"], env={"COLUMNS": "200"}).stdout
    for command in COMMANDS.values():
        assert command.help.endswith(".")
        assert any(command.name in line and command.help[:40] in line for line in said.splitlines()), command.name


@pytest.mark.parametrize("line", ["drill --help", "drill list --help", "policy test --help", "worker --help"])
def test_a_command_is_loaded_with_its_own_help_and_its_subcommands(line: str) -> None:
    done = CliRunner().invoke(cli.build(), line.split())
    assert done.exit_code == 0, done.output
    assert f"opsloop {line.removesuffix(' --help')}" in done.stdout.replace("root", "opsloop")


def test_a_word_that_is_nearly_a_command_is_answered_with_it() -> None:
    done = CliRunner().invoke(cli.build(), ["drll"])
    assert done.exit_code == 2
    assert "Did you mean 'drill'" in done.output


LOADED = """
import json, sys
from app.__main__ import main
sys.argv = ["opsloop", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code or 0
sys.stderr.write("\\n" + json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


def loaded(tmp_path: Path, *line: str) -> set[str]:
    """The modules that a process has imported when it has carried out a command."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *line], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=True
    )
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["code"] == 0, done.stderr
    return set(told["modules"])


def test_help_loads_no_command_and_nothing_heavy(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "--help")
    assert not modules & HEAVY
    assert {name for name in modules if name.startswith("app.cli.")} <= {"app.cli.root"}
    assert "app.settings" not in modules


@pytest.mark.parametrize("line", ["drill list", "topics list", "user list", "keys", "drill --help", "bench --help"])
def test_what_needs_no_broker_loads_nothing_that_talks_to_one(tmp_path: Path, line: str) -> None:
    modules = loaded(tmp_path, *line.split())
    assert not modules & HEAVY
    own = {name.removeprefix("app.cli.") for name in modules if name.startswith("app.cli.")}
    assert own <= {line.split()[0], "options", "root", "user"}, "one command loads no other"


def test_the_list_of_drills_does_not_load_what_they_break(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "drill", "list")
    assert {name for name in modules if name.startswith("app.drills.")} <= {"app.drills.catalogue", "app.drills.wiring"}
