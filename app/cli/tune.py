"""`opsloop tune`: what each budget would have told on one's own history, and the settings that follow from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of, window
from app.errors import UserError
from app.printing import err, escaped, marked, out, print_json, print_table

if TYPE_CHECKING:
    from rich.progress import Progress

    from app.offline.tuning.figures import Noise
    from app.offline.tuning.histories import History
    from app.offline.tuning.tune import Tuning

BUDGETS = "0.1,0.25,0.5,1,2,5"
NOISY = 5  # rows of a table


def register(app: typer.Typer) -> None:
    app.command()(tune)


def tune(
    recordings: Annotated[
        list[Path] | None, typer.Argument(help=".npz, .csv, .csv.gz or .parquet, or folders of them")
    ] = None,
    start: Annotated[str, typer.Option("--from", help="Telemetry that arrived from here on: ISO 8601 or epoch")] = "",
    end: Annotated[str, typer.Option("--to", help="And before here; now when it is left out")] = "",
    settings: Annotated[Path | None, typer.Option(help="Settings whose patterns are kept; yours when left out")] = None,
    budgets: Annotated[str, typer.Option(help="Tried beside yours, in false alarms a week and entity")] = BUDGETS,
    alarms_a_week: Annotated[
        float | None,
        typer.Option(min=0, help="So many told alarms a week and entity at most, when no faults are known"),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="Known faults: CSV (entity,start,end) or JSON lines; the best F1 decides")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", file_okay=False, help="Write tune.html and detection.toml here")
    ] = None,
    broker: BrokerOption = "", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Show what each budget would have told on your own history, and write the settings that follow.

    The live detector runs over recordings, or over the telemetry on a broker, once for each budget, from nothing.
    Nothing is written to the broker. Patterns for what is noisy are tried too, and suggested when they tell less.

    Examples: `opsloop tune --from 2026-11-14 --to 2026-11-21 --out tuned` · `opsloop tune recordings/ --faults
    faults.csv`.
    """
    from app.offline.tuning.figures import faults_in
    from app.offline.tuning.tune import Wanted
    from app.offline.tuning.tune import tune as tried
    from app.settings import load as settings_of

    tries = _budgets(budgets)
    known = tuple(faults_in(faults)) if faults else ()
    wanted = Wanted(tries, settings_of(settings).detection, alarms_a_week, known)
    history = _history(recordings or [], start, end, broker)
    with _progress() as shown:
        tuning = tried(history, wanted, _teller(shown))
    files = _write(tuning, folder) if folder else []
    if as_json:
        print_json(_object(tuning, files))
        return
    _print(tuning)
    for file in files:
        err.print(f"written: {file}")
    if not files:
        out.print()
        out.print(tuning.toml, end="", markup=False, soft_wrap=True)


def _budgets(text: str) -> tuple[float, ...]:
    """The budgets of a list, in ascending order. Raises UserError."""
    try:
        found = sorted({float(each) for each in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < each <= 1_000 for each in found):
        raise UserError(f"--budgets {text!r} is no list of numbers above 0, up to 1000", f"Write --budgets {BUDGETS}")
    return tuple(found)


def _history(recordings: list[Path], start: str, end: str, broker: str) -> History:
    """What the arguments name. Raises UserError."""
    from app.offline.tuning.histories import Recordings, Telemetry

    if recordings:
        if start or end:
            raise UserError("--from and --to are for the telemetry of a broker", "Give them, or recordings, not both")
        return Recordings(recordings)
    if not (start or end):
        raise UserError("there is no history to tune on", "Give recordings, or --from and --to for that of the broker")
    first, last = window(start, end)
    if first >= last:
        raise UserError("--from is not before --to", "Swap them, or leave --to out for now")
    from app.kafka.broker import require

    where = broker_of(broker)
    require(where)
    return Telemetry(where, first, last)


def _progress() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def _teller(shown: Progress) -> Callable[[str], Callable[[int, int], None]]:
    def begin(what: str) -> Callable[[int, int], None]:
        task = shown.add_task(f"trying {what}", total=None)
        return lambda done, whole: shown.update(task, completed=done, total=whole)

    return begin


def _write(tuning: Tuning, folder: Path) -> list[Path]:
    from app.offline.tuning.page import page

    html, toml = folder / "tune.html", folder / "detection.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        html.write_text(page(tuning), encoding="utf-8")
        toml.write_text(tuning.toml, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror})", "Name another folder with --out") from None
    return [html, toml]


