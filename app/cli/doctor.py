"""`opsloop doctor`: what is wrong here, and how to mend it."""

from __future__ import annotations

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.printing import out, print_json

MARKS = {"ok": "[green]ok[/green]    ", "note": "[yellow]note[/yellow]  ", "failed": "[red]failed[/red]"}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(broker: BrokerOption = "", json: JsonOption = False) -> None:
    """Look at this installation and its broker. Exit code 1 when something needs you.

    Example: `opsloop doctor --broker kafka-1:9092`
    """
    from app.kafka.doctor import examine
    from app.settings import load

    findings = []
    for finding in examine(broker_of(broker), load().ingest):
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
