"""The command line: one file a group of commands, each with `register(app)`."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Final

import typer

from app.cli.root import root

GROUPS: Final = (
    "demo", "worker", "collect", "publish", "watch", "incidents", "approvals", "serve", "user", "audit", "topics",
    "kafka", "score", "label", "bench", "doctor", "dead_letters", "replay", "drill", "policy", "decide", "autonomy",
    "status", "config",
)  # fmt: skip


@functools.cache
def build() -> typer.Typer:
    """The whole command line. Modules are imported here and not at start, so that `--help` stays quick."""
    app = typer.Typer(
        name="opsloop", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Autonomous operations on Kafka: observe, detect, diagnose, decide, guard, act, verify, learn.\n\n"
        "Start with [bold]opsloop demo[/bold], then break something: [bold]opsloop break kill:catalog[/bold]",
    )  # fmt: skip
    app.callback()(root)
    for name in GROUPS:
        if importlib.util.find_spec(f"app.cli.{name}") is None:
            continue
        importlib.import_module(f"app.cli.{name}").register(app)
    return app
