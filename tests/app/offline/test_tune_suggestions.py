"""What known faults say of alarms, which patterns are suggested and written, and how faults are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import UserError
from app.offline.tuning.backtest import Alarm, Backtest, Span
from app.offline.tuning.figures import (
    FaultCounts,
    Figures,
    KnownFault,
    faults_in,
    is_of,
    judge,
    seen,
)
from app.offline.tuning.suggestions import Suggestion, Tried, kept, suggestions
from app.offline.tuning.toml import section
from app.settings import load as settings_of
from models.detection.settings import DetectionSettings, Pattern

PLAIN = DetectionSettings()
MINUTE_MS = 60_000
START = 1_700_000_000_000
NOISY = "noisy[1]"


def row(budget: float, a_week: float, counted: FaultCounts | None = None, told: int = 1) -> Figures:
    return Figures(budget, told, 0, {}, {}, 1, a_week, 0.0, 0, counted)


def alarm(entity: str = "a", metric: str = "m", minute: int = 0, **more: Any) -> Alarm:
    at = START + MINUTE_MS * minute
    given = {"direction": "up", "deviation": 1.0, "expected": 1.0, "score": 2.0, "suppressed": ""} | more
    path = str(given.pop("path", "broad"))
    return Alarm(entity, "first", at, at, at + MINUTE_MS, path, "minor", metric, **given)


def spans(*names: str) -> Backtest:
    return Backtest({name: Span(START, START + 7 * 86_400_000, 9) for name in names})


def test_a_fault_is_caught_by_an_alarm_of_its_entity_that_is_on_during_it() -> None:
    faults = [
        KnownFault(START, START + 1, "a"),
        KnownFault(START, START + 1, "b*"),
        KnownFault(START + 10**9, START + 10**9 + 1),
    ]
    counted = judge([alarm("a"), alarm("a", minute=99), alarm("c")], faults)
    assert (counted.caught, counted.false, counted.faults) == (1, 2, 3)
    assert counted.f1 == pytest.approx(2 * 1 / (1 + 2 + 3))


def test_a_fault_may_name_its_entity_or_a_glob() -> None:
    for name in ("*", NOISY, "noisy*", "noisy[[]1]"):
        assert is_of(NOISY, KnownFault(0, 1, name))
    assert not is_of(NOISY, KnownFault(0, 1, "noisy"))
    assert seen([KnownFault(0, 1), KnownFault(START, START, "a"), KnownFault(START, START, "z")], spans("a").spans) == [
        KnownFault(START, START, "a")
    ]


def test_few_alarms_and_alarms_of_many_suggest_nothing() -> None:
    assert suggestions([alarm(), alarm()], spans("a", "b"), (), PLAIN, 0.1) == []
    spread = [alarm(entity, metric) for entity in "abc" for metric in "mno"]
    assert suggestions(spread, spans("a", "b", "c"), (), PLAIN, 0.1) == []


def test_alarms_of_few_series_suggest_a_second_view_where_too_many_are_told() -> None:
    told = [alarm(entity, metric, path="narrow") for entity in "abc" for metric in "mno"]
    (found,) = suggestions(told, spans("a", "b", "c"), (), PLAIN, 1.0)
    assert (found.pattern, found.sure) == (Pattern(confirm=True), False)
    assert suggestions(told, spans("a", "b", "c"), (), PLAIN, 9.0) == []
    assert suggestions(told, spans("a", "b", "c"), [KnownFault(START, START)], PLAIN, 1.0) == []
    (found,) = suggestions(told, spans("a", "b", "c"), [KnownFault(START - 2, START - 1)], PLAIN, 1.0)
    assert found.sure


def test_the_budget_that_is_lowered_is_the_one_that_the_entity_has() -> None:
    told = [alarm("a", metric, minute) for minute in range(4) for metric in "mno"]
    own = DetectionSettings((Pattern("a", false_alarms_a_week=0.2),))
    lower = [p.pattern.false_alarms_a_week for p in suggestions(told, spans("a", "b"), (), own, 6.0)]
    assert 0.1 in lower
    assert 0.5 in [p.pattern.false_alarms_a_week for p in suggestions(told, spans("a", "b"), (), PLAIN, 6.0)]


def test_small_deviations_suggest_a_least_and_one_sided_ones_ask_a_person() -> None:
    told = [alarm("abc"[at % 3], "disk", at, deviation=2.0, expected=100.0, direction="down") for at in range(10)]
    least, side = suggestions(told, spans("a", "b", "c"), (), PLAIN, 9.0)
    assert least.pattern == Pattern(metrics="disk", least_ratio=0.1)
    assert (side.pattern, side.sure) == (Pattern(metrics="disk", direction="up"), False)


def test_known_faults_say_which_side_and_how_far() -> None:
    false = [alarm("abc"[at % 3], "lag", 100 * at, deviation=3.0, direction="down") for at in range(1, 7)]
    right = [alarm("a", "lag", 0, deviation=9.0)]
    found = suggestions([*false, *right], spans("a", "b", "c"), [KnownFault(START, START + 1)], PLAIN, 9.0)
    assert [p.pattern for p in found] == [Pattern(metrics="lag", direction="up"), Pattern(metrics="lag", least=3.1)]
    assert all(p.sure for p in found)


def test_a_pattern_that_tells_no_less_or_misses_a_fault_is_not_suggested() -> None:
    def of(told: int, caught: int, subject: str = "a", sure: bool = True) -> Tried:
        with_it, without = (row(1, 1, FaultCounts(n, 3, 0, 0.5), told=m) for n, m in ((caught, told), (3, 10)))
        return Tried(Suggestion(subject, Pattern(), "", 8, sure), with_it, without)

    assert kept([of(10, 3), of(2, 2)]) == []
    first, better, later = of(8, 3), of(6, 3), of(1, 3)
    assert kept([first, better, later]) == [better]
    assert kept([first, of(7, 3, "b", False)]) == [first, of(7, 3, "b", False)]


def test_settings_of_ones_own_are_kept_below_what_is_suggested(tmp_path: Path) -> None:
    mine = DetectionSettings(
        (Pattern("shop/*", "*.\x7f\"'\\", high=float("inf"), learners=("adwin",), opens_samples=2, confirm=True),),
        most_watched=7,
    )
    suggestion = Suggestion("a", Pattern(entities="a", opens_at=1.5), "a\nb [detection]", 2)
    unsure = Suggestion("b", Pattern(metrics="b", direction="up"), "who knows", 2, sure=False)
    file = tmp_path / "detection.toml"
    fewer, before = row(1, 1, told=1), row(1, 1, told=3)
    file.write_text(section(mine, "why", [Tried(suggestion, fewer, before), Tried(unsure, fewer, before)]))
    detection = settings_of(file, {}).detection
    assert detection.patterns == (suggestion.pattern, *mine.patterns)
    assert detection.most_watched == 7
    assert '# direction = "up"' in file.read_text()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("entity,start,end\nweb-1,2026-11-21T09:00,2026-11-21T09:10\n", "web-1"),
        ("start,end\n1795251600,1795252200\n", "*"),
        ('{"entity": "web-1", "start": "2026-11-21T09:00", "end": 1795252200}\n', "web-1"),
    ],
)
def test_faults_are_read_from_csv_and_json_lines(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "faults").write_text(text)
    assert faults_in(tmp_path / "faults") == [KnownFault(1_795_251_600_000, 1_795_252_200_000, found)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("start,end\n5,1\n", "line 2: the fault ends before it starts"),
        ("start,end\nnever,1\n", "line 2 is no fault"),
        ("begin,end\n5,1\n", "has no 'start'"),
        ("start,end\n", "no fault in"),
        ("{no\n", "line 1 is no JSON object"),
    ],
)
def test_what_is_no_fault_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "faults").write_text(text)
    with pytest.raises(UserError, match=told):
        faults_in(tmp_path / "faults")
