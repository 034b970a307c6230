"""A history of one's own through the live detector with many budgets: what is told, proposed and written."""

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
from typer.testing import CliRunner

from app.__main__ import main
from app.cli import build
from app.client import Publisher
from app.errors import UserError
from app.kafka.broker import Broker
from app.offline.score import load, score
from app.offline.tuning.figures import Fault, Figures, Verdict, faults_in, judge, recommended
from app.offline.tuning.histories import Recordings
from app.offline.tuning.page import page
from app.offline.tuning.proposals import Proposal, Tried, kept, proposals
from app.offline.tuning.toml import section
from app.offline.tuning.trial import Alarm, Span, Trial
from app.offline.tuning.tune import Tuning, Wanted, tune
from app.settings import load as settings_of
from models.detection.settings import DetectionSettings, Pattern
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


def known() -> tuple[Fault, ...]:
    return tuple(Fault(START + MINUTE_MS * row, START + MINUTE_MS * (row + 5), "calm-*") for row in FAULTS)


def silent(_: str) -> Any:
    return lambda _done, _whole: None


def tuned(folder: Path, faults: Sequence[Fault] = (), asked: float = 1.0) -> Tuning:
    return tune(Recordings([folder]), Wanted(BUDGETS, DetectionSettings(), asked, tuple(faults)), silent)


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


def test_a_larger_budget_tells_no_fewer_alarms() -> None:
    told = [row.told for row in plain().rows]
    assert told == sorted(told)
    assert told[0] < told[-1]
    for row in plain().rows:
        assert sum(row.by_path.values()) == sum(row.by_grade.values()) == row.told


def test_what_is_told_is_what_scoring_the_recording_tells() -> None:
    alarms, budget = plain().trial.alarms[-1], BUDGETS[-1]
    assert not any(alarm.suppressed for alarm in alarms)
    for name in (*QUIET, NOISY):
        scored = score(load(folder() / f"{name}.csv"), DetectionSettings(false_alarms_a_week=budget)).alarm
        begun = (np.flatnonzero(np.diff(scored, prepend=0) == 1) * MINUTE_MS + START).tolist()
        assert begun == [a.told for a in alarms if a.entity == name and a.view == "first"]


def test_the_budget_with_the_best_f1_is_recommended_when_faults_are_known() -> None:
    verdicts = [row.verdict for row in judged().rows]
    assert all(verdict and verdict.faults == len(FAULTS) for verdict in verdicts)
    best = judged().recommended.verdict
    assert best
    assert best.caught == len(FAULTS)
    assert best.f1 == max(verdict.f1 for verdict in verdicts if verdict)
    assert "F1" in judged().why


def row(budget: float, a_week: float, verdict: Verdict | None = None) -> Figures:
    return Figures(budget, 1, 0, {}, {}, 1, a_week, 0.0, 0, verdict)


def test_without_faults_the_largest_budget_within_what_was_asked_for_is_recommended() -> None:
    rows = [row(0.1, 0.2), row(1, 0.9), row(5, 3.0)]
    assert recommended(rows, 1.0)[0] == 1
    assert recommended(rows, 9.0)[0] == 2
    at, why = recommended(rows, 0.1)
    assert at == 0
    assert "even the smallest" in why


def test_of_budgets_that_are_as_good_the_smallest_is_recommended_and_of_those_that_catch_nothing_none() -> None:
    same, none = Verdict(2, 3, 1, 0.67), Verdict(0, 3, 0, 0.0)
    assert recommended([row(0.1, 9, same), row(1, 9, same)], 1)[0] == 0
    at, why = recommended([row(0.1, 0.1, none), row(1, 0.5, none)], 1)
    assert at == 1
    assert "catches any" in why


def test_the_noisy_entity_is_named_and_a_pattern_for_it_tells_less() -> None:
    for tuning in (plain(), judged()):
        assert tuning.entities[0].name == NOISY
        assert tuning.metrics[0].name == "m2"
        found = tuning.proposals
        assert found
        assert all(each.told < each.before for each in found)
        assert any(each.proposal.sure and each.proposal.pattern.entities == "noisy[[]1]" for each in found)
        assert any(NOISY in each.proposal.why for each in found)
        assert tuning.together
        assert tuning.together.told < tuning.recommended.told
    verdict = judged().together.verdict  # type: ignore[union-attr]
    assert verdict
    assert verdict.caught == len(FAULTS)


def test_the_settings_are_loaded_and_tell_what_was_promised(tmp_path: Path) -> None:
    file = tmp_path / "detection.toml"
    file.write_text(plain().toml)
    detection = settings_of(file, {}).detection
    assert detection.false_alarms_a_week == plain().recommended.budget
    sure = [each.proposal.pattern for each in plain().proposals if each.proposal.sure]
    assert detection.patterns == tuple(sure)
    again = tune(Recordings([folder()]), Wanted((detection.false_alarms_a_week,), detection), silent)
    assert plain().together
    assert again.rows[0].told == plain().together.told


def test_settings_of_ones_own_are_kept_below_what_is_proposed(tmp_path: Path) -> None:
    mine = DetectionSettings(
        (Pattern("shop/*", "*.\x7f\"'\\", high=float("inf"), learners=("adwin",), opens_samples=2, confirm=True),),
        most_watched=7,
    )
    proposal = Proposal("a", Pattern(entities="a", opens_at=1.5), "a\nb [detection]", 2)
    unsure = Proposal("b", Pattern(metrics="b", direction="up"), "who knows", 2, sure=False)
    file = tmp_path / "detection.toml"
    file.write_text(section(mine, "why", [Tried(proposal, 1, 3), Tried(unsure, 1, 3)]))
    detection = settings_of(file, {}).detection
    assert detection.patterns == (proposal.pattern, *mine.patterns)
    assert detection.most_watched == 7
    assert '# direction = "up"' in file.read_text()


