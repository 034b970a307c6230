"""What stands before every command: `opsloop --version`."""

from __future__ import annotations

from typing import Annotated

import typer


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"opsloop {version('opsloop')}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    """Options before the command's name."""