def _object(tuning: Tuning, files: list[Path]) -> dict[str, Any]:
    backtest = tuning.backtest
    return {
        "samples": backtest.samples, "entities": len(backtest.spans), "refused": backtest.refused,
        "from": backtest.first, "to": backtest.last, "faults": len(tuning.faults), "faults_unseen": tuning.unseen,
        "budgets": tuning.rows, "yours": tuning.own, "recommended": tuning.recommended.budget, "why": tuning.why,
        "noisiest_entities": tuning.entities[:NOISY], "noisiest_metrics": tuning.metrics[:NOISY],
        "suggestions": [
            {"entities": p.pattern.entities, "metrics": p.pattern.metrics, "pattern": _said(p.pattern),
             "why": p.why, "sure": p.sure, "told": each.told, "told_before": each.before, "caught": each.caught,
             "figures": each.row}
            for each in tuning.suggestions for p in (each.suggestion,)
        ],
        "with_suggestions": tuning.together, "toml": tuning.toml, "out": [str(file) for file in files],
    }  # fmt: skip


def _said(pattern: Any) -> dict[str, Any]:
    import msgspec

    values = msgspec.to_builtins(pattern)
    return {k: v for k, v in values.items() if v is not None and k not in ("entities", "metrics")}


def _print(tuning: Tuning) -> None:
    from app.offline.tuning.figures import SHORT_WEEKS, told_of, weeks
    from app.offline.tuning.page import cells, parts, tried_rows, when
    from app.offline.tuning.plot import WIDTH, bars, counts

    backtest, best = tuning.backtest, tuning.recommended
    whole = weeks(backtest)
    entities = "1 entity" if len(backtest.spans) == 1 else f"{len(backtest.spans):,} entities"
    out.print(f"{backtest.samples:,} samples of {entities}, {when(backtest.first)} to {when(backtest.last)} "
              f"UTC, {whole:.2g} weeks of all together")  # fmt: skip
    if backtest.refused:
        err.print(f"messages that could not be read: {backtest.refused:,}", style="yellow")
    if tuning.unseen:
        err.print(f"known faults of which nothing was measured: {tuning.unseen:,}", style="yellow")
    if whole < SHORT_WEEKS:
        err.print("less than a week of all entities together: the rates a week say little", style="yellow")
    named = tried_rows(tuning)
    patterns = " and pattern" if len(named) > len(tuning.rows) else ""
    rows = [(name, *cells(row).values()) for name, row in named]
    print_table(f"What each budget{patterns} would have told", ("budget", *cells(best)), rows)
    out.print()
    rows = [(name, *parts(row).values()) for name, row in named]
    false = ", and what of it was false" if tuning.faults else ""
    print_table(f"The same by path{false}, and by grade", ("budget", *parts(best)), rows)
    out.print()
    numbers = [counts(told_of(alarms), backtest.first, backtest.last) for alarms in backtest.alarms]
    top = max(1, *(max(own) for own in numbers))
    lines = [(f"{row.budget:g}", bars(own, top), row.told) for row, own in zip(tuning.rows, numbers, strict=True)]
    print_table(
        "Alarms over time", ("budget", f"{when(backtest.first):<{WIDTH - 16}}{when(backtest.last)}", "told"), lines
    )
    if tuning.entities:
        _print_noisy(tuning)
    out.print(marked(f"\nRecommended: [bold]false_alarms_a_week = {best.budget:g}[/bold]: {escaped(tuning.why)}"))
    for number, each in enumerate(tuning.suggestions, 1):
        word = f"Pattern {number}, {'suggested' if each.suggestion.sure else 'if you know it'}"
        said = ", ".join(f"{name} = {value}" for name, value in _said(each.suggestion.pattern).items())
        told = f"{escaped(each.suggestion.why)}; {escaped(each.effect)}"
        out.print(marked(f"{word}: [bold]{escaped(said)}[/bold]: {told}"))


def _print_noisy(tuning: Tuning) -> None:
    judged = bool(tuning.faults)

    def rows(found: list[Noise]) -> list[tuple[object, ...]]:
        return [
            (n.name, n.told, f"{n.share:.0%}", n.up, n.down, n.mostly, *([n.false] if judged else []))
            for n in found[:NOISY]
        ]

    more = ["false"] if judged else []
    out.print()
    print_table("Noisiest entities", ("entity", "told", "share", "up", "down", "mostly", *more), rows(tuning.entities))
    out.print()
    print_table("Noisiest metrics", ("metric", "told", "share", "up", "down", "mostly", *more), rows(tuning.metrics))
