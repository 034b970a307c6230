"""`opsloop worker`: run agents. Start more of them to scale out; nothing else is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.options import BrokerOption, broker_of
from app.errors import UserError
from app.printing import err
from app.system import Worker

if TYPE_CHECKING:
    from app.system import Role

ALL: Final = "all"  # roles in one process


def register(app: typer.Typer) -> None:
    app.command()(worker)


def worker(
    role: Annotated[str, typer.Argument(help="lane: samples to anomalies. loop: anomalies to commands and verdicts. "
                                             "act: runs commands. all: the three in one process")],
    broker: BrokerOption = "",
    site: Annotated[Path | None, typer.Option(help="Folder of the supervised processes that `act` commands")] = None,
    metrics_port: Annotated[int, typer.Option(help="Serve Prometheus metrics on this loopback port; 0: do not")] = 0,
    mode: Annotated[str, typer.Option(help="P-3 mode: observe, suggest, approve, act_and_report, autonomous")] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more than warnings")] = False,
) -> None:  # fmt: skip
    """Run a worker until it is stopped.

    Example: `opsloop worker loop --broker 127.0.0.1:9092`. Workers of one role share the partitions among them.
    """
    from app import pipeline

    known = pipeline.roles()
    names = [*(name for name, found in known.items() if not found.joins), ALL]
    if role not in names:
        raise UserError(f"there is no role {role!r}", f"Choose one of {', '.join(names)}")
    from app.runtime import metrics, workers
    from app.runtime.logging import configure_logging
    from app.settings import load

    configure_logging(verbose)
    if metrics_port:
        metrics.serve(metrics_port)
    try:
        me = Worker(broker_of(broker), load(mode=mode), site)
        wanted = chosen(known, role, me)
        workers.run(me, wanted, pipeline.stages, lambda: err.print(f"worker {role} is ready", style="green"))
    except Exception as error:
        raise workers.explain(error) from error


def chosen(known: Mapping[str, Role], name: str, worker: Worker) -> list[Role]:
    """The roles that a worker runs which was asked for `name`: all that are possible, or this one and what joins it."""
    named = [role for role in known.values() if role.name == name or (name == ALL and role.possible(worker))]
    joined = [role for role in known.values() if role.joins in {one.name for one in named} and role.possible(worker)]
    return [*(role for role in named if not role.joins), *joined]
