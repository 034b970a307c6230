"""`opsloop drill`: break real workers on a real Kafka, and see what still holds."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from app.cli.options import JsonOption
from app.errors import UserError
from app.printing import err, print_json, print_table
from app.runtime.parent import FOLLOW

if TYPE_CHECKING:
    from app.drills.catalogue import Drill
    from app.drills.report import Report

PROGRESS_S: Final = 60.0
LIMIT_S: Final = 2_700.0  # of one drill among others, which take a few minutes
Row = dict[str, Any]  # a report as JSON


class PlannedDrill(NamedTuple):
    """A drill that is to be run."""

    drill: Drill
    seed: int
    trials: int


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
    at_once: Annotated[int, typer.Option(min=1, help="So many drills side by side, each a process of its own")] = 1,
    out: Annotated[Path | None, typer.Option(help="File that gets one JSON object a drill as each ends")] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Run drills, each on a Kafka of its own. Exit code 1 when something did not hold.

    Examples: `opsloop drill run lane-kill --json` · `opsloop drill run --quick` · `opsloop drill run soak --minutes 10`
    With --json one object a drill. What a failed drill leaves behind (logs of workers and brokers, the topics) is kept,
    and its folder told.
    """
    from app.drills.catalogue import KILLS_A_MINUTE
    from app.ingest.warm_up import warm_up

    chosen = _chosen(names or [], quick)
    orders = [
        PlannedDrill(
            drill,
            seed or random.SystemRandom().randrange(1, 10**6),
            trials or (quick and drill.quick) or drill.full or minutes * KILLS_A_MINUTE,
        )
        for drill in chosen
    ]
    rows: dict[str, Row] = {}
    with _opened(out) as file:
        warm_up()  # kernels that are new are compiled here once, and not by eight workers that start at once
        for row in _rows(orders, at_once):
            rows[str(row["drill"])] = row
            if file:
                file.write(json.dumps(row) + "\n")
                file.flush()
            if as_json:
                print_json(row)
            found = f"{row['violations']} violations in {row['trials']} trials"
            if len(orders) > 1:
                _tell(f"{row['drill']} has ended, {len(rows)} of {len(orders)}: {found}, {row['took_s']:g} s")
    if not as_json:
        _table([rows[drill.name] for drill in chosen])
    if any(row["violations"] for row in rows.values()):
        raise typer.Exit(1)


@commands.command()
def table(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Written by `opsloop drill run --out FILE`")
    ],
) -> None:
    """The table of a run, from the file that it has left.

    Example: `opsloop drill table drills.jsonl`
    """
    try:
        _table([json.loads(line) for line in file.read_text().splitlines()])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} holds no reports of drills", "Write one with opsloop drill run --out FILE") from None


@contextmanager
def _opened(out: Path | None) -> Iterator[IO[str] | None]:
    if out is None:
        yield None
        return
    try:
        file = out.open("w")
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror})", "Choose another --out") from None
    with file:
        yield file


def _rows(orders: list[PlannedDrill], at_once: int) -> Iterator[Row]:
    """What came of each as it ends. Several are processes of their own: what breaks one of them off breaks no other."""
    if len(orders) == 1:
        yield _run(*orders[0]).row()
        return
    pool = ThreadPoolExecutor(at_once)
    try:  # the longest first, so that none is left alone at the end
        going = [pool.submit(_apart, order) for order in sorted(orders, key=lambda order: -order.trials)]
        for done in as_completed(going):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _apart(order: PlannedDrill) -> Row:
    """Run one in a process of its own, whose words pass through."""
    drill, seed, trials = order
    arguments = ["drill", "run", drill.name, "--seed", str(seed), "--trials", str(trials), "--json"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "app", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
            env={**os.environ, FOLLOW: str(os.getpid())}, timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _broken(order, f"it has not ended within {LIMIT_S:g} s")
    with contextlib.suppress(json.JSONDecodeError, IndexError):
        row: Row = json.loads(done.stdout.splitlines()[-1])
        return row
    return _broken(order, f"it broke off with exit code {done.returncode}")


def _broken(order: PlannedDrill, words: str) -> Row:
    from app.drills.report import Report

    report = Report(order.drill.name, order.drill.invariant, order.seed)
    report.add_violation(words)
    return report.row()


def _run(drill: Drill, seed: int, trials: int) -> Report:
    """Run it; once more when a wait ran out, as on a machine that is busy with much else. A broken promise stays."""
    from confluent_kafka import KafkaException

    from app.drills.report import LeftOut, Report

    _tell(f"{drill.name}: {drill.what} {trials} times, seed {seed}.")
    began = time.monotonic()
    for attempt in range(2):
        report = Report(drill.name, drill.invariant, seed, figures={"tried_again": 1.0} if attempt else {})
        folder = Path(tempfile.mkdtemp(prefix=f"opsloop-{drill.name}-"))
        waited = False
        try:
            with _telling(report, trials):
                drill.run(folder, report, trials)
        except LeftOut as error:
            report.figures["left_out"] = 1.0
            _tell(f"{drill.name} is left out: {error.message}. {error.remedy}")
        except (UserError, KafkaException) as error:
            waited = not report.violations and not attempt
            if waited:
                _tell(f"{drill.name} again: {error}")
            else:
                report.add_violation(str(error))
        if report.violations or waited:
            _tell(f"{drill.name} has left {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        if not waited:
            break
    report.took_s = time.monotonic() - began
    for finding in report.findings[:5]:
        _tell(f"{drill.name}: {finding}", "red")
    return report


@contextmanager
def _telling(report: Report, trials: int) -> Iterator[None]:
    """Say now and then how far it is."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(PROGRESS_S):
            _tell(f"{report.drill}: {report.trials} of {trials}")

    threading.Thread(target=tell, name="progress", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _tell(words: str, style: str | None = None) -> None:
    err.print(f"· {words}", style=style, markup=False, soft_wrap=True)


def _chosen(names: list[str], quick: bool) -> list[Drill]:
    from app.drills.catalogue import DRILLS

    for name in names:
        if name not in DRILLS:
            raise UserError(f"there is no drill {name!r}", f"There are: {', '.join(DRILLS)}")
    if names:
        return [DRILLS[name] for name in names]
    return [drill for drill in DRILLS.values() if (drill.quick if quick else drill.full)]


def _table(rows: list[Row]) -> None:
    columns = ("drill", "invariant", "trials", "violations", "95 %", "stall s", "recovery s")
    names = ("drill", "invariant", "trials", "violations", "bound95", "stall_s")
    print_table("", columns, ([*(row[name] for name in names), _recovery(row)] for row in rows))


def _recovery(row: Row) -> str:
    """The median and the longest."""
    return f"{row['recovery_p50_s']:.1f}/{row['recovery_max_s']:.1f}" if row["recovery_max_s"] is not None else ""
