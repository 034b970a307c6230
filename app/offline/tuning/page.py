"""A tuning as one HTML file: figures, and when which entity had alarms with which budget. It asks no other host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from app.offline.tuning.backtest import FIRST, Alarm
from app.offline.tuning.figures import Figures, KnownFault, is_of, rate
from app.offline.tuning.plot import counts
from app.offline.tuning.tune import Tuning
from topics.spec import Instant

MOST_ENTITIES: Final = 40  # rows of a picture
LEFT, WIDE, ROW, TOP = 190, 900, 18, 8  # in pixels: names, time, a row, above the first row
BINS: Final = 180
STYLE: Final = """
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1120px;padding:0 1rem}
body{color:#1c2530;background:#fff}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #dde3ea}
th:first-child,td:first-child{text-align:left}tr.best{background:#e8f3ec;font-weight:600}
svg{max-width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#3a4653}
.minor{fill:#d9a300}.major{fill:#e06a00}.critical{fill:#c22a2a}.suppressed{fill:#fff;stroke:#9aa6b2}
.fault{fill:#2a6fc2;opacity:.18}.bar{fill:#44607c}.grid{stroke:#e8ecf1}
pre{background:#f4f6f8;padding:1rem;overflow:auto}details{margin:.6rem 0}summary{cursor:pointer}
@media(prefers-color-scheme:dark){body{background:#12171d;color:#dbe3ea}pre{background:#1b232c}tr.best{background:#1d3327}
th,td{border-color:#2b3743}svg text{fill:#b3bec9}.grid{stroke:#2b3743}.suppressed{fill:#12171d}.bar{fill:#8fb0d0}}
"""


def page(tuning: Tuning) -> str:
    """The whole file."""
    backtest, best = tuning.backtest, tuning.recommended
    span = f"{when(backtest.first)} to {when(backtest.last)} UTC"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'">',
        f"<title>opsloop tune</title><style>{STYLE}</style></head><body><h1>What each budget would have told</h1>",
        f"<p>{backtest.samples:,} samples of {len(backtest.spans):,} entities, {span}.</p>",
        f"<p><b>Recommended: false_alarms_a_week = {best.budget:g}</b>: {escape(tuning.why)}.</p>",
        _figures(tuning), "<h2>Alarms over time, by budget</h2>", _by_budget(tuning),
        "<h2>Alarms by entity</h2>", _legend(bool(tuning.faults)),
    ]  # fmt: skip
    for at, row in enumerate(tuning.rows):
        open_ = " open" if at == tuning.best else ""
        parts.append(f"<details{open_}><summary>budget {row.budget:g}: {row.told} alarms</summary>")
        parts.append(f"{_by_entity(tuning, at)}</details>")
    parts += ["<h2>Patterns</h2>", _patterns(tuning), "<h2>Settings</h2>", f"<pre>{escape(tuning.toml)}</pre>"]
    return "".join([*parts, "</body></html>\n"])


def when(ts: Instant) -> str:
    """A time as `2026-11-21 09:00`, UTC."""
    try:
        return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return str(ts)


def _figures(tuning: Tuning) -> str:
    whole = [(name, row, cells(row) | parts(row)) for name, row in tried_rows(tuning)]
    best = ("", ' class="best"')
    rows = [f"<tr{best[row is tuning.recommended]}>{_cells([name, *said.values()])}</tr>" for name, row, said in whole]
    head = "".join(f"<th>{escape(name)}</th>" for name in ("budget", *whole[0][2]))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def tried_rows(tuning: Tuning) -> list[tuple[str, Figures]]:
    """What was tried with its name: each budget, then the recommended one with each pattern and with all that count."""
    named = [
        (f"{row.budget:g}{' (yours)' * (row.budget == tuning.own)}{' ←' * (row is tuning.recommended)}", row)
        for row in tuning.rows
    ]
    named += [(f"with pattern {at}", each.row) for at, each in enumerate(tuning.suggestions, 1)]
    if tuning.together is not None and sum(each.suggestion.sure for each in tuning.suggestions) > 1:
        named.append(("with all suggested", tuning.together))
    return named


def cells(row: Figures) -> dict[str, str]:
    """The figures that a choice rests on, by the name of their column."""
    said = {"told": str(row.told)}
    if (counted := row.counted) is not None:
        said |= {"caught": f"{counted.caught} of {counted.faults}", "false": str(counted.false)}
        said |= {"F1": f"{counted.f1:.2f}"}
    of_fleet = f" ({row.by_fleet} by fleet)" if row.by_fleet else ""
    said |= {"a week each": rate(row.a_week), "in alarm": f"{row.alarmed_share:.1%}"}
    return said | {"suppressed": f"{row.suppressed}{of_fleet}"}


def parts(row: Figures) -> dict[str, str]:
    """The figures that say more of it: what was told by path, in brackets what of it was false, and by grade."""
    false = row.false_by_path
    paths = {path: f"{told}" if false is None else f"{told} ({false[path]})" for path, told in row.by_path.items()}
    grades = {grade: str(told) for grade, told in row.by_grade.items()}
    return paths | grades | {"entities": str(row.entities), "second view": str(row.second)}


def _cells(values: Iterable[str]) -> str:
    return "".join(f"<td>{escape(value)}</td>" for value in values)


def _by_budget(tuning: Tuning) -> str:
    """A row of bars for each budget."""
    first, last = tuning.backtest.first, tuning.backtest.last
    told = [[a for a in alarms if a.view == FIRST and not a.suppressed] for alarms in tuning.backtest.alarms]
    numbers = [counts(alarms, first, last, BINS) for alarms in told]
    top, height = max(1, *(max(row) for row in numbers)), 2 * ROW
    shapes = []
    for at, (row, own) in enumerate(zip(tuning.rows, numbers, strict=True)):
        base = TOP + (at + 1) * height
        shapes.append(_text(0, base - 6, f"budget {row.budget:g}: {row.told}"))
        shapes.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + WIDE}" y1="{base}" y2="{base}"/>')
        for place, number in enumerate(own):
            if number:
                tall = (height - 6) * number / top
                x = LEFT + WIDE * place / BINS
                box = _box("bar", (x, base - tall, WIDE / BINS - 0.5, tall), f"{number} alarms")
                shapes.append(box)
    return _picture(shapes, TOP + len(numbers) * height, first, last)


def _by_entity(tuning: Tuning, at: int) -> str:
    """A row for each entity that had an alarm, the noisiest first: told, suppressed, and known faults behind them."""
    first, last = tuning.backtest.first, tuning.backtest.last
    groups: dict[str, list[Alarm]] = {}
    for alarm in tuning.backtest.alarms[at]:
        if alarm.view == FIRST:
            groups.setdefault(alarm.entity, []).append(alarm)
    if not groups:
        return "<p>None.</p>"
    ordered = sorted(groups.items(), key=lambda group: (-sum(not a.suppressed for a in group[1]), group[0]))
    shapes: list[str] = []
    for number, (entity, own) in enumerate(ordered[:MOST_ENTITIES]):
        y = TOP + number * ROW
        shapes.append(_text(0, y + 12, entity if len(entity) <= 28 else f"{entity[:27]}…", entity))
        shapes += _faults(tuning.faults, entity, (first, last), y)
        for alarm in own:
            kind = "suppressed" if alarm.suppressed else alarm.grade
            said = f"{entity}: {alarm.grade}, {alarm.path}, {alarm.metric} {alarm.direction}, "
            said += f"{alarm.score:.1f} boundaries, {when(alarm.told)} to {when(alarm.ended)}"
            x, wide = _place(alarm.told, alarm.ended, first, last)
            shapes.append(_box(kind, (x, y + 3, max(2.0, wide), ROW - 6), said))
    shown = min(len(ordered), MOST_ENTITIES)
    rest = "" if shown == len(ordered) else f"<p>The noisiest {shown} of {len(ordered):,} entities.</p>"
    return _picture(shapes, TOP + shown * ROW, first, last) + rest


def _faults(faults: Sequence[KnownFault], entity: str, whole: tuple[Instant, Instant], y: float) -> list[str]:
    """The known faults of an entity."""
    found = []
    for fault in faults:
        if is_of(entity, fault):
            x, wide = _place(max(fault.start, whole[0]), min(fault.end, whole[1]), *whole)
            said = f"known fault, {when(fault.start)} to {when(fault.end)}"
            found.append(_box("fault", (x, y, max(2.0, wide), ROW), said))
    return found


def _place(start: Instant, end: Instant, first: Instant, last: Instant) -> tuple[float, float]:
    scale = WIDE / max(1, last - first)
    return LEFT + (start - first) * scale, (end - start) * scale


def _box(kind: str, box: tuple[float, float, float, float], said: str) -> str:
    x, y, wide, tall = box
    size = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
    return f'<rect class="{escape(kind)}" {size}><title>{escape(said)}</title></rect>'


def _text(x: float, y: float, text: str, said: str = "") -> str:
    more = f"<title>{escape(said)}</title>" if said else ""
    return f'<text x="{x:.0f}" y="{y:.0f}">{escape(text)}{more}</text>'


def _picture(shapes: Iterable[str], height: int, first: Instant, last: Instant) -> str:
    axis = [_text(LEFT + share * WIDE - 45 * (share > 0) - 45 * (share == 1), height + 14,
                  when(round(first + share * (last - first)))) for share in (0, 0.5, 1)]  # fmt: skip
    inside = "".join([*shapes, *axis])
    return f'<svg viewBox="0 0 {LEFT + WIDE + 10} {height + 20}" role="img">{inside}</svg>'


def _legend(with_faults: bool) -> str:
    kinds = ["minor", "major", "critical", "suppressed", *(["fault"] if with_faults else [])]
    shapes = [
        f'<rect class="{kind}" x="{at * 110}" y="3" width="14" height="12"/>{_text(at * 110 + 20, 13, kind)}'
        for at, kind in enumerate(kinds)
    ]
    return f'<svg viewBox="0 0 560 18" width="560" height="18">{"".join(shapes)}</svg>'


def _patterns(tuning: Tuning) -> str:
    if not tuning.suggestions:
        return "<p>No entity and no metric stands out, or no pattern would have told less.</p>"
    said = (f"<li>{escape(each.suggestion.why)}; {escape(each.effect)}.</li>" for each in tuning.suggestions)
    return f"<ol>{''.join(said)}</ol>"
