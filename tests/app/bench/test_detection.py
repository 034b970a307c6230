"""The detection bench on a small folder of its own: every figure is there, for every detector."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.bench import detectors
from app.bench.detection import run
from app.bench.detectors import DETECTORS, GRIDS, Judged
from app.cli import build
from app.errors import UserError
from app.offline.score import Recording

FIGURES = {
    "vus_pr", "auc_pr", "precision", "recall", "f1", "f1_in_time", "f1_raised", "median_delay", "alarms_a_day",
    "alarmed_share", "top1", "top3",
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(11)
    for family, name in (("smd", "machine-1-6"), ("smd", "other"), ("asd", "omi-1"), ("asd", "another")):
        (tmp_path / family / "interpretation_label").mkdir(parents=True, exist_ok=True)
        test = rng.normal(10, 1, (400, 6))
        test[300:320, :4] += 40
        np.savez(tmp_path / family / f"{name}.npz", test=test, label=(np.arange(400) // 20 == 15).astype(int))
        if name != "other":  # not every recording says which metrics were to blame
            (tmp_path / family / "interpretation_label" / f"{name}.txt").write_text("300-319:1,2,3,4\n")
    (tmp_path / "nab" / "real").mkdir(parents=True)
    windows = {}
    for name in ("a.csv", "b.csv"):
        values = rng.normal(10, 1, 400)
        values[300:305] += 40
        times = np.datetime64("2024-01-01T00:00:00") + 300 * np.arange(400)
        rows = "\n".join(f"{str(at).replace('T', ' ')},{v}" for at, v in zip(times, values.tolist(), strict=True))
        (tmp_path / "nab" / "real" / f"{name}.gz").write_bytes(gzip.compress(f"timestamp,value\n{rows}\n".encode()))
        windows[f"real/{name}"] = [[str(times[290]).replace("T", " "), str(times[330]).replace("T", " ")]]
    (tmp_path / "nab" / "combined_windows.json").write_text(json.dumps(windows))
    return tmp_path


def bench(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(build(), ["bench", "detection", "--json", "--processes", "1", *words])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_figure_is_told_for_every_detector_and_a_plain_fault_is_found(data: Path) -> None:
    found = bench("--data", str(data), "--only", "smd,asd,nab")
    assert found.pop("shifts") == {family: {"within": 0, "outside": 0} for family in ("smd", "asd", "nab")}
    assert set(found) == {"smd", "smd chosen", "smd reported", "asd", "asd chosen", "asd reported", "nab"}
    for family, by_detector in found.items():
        assert set(by_detector) == set(DETECTORS)
        for figures in by_detector.values():
            assert set(figures) == ({"by_score", "even_files", "odd_files", "by_alarm"} if family == "nab" else FIGURES)
    own = found["smd"]["opsloop"]
    assert own["recall"] == own["top1"] == own["top3"] == 1.0
    assert own["vus_pr"] > 0.8
    assert found["nab"]["opsloop"]["by_score"] > 80
    assert found["nab"]["opsloop"]["by_alarm"] > 80


def test_left_out_machines_have_figures_with_intervals_and_opsloop_its_ratio_to_both_averages(data: Path) -> None:
    found = bench("--data", str(data), "--only", "smd", "--protocol", "loo")
    assert set(found) == {"smd"}
    assert set(found["smd"]) == set(GRIDS)
    figures = {"f1", "precision", "recall", "alarmed_share", "alarms_a_day", "median_delay", "vus_pr"}
    ratios = {"f1_to_ewma", "f1_to_ewma_warmed_up"}
    for detector, told in found["smd"].items():
        named = figures | ratios if detector == "opsloop" else figures
        assert set(told) == {f"{name}{end}" for name in named for end in ("", "_low", "_high")} | {"knobs"}
        assert sum(told["knobs"].values()) == 2
    assert found["smd"]["opsloop"]["recall"] == 1.0


def test_series_of_one_metric_are_measured_where_there_are_any(data: Path) -> None:
    rows = [
        f"{1_700_000_000 + 300 * at},{90 if 500 <= at < 510 else 10 + at % 7},{500 <= at < 510:d}" for at in range(900)
    ]
    (data / "kpi").mkdir()
    (data / "kpi" / "a.csv").write_text("\n".join(["timestamp,value,label", *rows]))
    quiet = np.random.default_rng(3).normal(10, 1, 600)
    np.savez(data / "kpi" / "b.npz", test=quiet, label=np.zeros(600, int))
    own = bench("--data", str(data), "--only", "kpi")["kpi"]["opsloop"]
    assert own["recall"] == 1.0
    assert 0 < own["alarmed_share"] < 0.5
    assert own["alarms_a_day"] == pytest.approx(1 / (900 / 288) / 2)
    left_out = bench("--data", str(data), "--only", "kpi", "--protocol", "loo")["kpi"]["opsloop"]
    assert left_out["recall"] == 1.0


def test_two_processes_find_what_one_does(data: Path) -> None:
    for path in data.glob("smd/*"):
        if path.stem == "other":
            path.unlink()
    words = ("--data", str(data), "--only", "smd")
    assert bench(*words, "--processes", "2") == bench(*words)


def test_people_get_tables(data: Path) -> None:
    line = ["bench", "detection", "--data", str(data), "--only", "asd", "--protocol", "loo", "--processes", "1"]
    done = CliRunner().invoke(build(), line)
    assert done.exit_code == 0, done.output
    assert "windowed gaussian" in done.stdout
    assert "f1_to_ewma_warmed_up" in done.stdout


@pytest.mark.parametrize(
    ("only", "said"),
    [("smd,speed", "no part 'speed'"), ("kpi", "there is no folder"), ("asd", "another.npz has no labels")],
)
def test_what_cannot_be_measured_is_refused(data: Path, only: str, said: str) -> None:
    np.savez(data / "asd" / "another.npz", test=np.ones((40, 2)))
    with pytest.raises(UserError, match=said):
        run(data, True, only=only.split(","), processes=1)


def test_a_gap_is_nothing_to_a_plain_detector() -> None:
    values = np.random.default_rng(5).normal(10, 1, (300, 3))
    values[0, 0] = values[100:150, 1] = values[:, 2] = np.nan
    given: list[Recording] = []

    def taken(recording: Recording) -> Judged:
        given.append(recording)
        return Judged(values[:, 0], values[:, 0], values)

    gaps = Recording("gaps", ("a", "b", "c"), np.arange(300), values, values[:0])
    detectors._filled(taken)(gaps)
    filled = given[0].values
    assert filled[0, 0] == values[1, 0]
    assert set(filled[100:150, 1]) == {values[99, 1]}
    assert not filled[:, 2].any()
    assert np.array_equal(filled[150:, :2], values[150:, :2])


def test_the_average_that_is_warmed_up_has_no_wild_scores_in_its_boundary() -> None:
    values = np.random.default_rng(6).normal(10, 1, (500, 6))
    values[400:410] += 8
    short = Recording("short", tuple("abcdef"), np.arange(500), values, values[:0])
    wild, warm = (detectors.PEERS[name](short) for name in (detectors.EWMA, detectors.EWMA_WARMED_UP))
    assert wild.score[:32].max() > 2 * wild.score[200:400].max()
    assert not warm.score[:32].any()
    assert not wild.alarm.any()
    assert warm.alarm[400:410].any()
