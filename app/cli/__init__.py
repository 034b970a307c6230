"""The command line: one file a group of commands, each with `register(app)`; systems name the files that are theirs."""

from __future__ import annotations

import functools
import importlib
import re
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from app.pipeline import systems
from app.system import CliCommand


class Unloaded(TyperCommand):
    """A command whose file is imported when it is run; until then it is a line of `opsloop --help`."""

    def __init__(self, command: CliCommand) -> None:
        super().__init__(command.name, help=command.help, add_help_option=False)
        self.file = command.file

    def load(self) -> Any:
        """The command itself."""
        holder = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich")
        importlib.import_module(f"app.cli.{self.file}").register(holder)
        return _with_flowing_help(typer.main.get_group(holder).commands[str(self.name)])


class Commands(TyperGroup):
    """The commands of all systems, in their order."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for command in (command for system in systems() for command in system.commands):
            self.add_command(Unloaded(command))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that `args` begin with, imported, and what is left of them."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Unloaded) else command, rest


@functools.cache
def build() -> typer.Typer:
    """The whole command line. No command is imported yet, so that `--help` stays quick."""
    app = typer.Typer(
        name="opsloop", cls=Commands, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Autonomous operations on Kafka: observe, detect, diagnose, decide, guard, act, verify, learn.\n\n"
        "Start with [bold]opsloop demo[/bold], then break something: [bold]opsloop break kill:catalog[/bold]",
    )  # fmt: skip
    app.callback()(_root)
    return app


def _with_flowing_help(command: Any) -> Any:
    """`command` with each paragraph of its help, and of its subcommands', on one line, which the terminal wraps.

    Typer keeps the line breaks of a docstring after its first paragraph. Examples and exit codes begin a line.
    """
    if command.help:
        command.help = re.sub(r"(?<!\n)\n(?!\n|Example|Exit code)", " ", command.help)
    for child in getattr(command, "commands", {}).values():
        _with_flowing_help(child)
    return command


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"opsloop {version('opsloop')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    """Options before the command's name."""
