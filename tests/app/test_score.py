"""Recordings are scored by the code of the live path: the same bits, and what every kind of file becomes."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
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
