"""Options that many commands share, and how they print."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from app.broker import Broker

BrokerOption = Annotated[
    str, typer.Option("--broker", envvar="OPSLOOP_BROKER", help="Address of a Kafka broker, host:port[,host:port]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def broker_of(address: str) -> Broker:
    """The broker that an option names, with the security settings of the environment."""
    return Broker.from_environment(address)


def print_json(value: Any) -> None:
    """One JSON value on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table for a person."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    out.print(table)
