"""`opsloop doctor`: what is wrong here, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.printing import out, print_json

if TYPE_CHECKING:
    from app.kafka.broker import Broker
    from app.kafka.doctor import CheckResult

MARKS = {"ok": "[green]ok[/green]    ", "note": "[yellow]note[/yellow]  ", "failed": "[red]failed[/red]"}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(broker: BrokerOption = "", json: JsonOption = False) -> None:
    """Look at this installation and its broker. Exit code 1 when something needs you.

    Example: `opsloop doctor --broker kafka-1:9092`
    """
    from app.kafka.doctor import examine
    from app.settings import load

    findings, where = [], broker_of(broker)
    for finding in chain(examine(where, load().ingest), _standing(where)):
        findings.append(finding)
        if not json:
            out.print(f"{MARKS[finding.state]} {finding.what}: ", end="")
            out.print(finding.detail, markup=False)
            if finding.remedy:
                out.print(f"       {finding.remedy}", markup=False, style="dim")
    if json:
        print_json(findings)
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


def _standing(broker: Broker) -> Iterator[CheckResult]:
    """What stops acting: the kill switch and maintenance, by the topic where it answers, and by this host's file."""
    from app.kafka.broker import probe
    from app.kafka.doctor import CheckResult
    from app.security.standing import Standing, by_file, standing
    from app.settings import home

    try:
        stands = Standing("", by_file(home()), {}) if probe(broker, 2.0) else standing(broker, home())
    except UserError:
        stands = Standing("", by_file(home()), {})  # the missing topic is a finding of its own
    remedy = "An admin turns it off: opsloop kill-switch off"
    yield (
        CheckResult("kill switch", "note", f"on: {stands.killed}", remedy)
        if stands.killed
        else CheckResult("kill switch", "ok", "off")
    )
    for scope, until in sorted(stands.maintenance.items()):
        detail = f"nothing is changed within {scope} until {datetime.fromtimestamp(until / 1000).astimezone():%F %T}"
        yield CheckResult("maintenance", "note", detail, f"End it: opsloop maintenance {scope} --minutes 0")
