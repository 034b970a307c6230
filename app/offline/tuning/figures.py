"""What a backtest says: by budget what was told, what known faults say of it, and which budget to take."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import msgspec

from app.errors import UserError
from app.ingest.publish import instant
from app.offline.tuning.backtest import FIRST, Alarm, Backtest, Span
from models.detection.anomalies import PATHS
from topics.signals import GRADES
from topics.spec import WEEK_MS, Instant

SHORT_WEEKS: Final = 1.0  # of all entities together: below it a rate a week says little
WANTED: Final = 1.0  # alarms a week of an entity, beyond which it is noisy when nobody says how many
TOLD_GRADES: Final = GRADES[1:]


@dataclass(frozen=True, slots=True)
class KnownFault:
    """What is known to have been wrong, in event time."""

    start: Instant
    end: Instant
    entity: str = "*"  # a glob


@dataclass(frozen=True, slots=True)
class FaultCounts:
    """How the alarms that were told meet the known faults."""

    caught: int
    faults: int
    false: int  # alarms that touch no fault
    f1: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What one of the settings would have told."""

    budget: float
    told: int
    suppressed: int
    by_path: dict[str, int]
    by_grade: dict[str, int]
    entities: int  # that were told of
    a_week: float  # told, of an entity
    alarmed_share: float  # of the time of all entities
    second: int  # alarms of detectors on which incidents do not rest
    counted: FaultCounts | None
    by_fleet: int = 0  # of the suppressed: what the fleet's budget could not pay for
    false_by_path: dict[str, int] | None = None  # of those told, what touches no known fault


def faults_in(path: Path) -> list[KnownFault]:
    """The faults in a file of CSV (columns start, end and perhaps entity) or of JSON lines with these names.

    Raises:
        UserError: there is no such file, no fault in it, or a line is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error})", "Give --faults a CSV or JSON lines file") from None
    found = [_fault(row, f"{path.name}, line {number}") for number, row in _rows(text, path.name)]
    if not found:
        raise UserError(f"there is no fault in {path.name}", "Give it a line each: entity,start,end")
    return found


def _rows(text: str, name: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    if text.lstrip()[:1] != "{":
        yield from enumerate(csv.DictReader(io.StringIO(text), skipinitialspace=True), 2)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise UserError(f"{name}, line {number} is no JSON object ({error})", "Mend that line") from None


def _fault(row: Mapping[str, Any], place: str) -> KnownFault:
    try:
        start, end = (instant(str(row[side])) for side in ("start", "end"))
    except (KeyError, ValueError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        remedy = "A fault has start and end (ISO 8601 or epoch), and perhaps entity"
        raise UserError(f"{place} is no fault ({why})", remedy) from None
    if end < start:
        raise UserError(f"{place}: the fault ends before it starts", "Swap start and end")
    return KnownFault(start, end, str(row.get("entity") or "*"))


def told_of(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Those that incidents rest on and that no budget suppressed."""
    return [alarm for alarm in alarms if alarm.view == FIRST and not alarm.suppressed]


def seen(faults: Iterable[KnownFault], spans: Mapping[str, Span]) -> list[KnownFault]:
    """The faults of entities that were measured then: the others cannot be caught."""
    return [
        fault for fault in faults
        if any(span.first <= fault.end and fault.start <= span.last and is_of(name, fault)
               for name, span in spans.items())
    ]  # fmt: skip


def is_of(entity: str, fault: KnownFault) -> bool:
    """Whether a fault is one of an entity: it names it, or its glob fits."""
    return fault.entity in ("*", entity) or fnmatchcase(entity, fault.entity)


def touches(alarm: Alarm, fault: KnownFault) -> bool:
    """Whether an alarm was on during a fault of its entity."""
    return alarm.told <= fault.end and fault.start <= alarm.ended and is_of(alarm.entity, fault)


def is_false(alarm: Alarm, faults: Iterable[KnownFault]) -> bool:
    """Whether it touches no fault."""
    return not any(touches(alarm, fault) for fault in faults)


def judge(told: Sequence[Alarm], faults: Sequence[KnownFault]) -> FaultCounts:
    """As `opsloop bench detection` counts: a fault is caught when an alarm is on during it."""
    caught = sum(any(touches(alarm, fault) for alarm in told) for fault in faults)
    false = sum(is_false(alarm, faults) for alarm in told)
    return FaultCounts(caught, len(faults), false, 2 * caught / max(1, caught + false + len(faults)))


