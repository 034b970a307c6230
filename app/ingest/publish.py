"""Reads recorded telemetry from CSV or JSON lines, and replays it at its recorded pace with present times."""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

from app.errors import UserError
from topics.codec import DecodeError, decode_value
from topics.spec import Instant, Record, Topic
from topics.telemetry import Sample

TIME_COLUMNS: Final = ("timestamp", "time", "ts", "@timestamp", "datetime", "date")
ENTITY_COLUMNS: Final = ("entity", "host", "instance", "node")
# the unit of an epoch (s, ms, µs, ns) follows from its size: unambiguous from 1973 to 5138
# what stands where nothing was measured
GAPS: Final = frozenset({"", "n/a", "na", "nan", "null", "none", "nil", "-", "--", "?", "#n/a", "\\n"})
_COMMA: Final = re.compile(r"[-+]?[0-9]{1,3}(?:\.[0-9]{3})*,[0-9]+|[-+]?[0-9]+,[0-9]+")  # 1.234,5 and 1234,5
_UNITS: Final = ((1e17, 1e-6), (1e14, 1e-3), (1e11, 1.0), (0.0, 1e3))


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that cannot be published, with the cause. `line` counts from 1."""

    line: int
    why: str


def instant(text: str) -> Instant:
    """Parse a time in ISO 8601 (UTC unless it has an offset) or as an epoch in s, ms, µs or ns. Returns ms.

    Raises:
        ValueError: the text is neither.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        at = datetime.fromisoformat(text)
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{text!r} is not a time")
    return round(number * next(factor for least, factor in _UNITS if number >= least))


def read_jsonl(stream: Iterable[str], topic: Topic, entity: str = "") -> Iterator[Record | Bad]:
    """Yield the records of `topic` in JSON lines. `entity` replaces the entity of each line."""
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            value = line.encode()
            if entity:
                value = msgspec.json.encode(msgspec.json.decode(value, type=dict[str, msgspec.Raw]) | _quoted(entity))
            yield decode_value(topic, value)
        except (DecodeError, msgspec.DecodeError, UnicodeEncodeError) as error:
            yield Bad(number, str(error))


def _quoted(entity: str) -> dict[str, msgspec.Raw]:
    return {"entity": msgspec.Raw(msgspec.json.encode(entity))}


def read_csv(stream: TextIO, entity: str = "", *, ordered: bool = True) -> Iterator[Sample | Bad]:
    """Yield a sample for each row. One column is the time; each other column of numbers is a metric of its name.

    Empty cells, NaN and N/A are gaps: the sample lacks that metric. Columns of text are ignored. Where cells are not
    separated by commas, a comma may stand before decimals. ordered: a row that is older than the one before it of its
    entity is bad, since nobody would learn it.

    Raises:
        UserError: there is no column of time, or no entity is named.
    """
    first, above = stream.readline().lstrip("\ufeff"), 1
    if first.lower().startswith("sep="):  # written for spreadsheets
        first, above = stream.readline(), 2
    delimiter = max(",;\t|", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    columns = _columns(header, entity, comma=delimiter != ",")
    newest: dict[str, Instant] = {}
    rows = csv.reader(stream, delimiter=delimiter)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Bad(rows.line_num + above, str(error))
            continue
        if row:
            read, line = columns.sample(row, rows.line_num + above), rows.line_num + above
            if ordered and isinstance(read, Sample) and newest.setdefault(read.entity, read.ts) > read.ts:
                read = Bad(line, "it is older than the row before it: sort the file by time, oldest first")
            elif isinstance(read, Sample):
                newest[read.entity] = read.ts
            yield read


class _Columns:
    """The kinds of the columns. The first value of a column that is no gap decides whether it holds numbers."""

    def __init__(
        self, header: list[str], time_column: int, entity_column: int | None, entity: str, *, comma: bool
    ) -> None:
        self._header, self._time, self._entity_column, self._entity = header, time_column, entity_column, entity
        self._comma = comma
        self._numeric: dict[int, bool] = {}

    def sample(self, row: list[str], line: int) -> Sample | Bad:
        if len(row) != len(self._header):
            return Bad(line, f"{len(row)} cells where the header has {len(self._header)}")
        try:
            ts = instant(row[self._time])
            metrics = dict(self._metrics(row))
        except ValueError as error:
            return Bad(line, str(error))
        entity = self._entity or row[self._entity_column or 0].strip()
        if not metrics or not entity:
            return Bad(line, "no number in it" if entity else "no entity in it")
        return Sample(entity=entity, ts=ts, metrics=metrics)

    def _metrics(self, row: list[str]) -> Iterator[tuple[str, float]]:
        for at, text in enumerate(row):
            nameless = at in (self._time, self._entity_column) or not self._header[at]
            if nameless or (cell := text.strip()).lower() in GAPS:
                continue
            if _COMMA.fullmatch(cell):
                if not self._comma:
                    raise ValueError(
                        f"{cell!r} in column {self._header[at]}: divide cells by semicolons, not by commas"
                    )
                cell = cell.replace(".", "").replace(",", ".")
            if not self._numeric.setdefault(at, _is_number(cell)):
                continue
            if not _is_number(cell):
                raise ValueError(f"{cell!r} in column {self._header[at]} is not a number")
            if math.isfinite(value := float(cell)):
                yield self._header[at], value


def _columns(header: list[str], entity: str, *, comma: bool) -> _Columns:
    names = [name.lower() for name in header]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise UserError(f"two columns are called {', '.join(twice)}", "Give each column a name of its own")
    at = next((names.index(name) for name in TIME_COLUMNS if name in names), None)
    if at is None:
        raise UserError(
            f"there is no column of time among {', '.join(header) or 'no columns'}",
            f"Name one of them {', '.join(TIME_COLUMNS[:3])}",
        )
    whose = None if entity else next((names.index(name) for name in ENTITY_COLUMNS if name in names), None)
    if not entity and whose is None:
        raise UserError("nothing says whose measurements these are", "Name it, for example --entity web-1")
    return _Columns(header, at, whose, entity, comma=comma)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's own


def replay(
    records: Iterable[Record | Bad],
    speed: float,
    now: Callable[[], Instant],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Record | Bad]:
    """Yield the same records at their recorded pace.

    Speed 0 yields them at once, unchanged. Otherwise the first one gets the time `now()`, each other one follows at
    its recorded distance divided by `speed`, and `ts` is set accordingly.
    """
    start = first = None
    for record in records:
        ts = getattr(record, "ts", None)
        if speed <= 0 or isinstance(record, Bad) or ts is None:
            yield record
            continue
        if start is None or first is None:
            start, first = now(), ts
        due = start + round((ts - first) / speed)
        if (wait := due - now()) > 0:
            sleep(wait / 1000)
        yield msgspec.structs.replace(record, ts=due)
