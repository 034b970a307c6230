"""`opsloop worker`: run agents. Start more of them to scale out; nothing else is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.options import BrokerOption, SiteOption, broker_of
from app.errors import UserError
from app.printing import err
from app.system import Worker

if TYPE_CHECKING:
    from app.system import WorkerRole

ALL: Final = "all"  # roles in one process


def register(app: typer.Typer) -> None:
    app.command()(worker)


def worker(
    role: Annotated[str, typer.Argument(help="lane: samples to anomalies. loop: anomalies to commands and verdicts. "
                                             "act: runs commands. all: the three in one process")],
    broker: BrokerOption = "",
    site: SiteOption = None,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Serve Prometheus metrics on this loopback "
                                                                      "port; 0: do not")] = 0,
    mode: Annotated[str, typer.Option(help="How far: observe, suggest, approve, act_and_report, autonomous")] = "",
    only: Annotated[str, typer.Option(help="Of the loop these verbs alone, as decide,gate, in a group of their own: a "
                                           "slow verb holds up no other. Other workers run the rest")] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more than warnings")] = False,
) -> None:  # fmt: skip
    """Run a worker until it is stopped.

    Example: `opsloop worker loop --broker 127.0.0.1:9092`. Workers of one role share the partitions among them.
    """
    from app import pipeline

    known = pipeline.roles()
    names = [*(name for name, found in known.items() if not found.joins), ALL]
    if only and role != "loop":
        raise UserError(
            f"--only chooses verbs of the loop, and the role is {role}", "Type: opsloop worker loop --only decide,gate"
        )
    if role not in names:
        raise UserError(f"there is no role {role!r}", f"Choose one of {', '.join(names)}")
    from app.runtime import metrics, workers
    from app.runtime.logging import configure_logging
    from app.settings import load

    configure_logging(verbose)
    if metrics_port:
        metrics.serve(metrics_port)
    try:
        verbs = tuple(name.strip() for name in only.split(",") if name.strip())
        me = Worker(broker_of(broker), load(mode=mode), site, only=verbs)
        wanted = chosen(known, role, me)
        workers.run(me, wanted, pipeline.stages, lambda: err.print(f"worker {role} is ready", style="green"))
    except Exception as error:
        raise workers.explain(error) from error


def chosen(known: Mapping[str, WorkerRole], name: str, worker: Worker) -> list[WorkerRole]:
    """The roles that a worker runs which was asked for `name`: all that are possible, or this one and what joins it."""
    named = [role for role in known.values() if role.name == name or (name == ALL and role.possible(worker))]
    joined = [role for role in known.values() if role.joins in {one.name for one in named} and role.possible(worker)]
    return [*(role for role in named if not role.joins), *joined]