def figures(budget: float, alarms: Sequence[Alarm], backtest: Backtest, faults: Sequence[KnownFault]) -> Figures:
    """What the settings with this budget, which had these alarms, would have told."""
    told, whole = told_of(alarms), entity_ms(backtest)
    paths, grades = Counter(alarm.path for alarm in told), Counter(alarm.grade for alarm in told)
    false = Counter(alarm.path for alarm in told if is_false(alarm, faults)) if faults else None
    suppressed = Counter(alarm.suppressed for alarm in alarms if alarm.view == FIRST and alarm.suppressed)
    return Figures(
        budget, len(told), suppressed.total(),
        {path: paths[path] for path in PATHS}, {grade: grades[grade] for grade in TOLD_GRADES},
        len({alarm.entity for alarm in told}), len(told) * WEEK_MS / whole,
        min(1.0, sum(alarm.ended - alarm.told for alarm in told) / whole),
        sum(alarm.view != FIRST for alarm in alarms), judge(told, faults) if faults else None,
        suppressed["fleet"], None if false is None else {path: false[path] for path in PATHS},
    )  # fmt: skip


def entity_ms(backtest: Backtest) -> int:
    """How long all entities were measured, one after the other."""
    return max(1, sum(span.last - span.first for span in backtest.spans.values()))


def weeks(backtest: Backtest) -> float:
    """How long all entities were measured, one after the other, in weeks."""
    return entity_ms(backtest) / WEEK_MS


def rate(a_week: float) -> str:
    """A rate for a person."""
    return f"{a_week:.2g}" if a_week < 100.0 else f"{a_week:,.0f}"


def recommended(rows: Sequence[Figures], own: float, asked: float | None, *, short: bool = False) -> tuple[int, str]:
    """Which of the budgets, in ascending order, to take, and why. What does not speak for another leaves one's own.

    own: the budget of the settings, one of the rows; asked: alarms a week and entity that are wanted at most, None when
    nobody said; known faults count more; short: whether the history is too short for rates.
    """
    mine = next(at for at, row in enumerate(rows) if row.budget == own)
    judged = [(row.counted.f1, at) for at, row in enumerate(rows) if row.counted and row.counted.caught]
    if judged:
        best = max(f1 for f1, _ in judged)
        as_good = [at for f1, at in judged if f1 == best]
        why = f"its F1 on the known faults is the best, {best:.2f}"
        if mine in as_good:
            return mine, f"{why}{', and of those that are as good it is yours' * (len(as_good) > 1)}"
        return as_good[0], f"{why}{', and the smallest of those that are as good' * (len(as_good) > 1)}"
    missed = "no budget catches any of the known faults; " if any(row.counted for row in rows) else ""
    if asked is None:
        how = "name known faults with --faults, or say how many alarms you want with --alarms-a-week"
        why = "yours is kept" if missed else f"yours is kept, since nothing says which alarms were right; {how}"
        return mine, f"{missed}{why}"
    if short:
        return mine, f"{missed}yours is kept, since less than a week of all entities together says little of rates"
    fitting = [at for at, _ in takewhile(lambda each: each[1].a_week <= asked, enumerate(rows))]
    if not fitting:
        told = f"even the smallest budget told {rate(rows[0].a_week)} alarms a week and entity, more than the {asked:g}"
        return 0, f"{missed}{told} asked for"
    at = fitting[-1]
    return at, f"{missed}the largest that told at most {asked:g} alarms a week and entity: {rate(rows[at].a_week)}"


@dataclass(frozen=True, slots=True)
class Noise:
    """What made many of the alarms: an entity, or the first metric of them."""

    name: str
    told: int
    share: float
    up: int
    down: int
    mostly: str  # the metric of most of an entity's alarms; the entity of most of a metric's
    false: int | None  # that touch no known fault


def noisiest(told: Sequence[Alarm], faults: Sequence[KnownFault], *, by_metric: bool = False) -> list[Noise]:
    """Entities, or metrics, by the number of alarms they made, most first."""
    groups: dict[str, list[Alarm]] = {}
    for alarm in told:
        groups.setdefault(alarm.metric if by_metric else alarm.entity, []).append(alarm)
    found = []
    for name, own in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        other = Counter(alarm.entity if by_metric else alarm.metric for alarm in own).most_common(1)[0][0]
        up = sum(alarm.direction == "up" for alarm in own)
        false = sum(is_false(alarm, faults) for alarm in own) if faults else None
        found.append(Noise(name, len(own), len(own) / len(told), up, len(own) - up, other, false))
    return found
