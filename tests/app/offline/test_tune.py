"""A history of one's own through the live detector with many budgets: what is told, suggested and written."""

from __future__ import annotations

import functools
import json
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from app.__main__ import main
from app.cli import build
from app.client import Publisher
from app.errors import UserError
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from app.offline.score import load, score
from app.offline.tuning.backtest import Heard
from app.offline.tuning.figures import (
    FaultCounts,
    Figures,
    KnownFault,
    recommended,
    told_of,
)
from app.offline.tuning.histories import Recordings
from app.offline.tuning.page import page, parts, tried_rows
from app.offline.tuning.tune import Tuning, Wanted, tune
from app.settings import load as settings_of
from models.detection.settings import DetectionSettings
from topics.signals import Anomaly
from topics.telemetry import Sample

BUDGETS = (0.1, 0.5, 1.0, 5.0)
MINUTE_MS = 60_000
START = 1_700_000_000_000
QUIET = ("calm-1", "calm-2", "calm-3")
NOISY = "noisy[1]"
ROWS = 6_000
FAULTS = (2_000, 3_500, 5_000)  # rows at which five minutes of a fault begin in the first quiet entity


def write(folder: Path, name: str, values: np.ndarray) -> None:
    names = [f"m{at}" for at in range(values.shape[1])]
    rows = (f"{START + MINUTE_MS * at}," + ",".join(f"{value:.5f}" for value in row) for at, row in enumerate(values))
    (folder / f"{name}.csv").write_text("\n".join([",".join(["timestamp", *names]), *rows]) + "\n")


def recordings_in(folder: Path) -> None:
    """Three entities, one with three faults, and a fourth in which a metric falls farther and farther for a while."""
    rng = np.random.default_rng(11)
    for name in QUIET:
        values = rng.normal(100, 1, (ROWS, 6))
        for row in FAULTS if name == QUIET[0] else ():
            values[row : row + 5] += 25
        write(folder, name, values)
    values = rng.normal(100, 1, (ROWS, 6))
    for at, row in enumerate(range(300, ROWS, 200)):
        values[row : row + 3, 2] -= 10 * 1.25**at
    write(folder, NOISY, values)


def known() -> tuple[KnownFault, ...]:
    return tuple(KnownFault(START + MINUTE_MS * row, START + MINUTE_MS * (row + 5), "calm-*") for row in FAULTS)


def silent(_: str) -> Any:
    return lambda _done, _whole: None


def tuned(
    folder: Path, faults: Sequence[KnownFault] = (), asked: float | None = None, own: float = 1.0,
    budgets: Sequence[float] = BUDGETS,
) -> Tuning:  # fmt: skip
    settings = DetectionSettings(false_alarms_a_week=own)
    return tune(Recordings([folder]), Wanted(tuple(budgets), settings, asked, tuple(faults)), silent)


@functools.cache
def folder() -> Path:
    made = Path(tempfile.mkdtemp())
    recordings_in(made)
    return made


@functools.cache
def plain() -> Tuning:
    return tuned(folder(), asked=6.0)


@functools.cache
def judged() -> Tuning:
    return tuned(folder(), known())


@functools.cache
def noisy() -> Tuning:
    """With a large budget alone, which tells much that is no fault."""
    return tuned(folder(), known(), own=5.0, budgets=(5.0,))


def test_a_larger_budget_tells_no_fewer_alarms() -> None:
    told = [row.told for row in plain().rows]
    assert told == sorted(told)
    assert told[0] < told[-1]
    for row in plain().rows:
        assert sum(row.by_path.values()) == sum(row.by_grade.values()) == row.told


def test_what_is_told_is_what_scoring_the_recording_tells() -> None:
    alarms, budget = plain().backtest.alarms[-1], BUDGETS[-1]
    assert any(alarm.suppressed for alarm in alarms)
    for name in (*QUIET, NOISY):
        scored = score(load(folder() / f"{name}.csv"), DetectionSettings(false_alarms_a_week=budget)).alarm
        begun = (np.flatnonzero(np.diff(scored, prepend=0) == 1) * MINUTE_MS + START).tolist()
        assert begun == [a.told for a in told_of(alarms) if a.entity == name]


