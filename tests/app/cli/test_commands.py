"""The command line: every command is named by its system, and only what is typed is loaded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

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


def commands(of: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below one, with its name as it is typed."""
    for name, command in of.commands.items():
        loaded = command.load() if isinstance(command, cli.Unloaded) else command
        if hasattr(loaded, "commands"):
            yield from commands(loaded, f"{path}{name} ")
        else:
            yield f"{path}{name}", loaded


TYPED = dict(commands(typer.main.get_command(cli.build())))


def is_number(parameter: Any) -> bool:
    """Whether an option takes a number."""
    descriptor = getattr(parameter, "type_descriptor", None)  # `--help` has none
    annotation = descriptor and descriptor.annotation
    return bool({int, float} & {annotation, *get_args(annotation)})


def test_numbers_are_found_among_the_options() -> None:
    found = {(name, p.name) for name, command in TYPED.items() for p in command.params if is_number(p)}
    assert {("worker", "metrics_port"), ("demo", "seconds"), ("policy show", "version")} <= found


@pytest.mark.parametrize("name", TYPED)
def test_a_number_out_of_its_bounds_is_refused_before_the_command_runs(name: str) -> None:
    numbers = [p for p in TYPED[name].params if is_number(p)]
    assert [p.name for p in numbers if p.min is None] == [], "give it min, and max where it has one"
    assert all(p.max <= 65535 for p in numbers if p.name.endswith("port"))


@pytest.mark.parametrize("line", ["serve --port 99999999", "worker loop --metrics-port -1", "demo --for -1"])
def test_a_number_that_cannot_be_is_answered_with_its_option(line: str) -> None:
    done = CliRunner().invoke(cli.build(), line.split())
    assert done.exit_code == 2
    assert f"Invalid value for '{line.split()[-2]}'" in done.output


@pytest.mark.parametrize("name", TYPED)
def test_a_paragraph_of_help_breaks_only_before_an_example_or_an_exit_code(name: str) -> None:
    broken = re.findall(r"[^\n]\n(?!\n)(\w+ ?\w*)", TYPED[name].help or "")
    assert [start for start in broken if not start.startswith(("Example", "Exit code"))] == []


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