def test_the_page_asks_no_other_host_and_shows_every_budget() -> None:
    html = page(judged())
    assert not re.search(r"https?:|//\w|<script|@import|url\(", html)
    assert "<svg" in html
    assert 'class="fault"' in html
    for budget in BUDGETS:
        assert f"budget {budget:g}: " in html
    assert NOISY in html


def alarm(entity: str = "a", metric: str = "m", minute: int = 0, **more: Any) -> Alarm:
    at = START + MINUTE_MS * minute
    given = {"direction": "up", "deviation": 1.0, "expected": 1.0, "score": 2.0, "suppressed": False} | more
    return Alarm(entity, "first", at, at, at + MINUTE_MS, "narrow", "minor", metric, **given)


def spans(*names: str) -> Trial:
    return Trial({name: Span(START, START + 7 * 86_400_000, 9) for name in names})


def test_a_fault_is_caught_by_an_alarm_of_its_entity_that_is_on_during_it() -> None:
    faults = [Fault(START, START + 1, "a"), Fault(START, START + 1, "b*"), Fault(START + 10**9, START + 10**9 + 1)]
    verdict = judge([alarm("a"), alarm("a", minute=99), alarm("c")], faults)
    assert (verdict.caught, verdict.false, verdict.faults) == (1, 2, 3)
    assert verdict.f1 == pytest.approx(2 * 1 / (1 + 2 + 3))


def test_few_alarms_and_alarms_of_many_propose_nothing() -> None:
    assert proposals([alarm(), alarm()], spans("a", "b"), (), 1.0, 0.1) == []
    spread = [alarm(entity, metric) for entity in "abc" for metric in "mno"]
    assert proposals(spread, spans("a", "b", "c"), (), 1.0, 0.1) == []


def test_small_deviations_propose_a_least_and_one_sided_ones_ask_a_person() -> None:
    told = [alarm("abc"[at % 3], "disk", at, deviation=2.0, expected=100.0, direction="down") for at in range(10)]
    least, side = proposals(told, spans("a", "b", "c"), (), 1.0, 9.0)
    assert least.pattern == Pattern(metrics="disk", least_ratio=0.1)
    assert (side.pattern, side.sure) == (Pattern(metrics="disk", direction="up"), False)


def test_known_faults_say_which_side_and_how_far() -> None:
    false = [alarm("abc"[at % 3], "lag", 100 * at, deviation=3.0, direction="down") for at in range(1, 7)]
    right = [alarm("a", "lag", 0, deviation=9.0)]
    found = proposals([*false, *right], spans("a", "b", "c"), [Fault(START, START + 1)], 1.0, 9.0)
    assert [p.pattern for p in found] == [Pattern(metrics="lag", direction="up"), Pattern(metrics="lag", least=3.1)]
    assert all(p.sure for p in found)


def test_a_pattern_that_tells_no_less_or_misses_a_fault_is_not_proposed() -> None:
    def of(told: int, caught: int, subject: str = "a", sure: bool = True) -> Tried:
        return Tried(Proposal(subject, Pattern(), "", 8, sure), told, 10, caught, 3)

    assert kept([of(10, 3), of(2, 2)]) == []
    first, better, later = of(8, 3), of(6, 3), of(1, 3)
    assert kept([first, better, later]) == [better]
    assert kept([first, of(7, 3, "b", False)]) == [first, of(7, 3, "b", False)]


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
    assert faults_in(tmp_path / "faults") == [Fault(1_795_251_600_000, 1_795_252_200_000, found)]


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


def test_the_command_prints_tables_and_writes_a_page_and_settings(tmp_path: Path) -> None:
    def run(*more: str) -> Any:
        line = ["tune", str(folder()), "--budgets", "1,0.5", *more]
        done = CliRunner().invoke(build(), line, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done

    text = run().stdout
    assert "What each budget would have told" in text
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


@pytest.mark.kafka
def test_the_telemetry_of_a_broker_between_two_times_is_what_is_tuned_on(broker: Broker) -> None:
    begun = round(time.time() * 1000)

    def publish(entity: str, rows: int) -> None:
        rng = np.random.default_rng(3)
        values = rng.normal(100, 1, (rows, 3))
        values[1_200:1_205] += 40
        with Publisher(broker) as publisher:
            for at, sample in enumerate(values.tolist()):
                metrics = dict(zip(("a", "b", "c"), sample, strict=True))
                publisher.send(Sample(entity=entity, ts=begun - MINUTE_MS * (rows - at), metrics=metrics))

    def run(*more: str) -> Any:
        line = ["tune", *more, "--broker", broker.bootstrap, "--budgets", "0.5,5", "--json"]
        return CliRunner().invoke(build(), line)

    publish("tune-before", 20)
    time.sleep(0.05)
    first = round(time.time() * 1000)
    time.sleep(0.05)
    publish("tune-1", 1_500)
    publish("tune-2", 1_500)
    time.sleep(0.05)
    last = round(time.time() * 1000)
    time.sleep(0.05)
    publish("tune-after", 20)
    done = run("--from", str(first), "--to", str(last))
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["samples"] >= 3_000
    named = {noise["name"] for noise in said["noisiest_entities"]}
    assert {"tune-1", "tune-2"} <= named
    assert not {"tune-before", "tune-after"} & named
    assert said["budgets"][0]["told"] <= said["budgets"][1]["told"]
    nothing = run("--from", "2001-01-01", "--to", "2001-01-02")
    assert isinstance(nothing.exception, UserError)
    assert "nothing was measured" in str(nothing.exception)
