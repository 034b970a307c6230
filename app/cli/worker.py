"""`opsloop worker`: run agents. Start more of them to scale out; nothing else is needed."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import BrokerOption, SiteOption, broker_of
from app.errors import UserError
from app.printing import err

ROLES = {"lane": ("lane",), "loop": ("loop",), "act": ("act",), "all": ("lane", "loop", "act")}


def register(app: typer.Typer) -> None:
    app.command()(worker)


def worker(
    role: Annotated[str, typer.Argument(help="lane: samples to anomalies. loop: anomalies to commands and verdicts. "
                                             "act: runs commands. all: the three in one process")],
    broker: BrokerOption = "",
    site: SiteOption = None,
    metrics_port: Annotated[int, typer.Option(help="Serve Prometheus metrics on this loopback port; 0: do not")] = 0,
    mode: Annotated[str, typer.Option(help="How far: observe, suggest, approve, act_and_report, autonomous")] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more than warnings")] = False,
) -> None:  # fmt: skip
    """Run a worker until it is stopped.

    Example: `opsloop worker loop --broker 127.0.0.1:9092`. Workers of one role share the partitions among them.
    """
    from app.runtime import metrics
    from app.runtime import workers as roles
    from app.settings import load

    if role not in ROLES:
        raise UserError(f"there is no role {role!r}", f"Choose one of {', '.join(ROLES)}")
    wanted = [r for r in ROLES[role] if r != "act" or site is not None or role == "act"]
    roles.configure_logging(verbose)
    if metrics_port:
        metrics.serve(metrics_port)
    try:
        me = roles.Worker(broker_of(broker), load(mode=mode), site)
        roles.run(me, wanted, lambda: err.print(f"worker {role} is ready", style="green"))
    except Exception as error:
        raise roles.explain(error) from error