def test_the_budget_with_the_best_f1_is_recommended_when_faults_are_known() -> None:
    counted = [row.counted for row in judged().rows]
    assert all(counted and counted.faults == len(FAULTS) for counted in counted)
    best = judged().recommended.counted
    assert best
    assert best.caught == len(FAULTS)
    assert best.f1 == max(counted.f1 for counted in counted if counted)
    assert "F1" in judged().why


def row(budget: float, a_week: float, counted: FaultCounts | None = None, told: int = 1) -> Figures:
    return Figures(budget, told, 0, {}, {}, 1, a_week, 0.0, 0, counted)


def test_without_faults_the_largest_budget_within_what_was_asked_for_is_recommended() -> None:
    rows = [row(0.1, 0.2), row(1, 0.9), row(5, 3.0)]
    assert recommended(rows, 0.1, 1.0)[0] == 1
    assert recommended(rows, 1, 9.0)[0] == 2
    at, why = recommended(rows, 1, 0.1)
    assert at == 0
    assert "even the smallest" in why


def test_a_larger_budget_that_tells_less_since_its_alarms_last_is_not_recommended() -> None:
    assert recommended([row(0.1, 0.2), row(1, 2.0), row(5, 0.9)], 1, 1.0)[0] == 0


def test_ones_own_budget_is_kept_when_nothing_speaks_for_another() -> None:
    at, why = recommended([row(0.1, 0.9), row(1, 3.0), row(5, 9.0)], 1, None)
    assert (at, "yours is kept" in why, "--faults" in why) == (1, True, True)
    at, why = recommended([row(0.1, 0.0), row(1, 0.5), row(5, 0.9)], 1, 1.0, short=True)
    assert (at, "says little" in why) == (1, True)
    same = FaultCounts(2, 3, 1, 0.67)
    at, why = recommended([row(0.1, 9, same), row(1, 9, same), row(5, 9, same)], 1, 1.0, short=True)
    assert (at, "it is yours" in why) == (1, True)


def test_of_budgets_that_are_as_good_the_smallest_is_recommended_and_of_those_that_catch_nothing_none() -> None:
    same, none, worse = FaultCounts(2, 3, 1, 0.67), FaultCounts(0, 3, 0, 0.0), FaultCounts(2, 3, 9, 0.3)
    at, why = recommended([row(0.1, 9, same), row(1, 9, same), row(5, 9, worse)], 5, 1.0)
    assert (at, "smallest" in why) == (0, True)
    at, why = recommended([row(0.1, 0.1, none), row(1, 0.5, none)], 1, 1.0)
    assert at == 1
    assert "catches any" in why


def test_the_budget_of_the_settings_is_tried_as_well(tmp_path: Path) -> None:
    write(tmp_path, "calm", np.random.default_rng(5).normal(100, 1, (400, 3)))
    tuning = tuned(tmp_path, own=0.7, budgets=(0.1, 2.0))
    assert [row.budget for row in tuning.rows] == [0.1, 0.7, 2.0]
    assert tuning.recommended.budget == tuning.own == 0.7  # seven hours say little
    assert "false_alarms_a_week = 0.7" in tuning.toml


@pytest.mark.parametrize("name", ["machine-1-6", "machine-2-1"])
def test_a_larger_budget_tells_no_fewer_alarms_of_a_real_machine(name: str) -> None:
    recording = Path("../shared/data/smd") / f"{name}.npz"
    if not recording.is_file():
        pytest.skip(f"no {recording}")
    rows = tuned(recording).rows
    told = [row.told for row in rows]
    assert told == sorted(told)
    assert told[0] < told[-1]
    shares = [row.alarmed_share for row in rows]
    assert shares == sorted(shares)
    assert all(row.suppressed > 0 for row in rows)


def test_what_the_budget_of_one_series_withholds_is_counted_as_suppressed(tmp_path: Path) -> None:
    values = np.random.default_rng(7).standard_t(3, (12_000, 1)) + 100
    values[1_500::300] += 30
    write(tmp_path, "alone", values)
    first, *_, last = tuned(tmp_path, budgets=(0.1, 5.0)).rows
    assert first.suppressed > 0
    assert 0 < first.told < last.told == last.by_path["one"]


