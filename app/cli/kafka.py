"""`opsloop kafka`: a real Kafka on this host, for development and for the demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import JsonOption
from app.errors import UserError
from app.printing import err, escaped, marked, out, print_json, print_table

if TYPE_CHECKING:
    from app.kafka.local import LocalKafka

FolderOption = Annotated[
    Path | None, typer.Option("--folder", help="Where its data and logs are  [default: ~/.opsloop/kafka]")
]

commands = typer.Typer(no_args_is_help=True, help="Start and stop a real Kafka on this host (needs Java 17 and Maven).")


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="kafka")


def _folder(given: Path | None) -> Path:
    from app.settings import home

    return (given or home() / "kafka").resolve()


@commands.command()
def up(
    nodes: Annotated[
        int | None, typer.Option(min=1, max=9, help="How many; 3 survive the loss of one  [default: 1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_000, help="Of the first node; the others follow  [default: 9092]")
    ] = None,
    folder: FolderOption = None,
) -> None:
    """Start Kafka and leave it running. Does nothing when it runs.

    Example: `opsloop kafka up --nodes 3`, then `opsloop topics apply`. The data stays over `down` and `up`; the number
    of nodes and the ports are those of the first start until `opsloop kafka down --delete`.
    """
    from app.kafka.local import VERSION, LocalKafka

    where = _folder(folder)
    kafka = LocalKafka(where, nodes or 1, port or 9092, detached=True)
    have = len(kafka.nodes), kafka.nodes[0].port
    if have != (nodes or have[0], port or have[1]):
        raise UserError(
            f"the Kafka in {where} has {have[0]} nodes from port {have[1]} on",
            "Remove it first with `opsloop kafka down --delete`, or choose another --folder",
        )
    with err.status("starting Kafka") as status:
        bootstrap = kafka.start(lambda doing: status.update(f"Kafka: {doing}"))
    out.print(marked(f"Kafka {VERSION} serves at [bold]{escaped(bootstrap)}[/bold]"))
    _point_at(bootstrap)


def _point_at(bootstrap: str) -> None:
    """Remember where it is for the commands that follow, and say so."""
    import os

    from app.kafka.remembered import remember

    remember(bootstrap)
    if os.environ.get("OPSLOOP_BROKER", bootstrap) == bootstrap:
        out.print("Commands of this user find it by themselves; elsewhere:")
    else:
        out.print("OPSLOOP_BROKER names another one here. To use this one:")
    out.print(f"  export OPSLOOP_BROKER={bootstrap}", soft_wrap=True)


@commands.command()
def down(
    folder: FolderOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove its data too")] = False,
) -> None:
    """Stop the Kafka that `up` started; its data stays unless `--delete`."""
    from app.kafka.remembered import forget

    kafka = _cluster(_folder(folder))
    if kafka is None:
        out.print("no Kafka was started here")
        return
    with err.status("stopping Kafka"):
        kafka.stop()
        if delete:
            forget(kafka.bootstrap)
            kafka.delete()
    out.print("Kafka is stopped" + (" and its data removed" if delete else ""))


@commands.command()
def status(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Say which nodes run. Exit code 1 when one of them does not.

    Example: `opsloop kafka status --json`
    """
    kafka = _cluster(_folder(folder))
    nodes = [] if kafka is None else [(node, node.process()) for node in kafka.nodes]
    rows = [
        {
            "node": node.id,
            "address": node.address,
            "pid": process.pid if process else None,
            "memory_mb": process.memory_info().rss >> 20 if process else 0,
            "state": "running" if process else "down",
        }
        for node, process in nodes
    ]
    if as_json:
        print_json(rows)
    elif rows:
        print_table("Kafka", rows[0], (row.values() for row in rows))
    else:
        out.print("no Kafka was started here. Start one with `opsloop kafka up`")
    if not rows or any(row["state"] == "down" for row in rows):
        raise typer.Exit(1)


def _cluster(folder: Path) -> LocalKafka | None:
    from app.kafka.local import running

    return running(folder)
