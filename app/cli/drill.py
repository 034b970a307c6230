"""`opsloop drill`: break real workers on a real Kafka, and see what still holds."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import JsonOption
from app.errors import UserError
from app.printing import err, print_json, print_table

if TYPE_CHECKING:
    from app.drills.catalogue import Drill
    from app.drills.report import Report

commands = typer.Typer(no_args_is_help=True, help="Break real workers on purpose, and see what still holds.")


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="drill")


@commands.command("list")
def list_drills(as_json: JsonOption = False) -> None:
    """Every drill: what it breaks, and which invariants of docs/reliability.md it tries.

    Example: `opsloop drill list`
    """
    from app.drills.catalogue import DRILLS

    rows = [
        {"drill": d.name, "invariant": d.invariant, "trials": d.full, "quick": d.quick, "what": d.what}
        for d in DRILLS.values()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table("", rows[0], (row.values() for row in rows))


@commands.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="Drills; all of them when none is named")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few trials each: minutes, not hours")] = False,
    trials: Annotated[int, typer.Option(min=0, help="How often to break something in each; 0: as listed")] = 0,
    minutes: Annotated[int, typer.Option(min=1, help="How long `soak` goes on")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Of all random moments; 0 draws one")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run drills one after another, each on a Kafka of its own. Exit code 1 when something did not hold.

    Examples: `opsloop drill run lane-kill --json` · `opsloop drill run --quick` · `opsloop drill run soak --minutes 10`
    With --json one object a drill. What a failed drill leaves behind (logs of workers and brokers, the topics) is kept,
    and its folder told.
    """
    from app.drills.soak import KILLS_A_MINUTE

    reports = []
    for drill in _chosen(names or [], quick):
        drawn = seed or random.SystemRandom().randrange(1, 10**6)
        count = trials or (quick and drill.quick) or drill.full or minutes * KILLS_A_MINUTE
        err.print(f"· {drill.name}: {drill.what} {count} times, seed {drawn}.")
        report = _run(drill, drawn, count)
        reports.append(report)
        if as_json:
            print_json(report.row())
        for finding in report.findings[:5]:
            err.print(f"  {finding}", style="red", markup=False)
    if not as_json:
        _table(reports)
    if any(report.violations for report in reports):
        raise typer.Exit(1)


def _run(drill: Drill, seed: int, trials: int) -> Report:
    """Run it; once more when a wait ran out, as on a machine that is busy with much else. A broken promise stays."""
    from confluent_kafka import KafkaException

    from app.drills.report import LeftOut, Report

    for attempt in range(2):
        report = Report(drill.name, drill.invariant, seed, figures={"tried_again": 1.0} if attempt else {})
        folder = Path(tempfile.mkdtemp(prefix=f"opsloop-{drill.name}-"))
        waited = False
        try:
            drill.run(folder, report, trials)
        except LeftOut as error:
            report.figures["left_out"] = 1.0
            err.print(f"  left out: {error.message}. {error.remedy}", markup=False)
        except (UserError, KafkaException) as error:
            waited = not report.violations and not attempt
            if waited:
                err.print(f"  again: {error}", markup=False)
            else:
                report.violated(str(error))
        if report.violations or waited:
            err.print(f"  kept: {folder}", markup=False)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        if not waited:
            break
    return report


def _chosen(names: list[str], quick: bool) -> list[Drill]:
    from app.drills.catalogue import DRILLS

    for name in names:
        if name not in DRILLS:
            raise UserError(f"there is no drill {name!r}", f"There are: {', '.join(DRILLS)}")
    if names:
        return [DRILLS[name] for name in names]
    return [drill for drill in DRILLS.values() if (drill.quick if quick else drill.full)]


def _table(reports: list[Report]) -> None:
    columns = ("drill", "invariant", "trials", "violations", "95 % bound", "stall s", "recovery s p50", "max")
    names = ("drill", "invariant", "trials", "violations", "bound95", "stall_s", "recovery_p50_s", "recovery_max_s")
    print_table("", columns, ([report.row()[name] for name in names] for report in reports))