def anomaly(state: str, minute: int, suppressed: str = "none", **more: Any) -> Anomaly:
    given = {"id": "1", "direction": "up", "value": 9.0} | more
    return Anomaly(
        entity="a", ts=MINUTE_MS * minute, state=state, kind="point", score=2.0, metric="m", expected=1.0, low=0.0,
        grade="none" if state == "cleared" else "minor", confidence=1.0, high=2.0, onset=MINUTE_MS, attribution=(),
        detector="bank", detector_version=1, path="narrow", suppressed=suppressed, **given,
    )  # fmt: skip


def heard(*said: Anomaly) -> list[tuple[str, int, int]]:
    alarms = Heard()
    for each in said:
        alarms.take(each)
    return [(a.suppressed, a.told // MINUTE_MS, a.ended // MINUTE_MS) for a in alarms.alarms]


def test_what_was_suppressed_first_and_told_later_is_one_alarm_that_was_told() -> None:
    raised, cleared = anomaly("raised", 1, "fleet"), anomaly("cleared", 9)
    assert heard(raised, anomaly("cleared", 9, "fleet")) == [("fleet", 1, 9)]
    assert heard(raised, anomaly("raised", 3), anomaly("continuing", 4), cleared) == [("", 3, 9)]
    alone = anomaly("cleared", 1, "entity")  # of one series it is over at once
    assert heard(alone) == [("entity", 1, 1)]
    assert heard(alone, anomaly("raised", 2), cleared) == [("", 2, 9)]
    assert heard(alone, anomaly("raised", 5, id="2"), anomaly("cleared", 6, id="2")) == [("entity", 1, 1), ("", 5, 6)]
    assert heard(cleared) == []


def test_what_the_budget_of_the_fleet_withholds_is_told_apart(tmp_path: Path) -> None:
    settings = DetectionSettings(false_alarms_a_week=5.0, false_alarms_a_week_per_fleet=0.01)
    tuning = tune(Recordings([folder()]), Wanted((5.0,), settings), silent)
    assert 0 < tuning.recommended.by_fleet <= tuning.recommended.suppressed
    assert f"({tuning.recommended.by_fleet} by fleet)" in page(tuning)
    assert "false_alarms_a_week_per_fleet = 0.01" in tuning.toml


def test_the_noisy_entity_is_named_and_a_pattern_for_it_tells_less() -> None:
    for tuning in (plain(), noisy()):
        assert tuning.entities[0].name == NOISY
        assert tuning.metrics[0].name == "m2"
        found = tuning.suggestions
        assert found
        assert all(each.told < each.before for each in found)
        assert any(each.suggestion.sure and each.suggestion.pattern.entities == "noisy[[]1]" for each in found)
        assert any(NOISY in each.suggestion.why for each in found)
        assert tuning.together
        assert tuning.together.told < tuning.recommended.told
    counted = noisy().together.counted  # type: ignore[union-attr]
    assert counted
    assert counted.caught == len(FAULTS)


def test_each_pattern_has_figures_of_its_own_beside_the_budgets() -> None:
    named = dict(tried_rows(noisy()))
    assert next(iter(named)) == "5 (yours) ←"
    for at, each in enumerate(noisy().suggestions, 1):
        figures = named[f"with pattern {at}"]
        assert figures.told == sum(figures.by_path.values()) == each.told < each.before
        assert sum(figures.false_by_path.values()) == figures.counted.false  # type: ignore[union-attr]
    told, broad = (noisy().recommended.by_path["broad"], noisy().recommended.false_by_path["broad"])  # type: ignore[index]
    assert parts(noisy().recommended)["broad"] == f"{told} ({broad})"


def test_the_settings_are_loaded_and_tell_what_was_promised(tmp_path: Path) -> None:
    file = tmp_path / "detection.toml"
    file.write_text(plain().toml)
    detection = settings_of(file, {}).detection
    assert detection.false_alarms_a_week == plain().recommended.budget
    sure = [each.suggestion.pattern for each in plain().suggestions if each.suggestion.sure]
    assert detection.patterns == tuple(sure)
    again = tune(Recordings([folder()]), Wanted((detection.false_alarms_a_week,), detection), silent)
    assert plain().together
    assert again.rows[0].told == plain().together.told


def test_the_page_asks_no_other_host_and_shows_every_budget() -> None:
    html = page(judged())
    assert not re.search(r"https?:|//\w|<script|@import|url\(", html)
    assert "<svg" in html
    assert 'class="fault"' in html
    for budget in BUDGETS:
        assert f"budget {budget:g}: " in html
    assert NOISY in html


def test_the_command_prints_tables_and_writes_a_page_and_settings(tmp_path: Path) -> None:
    def run(*more: str) -> Any:
        line = ["tune", str(folder()), "--budgets", "1,0.5", *more]
        done = CliRunner().invoke(build(), line, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done

    text = run().stdout
    assert "What each budget and pattern would have told" in text
    assert "The same by path" in text
    assert len(re.findall(r"[·▁▂▃▄▅▆▇█]{48}", text)) == 2
    assert "[detection]" in text
    done = run("--out", str(tmp_path / "tuned"), "--json", "--alarms-a-week", "6")
    said = json.loads(done.stdout.splitlines()[-1])
    assert [budget["budget"] for budget in said["budgets"]] == [0.5, 1.0]
    assert said["noisiest_entities"][0]["name"] == NOISY
    assert sorted(path.name for path in (tmp_path / "tuned").iterdir()) == ["detection.toml", "tune.html"]
    assert (tmp_path / "tuned" / "detection.toml").read_text() == said["toml"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "there is no history to tune on"),
        ("none.csv", "there is no file none.csv"),
        (".", "there is no recording in ."),
        (". --from 2026-11-21", "not both"),
        ("--from 2026-11-21 --to 2026-11-20", "--from is not before --to"),
        ("--from yesterday", "--from or --to is no time"),
        ("--from 2026-11-21 --broker 127.0.0.1:1", "no broker at 127.0.0.1:1"),
        (". --budgets 1,x", "is no list of numbers"),
        (". --budgets 0", "is no list of numbers"),
        (". --faults none.csv", "cannot read none.csv"),
    ],
)
def test_what_cannot_be_tuned_is_answered_in_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["opsloop", "tune", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert told in said
    assert len(said.strip().splitlines()) <= 2


def publish(broker: Broker, entity: str, rows: int, now: int) -> None:
    """Samples a minute apart up to now, with a fault in the middle of the last third."""
    values = np.random.default_rng(3).normal(100, 1, (rows, 3))
    values[1_200:1_205] += 40
    with Publisher(broker) as publisher:
        for at, sample in enumerate(values.tolist()):
            metrics = dict(zip(("a", "b", "c"), sample, strict=True))
            publisher.send(Sample(entity=entity, ts=now - MINUTE_MS * (rows - at), metrics=metrics))


def on_broker(broker: Broker, *more: str) -> Result:
    line = ["tune", *more, "--broker", broker.bootstrap, "--budgets", "0.5,5", "--json"]
    return CliRunner().invoke(build(), line)


def between(broker: Broker) -> dict[str, Any]:
    """What is said of the telemetry that arrived after some and before some other."""
    now = round(time.time() * 1000)

    def pause() -> str:
        time.sleep(0.05)  # arrivals have whole milliseconds, of the broker's clock
        edge = round(time.time() * 1000)
        time.sleep(0.05)
        return str(edge)

    publish(broker, "tune-before", 20, now)
    first = pause()
    publish(broker, "tune-1", 1_500, now)
    publish(broker, "tune-2", 1_500, now)
    last = pause()
    publish(broker, "tune-after", 20, now)
    done = on_broker(broker, "--from", first, "--to", last)
    assert done.exit_code == 0, done.output
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.kafka
def test_the_telemetry_of_a_broker_between_two_times_is_what_is_tuned_on(broker: Broker) -> None:
    said = between(broker)
    assert said["samples"] >= 3_000  # others may write at the same time
    named = {noise["name"] for noise in said["noisiest_entities"]}
    assert {"tune-1", "tune-2"} <= named
    assert said["budgets"][0]["told"] <= said["budgets"][1]["told"]
    nothing = on_broker(broker, "--from", "2001-01-01", "--to", "2001-01-02")
    assert isinstance(nothing.exception, UserError)
    assert "nothing was measured" in str(nothing.exception)


def test_a_broker_that_cannot_look_up_times_gives_the_same(embedded: Embedded) -> None:
    said = between(embedded.broker)
    assert (said["samples"], said["entities"], said["refused"]) == (3_000, 2, 0)
    assert said["budgets"][0]["told"] > 0
