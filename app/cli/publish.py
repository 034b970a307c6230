"""`opsloop publish`: recorded telemetry from a file to its topic."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from app.cli.options import BrokerOption, broker_of
from app.errors import UserError
from app.printing import err

if TYPE_CHECKING:
    from rich.progress import Progress

    from app.ingest.publish import Bad
    from app.kafka.broker import Broker
    from topics.spec import Record, Topic

SHOWN = 20  # bad lines that are told one by one


class Format(StrEnum):
    """How a file is written."""

    CSV = "csv"
    JSONL = "jsonl"


def register(app: typer.Typer) -> None:
    app.command()(publish)


def publish(
    file: Annotated[str, typer.Argument(help="A file of CSV or JSON lines; - reads standard input")],
    entity: Annotated[str, typer.Option(help="Whose measurements these are, when the file does not say")] = "",
    topic: Annotated[str, typer.Option(help="For JSON lines: what a line is")] = "telemetry.metrics",
    speed: Annotated[float, typer.Option(min=0, help="0: at once, with the times of the file. N: replayed N times as "
                                                     "fast as it happened, as if it began now")] = 0.0,
    format: Annotated[Format | None, typer.Option(help="[default: by the file's name]")] = None,
    broker: BrokerOption = "",
) -> None:  # fmt: skip
    """Publish recorded telemetry.

    Examples: `opsloop publish cpu.csv --entity web-1 --speed 60` · `opsloop publish - --format jsonl < samples.jsonl`.
    A CSV file has one column named timestamp, time or ts (ISO or epoch); its other numeric columns are the metrics. A
    JSON line is `{"entity": "web-1", "ts": 1700000000000, "metrics": {"cpu": 0.5}}`. Lines that cannot be read are
    reported with their number and left out; the exit code is then 1.
    """
    from app.kafka.broker import require
    from topics.catalog import named

    try:
        wanted = named(topic)
    except KeyError as error:
        raise UserError(str(error.args[0])) from None
    chosen = broker_of(broker)
    require(chosen)
    with _opened(file) as (stream, progress):
        records = _records(stream, format or _guess(file), wanted, entity)
        published, bad = _send(chosen, records, speed, progress)
    for each in bad[:SHOWN]:
        err.print(f"line {each.line}: {each.why}", style="yellow")
    if len(bad) > SHOWN:
        err.print(f"… and {len(bad) - SHOWN} more", style="yellow")
    err.print(f"records published: {published:,}" + (f", lines left out: {len(bad):,}" if bad else ""))
    if bad or not published:
        raise typer.Exit(1)


def _records(stream: TextIO, format: Format, topic: Topic, entity: str) -> Iterator[Record | Bad]:
    from app.ingest.publish import read_csv, read_jsonl
    from topics.telemetry import METRICS

    if format is Format.JSONL:
        return read_jsonl(stream, topic, entity)
    if topic is not METRICS:
        raise UserError("CSV holds samples only", "Write the records of other topics as JSON lines")
    return read_csv(stream, entity)


def _send(broker: Broker, records: Iterator[Record | Bad], speed: float, progress: Progress) -> tuple[int, list[Bad]]:
    from app.client import Publisher
    from app.clock import now_ms
    from app.ingest.publish import Bad, replay

    published, bad = 0, []
    task = progress.tasks[0].id
    with Publisher(broker) as publisher:
        for record in replay(records, speed, now_ms):
            if isinstance(record, Bad):
                bad.append(record)
                continue
            publisher.send(record)
            published += 1
            if speed > 0 or published % 1_000 == 0:
                progress.update(task, description=f"{published:,} records")
    return published, bad


def _guess(file: str) -> Format:
    ending = Path(file).suffix.lower()
    if ending in (".csv", ".tsv"):
        return Format.CSV
    if ending in (".jsonl", ".ndjson", ".json"):
        return Format.JSONL
    raise UserError(f"the name {file} does not tell its format", "Say --format csv or --format jsonl")


@contextlib.contextmanager
def _opened(file: str) -> Iterator[tuple[TextIO, Progress]]:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    path = Path(file)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with contextlib.ExitStack() as stack:
        if file == "-":
            stream: TextIO = sys.stdin
        elif not path.is_file():
            raise UserError(f"there is no file {file}", "Give a CSV or JSON lines file, or - for standard input")
        else:
            stream = stack.enter_context(path.open(encoding="utf-8-sig", errors="replace", newline=""))
        progress = stack.enter_context(Progress(*columns, console=err, transient=True, disable=not err.is_terminal))
        progress.add_task("0 records", total=None)
        yield stream, progress
