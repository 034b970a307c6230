"""Recordings are scored by the code of the live path: the same bits, and what every kind of file becomes."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from app.cli import build
from app.errors import UserError
from app.offline.score import Recording, load, score
from app.settings import load as settings_of
from models.detection.settings import DetectionSettings, Pattern
from topics.signals import Anomaly
from topics.spec import Raw
from topics.telemetry import METRICS


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    rng = np.random.default_rng(7)
    test = np.cumsum(rng.normal(0, 0.1, (600, 6)), axis=0) + rng.normal(0, 1, (600, 6))
    test[400:420] += 30
    path = tmp_path / "machine.npz"
    np.savez(path, test=test, train=test[:100], label=(np.arange(600) // 20 == 20).astype(int))
    return path


def live(held: Recording, settings: DetectionSettings | None = None) -> tuple[Detect, list[Anomaly]]:
    """A worker that was given the recording, a message a row, and what it said."""
    decode, detect = Decode(), Detect(settings)
    raws = [
        Raw(METRICS.name, 0, at, b"", orjson.dumps({"entity": held.name, "ts": int(held.ts[at]), "metrics": row}))
        for at, row in enumerate(dict(zip(held.metrics, row, strict=True)) for row in held.values.tolist())
    ]
    return detect, [a for raw in raws for a in detect.step([*decode.step(chunk_of([raw]), 0)], 0)]


def told(said: list[Anomaly], detector: str) -> set[int]:
    """When its alarms were on."""
    return {a.ts for a in said if a.detector == detector and a.state != "cleared"}


SETTINGS = {
    "plain": "",
    "least": "least = 100.0",
    "down": 'direction = "down"',
    "lasts": "lasts_s = 180",
    "edges": "opens_at = 2.0\nopens_samples = 2\ncloses_at = 1.5\ncloses_samples = 1",
    "confirm": "confirm = true",
    "range": "high = 12.0",
    "learners": 'learners = ["gaussian", "absolute_deviation"]',
    "season": 'season = "day"',
    "another": 'entities = "other"\nleast = 100.0',
}


def chosen(folder: Path, name: str) -> Path:
    """A file of settings."""
    file = folder / f"{name}.toml"
    file.write_text(f'[safety]\nmode = "observe"\n\n[[detection.patterns]]\n{SETTINGS[name]}\n')
    return file


@pytest.mark.parametrize("name", SETTINGS)
def test_offline_and_live_end_in_the_same_state_and_say_the_same(recording: Path, tmp_path: Path, name: str) -> None:
    held, settings = load(recording), settings_of(chosen(tmp_path, name)).detection
    offline = Detect(settings)
    scored = score(held, detect=offline)
    detect, said = live(held, settings)
    assert offline.snapshot() == detect.snapshot()
    on = {"bank": scored.alarm, **scored.second}
    assert {a.detector for a in said} <= on.keys()
    for detector, alarm in on.items():
        assert told(said, detector) <= set(held.ts[alarm == 1].tolist()), detector
    assert told(said, "bank") == set(held.ts[scored.alarm == 1].tolist())
    assert scored.score.tobytes() == score(held, settings).score.tobytes()


def test_settings_change_what_is_told_and_nothing_of_the_scores(recording: Path, tmp_path: Path) -> None:
    held = load(recording)
    by = {name: score(held, settings_of(chosen(tmp_path, name)).detection) for name in SETTINGS}
    plain = by["plain"]
    assert plain.alarm[400:404].any()
    assert not plain.alarm[200:400].any()
    assert {name for name in by if by[name].score.tobytes() != plain.score.tobytes()} == set()
    assert not by["least"].alarm.any()
    assert not by["down"].alarm[400:420].any()
    assert by["lasts"].alarm.argmax() == plain.alarm.argmax() + 3
    assert 0 < by["edges"].alarm.sum() < plain.alarm.sum()
    assert by["range"].second["range"][400:420].all()
    assert not by["range"].second["range"][200:380].any()
    assert by["learners"].second.keys() >= {"gaussian", "absolute_deviation"}
    assert by["another"].alarm.tobytes() == plain.alarm.tobytes()


def test_the_command_takes_a_file_of_settings_and_tells_every_detector(recording: Path, tmp_path: Path) -> None:
    def run(*more: str) -> dict[str, Any]:
        out = tmp_path / "scores.npz"
        done = CliRunner().invoke(build(), ["score", str(recording), "--out", str(out), "--json", *more])
        assert done.exit_code == 0, done.output
        with np.load(out) as held:
            return {"row": json.loads(done.stdout.splitlines()[-1])["files"][0], **held}

    plain, ranged = run(), run("--settings", str(chosen(tmp_path, "range")))
    silent = run("--settings", str(chosen(tmp_path, "least")))
    assert plain["row"]["alarms"] == 1
    assert plain["row"]["second"].get("range", 0) == 0
    assert (silent["row"]["alarms"], int(silent["alarm"].sum())) == (0, 0)
    assert ranged["row"]["second"]["range"] >= 1
    assert ranged["alarm.range"].shape == ranged["alarm"].shape == (600,)
    with pytest.raises(UserError, match="cannot read the settings file"):
        CliRunner().invoke(build(), ["score", str(recording), "--settings", "none.toml"], catch_exceptions=False)


def test_without_the_compiler_the_scores_are_the_same_bits(recording: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.npy"
    program = (
        "import sys, pathlib, numpy as np; from app.offline.score import load, score; "
        "np.save(sys.argv[2], score(load(pathlib.Path(sys.argv[1]))).score)"
    )
    environment = {"NUMBA_DISABLE_JIT": "1", "PATH": "", "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", program, recording, plain], check=True, env=environment, timeout=100)
    assert np.load(plain).tobytes() == score(load(recording)).score.tobytes()


def test_what_was_recorded_before_is_fed_first_only_when_asked_for(recording: Path) -> None:
    cold, warm = score(load(recording)), score(load(recording), warm=True)
    assert cold.score[:8].max() < 0.15, "series of which nothing is known are as far off as their class says: hardly"
    assert warm.score[:8].max() > 0.5
    assert len(cold.score) == len(warm.score) == 600
    assert cold.attribution.shape == (600, 6)


def test_a_csv_file_has_gaps_times_and_perhaps_answers(tmp_path: Path) -> None:
    text = "timestamp,cpu,memory,label\n2024-01-01 00:00:00,0.5,,0\n2024-01-01 00:05:00,0.6,7,1\n"
    path = tmp_path / "web.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    held = load(path)
    assert (held.name, held.metrics) == ("web", ("cpu", "memory"))
    assert held.ts.tolist() == [1_704_067_200_000, 1_704_067_500_000]
    assert np.isnan(held.values[0, 1])
    assert held.label is not None
    assert held.label.tolist() == [0, 1]
    assert score(held).attribution.shape == (2, 2)


def test_a_row_that_says_nothing_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "web.csv"
    path.write_text("timestamp,cpu\n2024-01-01 00:00:00,1\n2024-01-01 00:05:00,\nnever,3\n2024-01-01 00:15:00,4\n")
    held = load(path)
    assert np.isnan(held.values).ravel().tolist() == [False, True, True, False]
    assert len(score(held).score) == 4


def test_a_row_that_says_nothing_is_no_look_and_has_the_score_of_the_row_before(recording: Path) -> None:
    held = load(recording)
    gone = np.zeros(600, np.bool_)
    gone[[0, 250, 251, 405, 599]] = True
    held.values[gone] = np.nan
    with_gaps = score(held, DetectionSettings((Pattern(learners=("gaussian",), opens_at=1.0),)))
    plain = score(held)
    without = score(replace(held, ts=held.ts[~gone], values=held.values[~gone]))
    assert plain.score[~gone].tobytes() == without.score.tobytes()
    assert plain.alarm[~gone].tobytes() == without.alarm.tobytes()
    assert plain.score[[0, 250, 251, 405, 599]].tolist() == [0.0, *plain.score[[249, 249, 404, 598]].tolist()]
    assert with_gaps.score.tobytes() == plain.score.tobytes()


def test_a_parquet_file_gives_the_scores_of_the_same_csv_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(9).normal(10, 1, (300, 3))
    rows[250:260] += 50
    times = np.datetime64("2024-01-01T00:00:00", "ms") + 60_000 * np.arange(300)
    names = ["cpu", "memory", "disk"]
    table = pyarrow.table({"timestamp": times, **dict(zip(names, rows.T, strict=True)), "host": ["a"] * 300})
    pyarrow.parquet.write_table(table, tmp_path / "web.parquet")
    lines = [",".join([str(at), *map(repr, row)]) for at, row in zip(times, rows.tolist(), strict=True)]
    (tmp_path / "web.csv").write_text("\n".join([",".join(["timestamp", *names]), *lines]))
    one, two = load(tmp_path / "web.parquet"), load(tmp_path / "web.csv")
    assert one.metrics == two.metrics == tuple(names)
    assert one.ts.tobytes() == two.ts.tobytes()
    assert score(one).score.tobytes() == score(two).score.tobytes()
    assert score(one).alarm[250:260].any()


def test_a_sample_that_the_live_path_would_refuse_is_left_out(recording: Path) -> None:
    held = load(recording)
    held.values[300, 2], held.values[301, 3] = np.inf, -1e300
    scored = score(held)
    assert np.isfinite(scored.score).all()
    assert not scored.attribution[300:302].any()
    assert scored.attribution[302].any()


@pytest.mark.parametrize("arrays", [{"test": np.zeros((0, 3))}, {"test": np.zeros((4, 3)), "train": np.zeros((4, 2))}])
def test_arrays_that_are_no_measurements_are_told_in_words(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=r"x\.npz cannot be read"):
        load(path)


def test_every_recording_of_a_folder_is_written_under_a_name_of_its_own(tmp_path: Path) -> None:
    rows = "\n".join(f"2024-01-01 00:{at:02}:00,{at % 7}" for at in range(60))
    for folder in ("real", "artificial"):
        (tmp_path / "nab" / folder).mkdir(parents=True)
        (tmp_path / "nab" / folder / "cpu.csv").write_text(f"timestamp,value\n{rows}\n")
    (tmp_path / "nab" / "windows.json").write_text("{}")
    out = tmp_path / "scores.npz"
    done = CliRunner().invoke(build(), ["score", str(tmp_path / "nab"), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    with np.load(out) as held:
        assert sorted(held.files) == sorted(
            f"{name}.{array}" for name in ("cpu", "real-cpu") for array in ("score", "alarm", "attribution")
        )
        assert held["cpu.score"].shape == held["cpu.alarm"].shape == (60,)
        assert held["cpu.attribution"].shape == (60, 1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"a,b\n1,2\n"])
@pytest.mark.parametrize("name", ["x.npz", "x.csv", "x.csv.gz"])
def test_what_cannot_be_read_is_told_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError):
        load(path)


def test_a_file_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        load(tmp_path / "none.npz")
