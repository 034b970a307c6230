"""Recordings are scored by the code of the live path: the same bits, and what every kind of file becomes."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

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
from app.score import load, score
from models.detection.bank import Bank
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


def test_offline_and_live_end_in_the_same_state_and_say_the_same(recording: Path) -> None:
    held, bank = load(recording), Bank()
    scored = score(held, bank=bank)
    decode, detect = Decode(), Detect()
    raws = [
        Raw(METRICS.name, 0, at, b"", orjson.dumps({"entity": held.name, "ts": int(held.ts[at]), "metrics": row}))
        for at, row in enumerate(dict(zip(held.metrics, row, strict=True)) for row in held.values.tolist())
    ]
    said = [a for raw in raws for a in detect.step([*decode.step(chunk_of([raw]), 0)], 0)]
    assert bank.series.tobytes() == detect.bank.series.tobytes()
    assert bank.entities.tobytes() == detect.bank.entities.tobytes()
    told = {a.ts for a in said if a.state != "cleared"}
    assert told == set(held.ts[scored.alarm == 1].tolist())
    assert scored.alarm[400:404].any()
    assert not scored.alarm[200:400].any()


def test_without_the_compiler_the_scores_are_the_same_bits(recording: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.npy"
    program = (
        "import sys, pathlib, numpy as np; from app.score import load, score; "
        "np.save(sys.argv[2], score(load(pathlib.Path(sys.argv[1]))).score)"
    )
    environment = {"NUMBA_DISABLE_JIT": "1", "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", program, recording, plain], check=True, env=environment, timeout=100)
    assert np.load(plain).tobytes() == score(load(recording)).score.tobytes()


def test_what_was_recorded_before_is_fed_first_only_when_asked_for(recording: Path) -> None:
    cold, warm = score(load(recording)), score(load(recording), warm=True)
    assert cold.score[:8].max() == 0.0
    assert warm.score[:8].max() > 0.0
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
