"""The detection bench on a small folder of its own: every figure is there, for every detector."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.bench.detection import DETECTORS
from app.cli import build

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


def test_every_figure_is_told_for_every_detector_and_a_plain_fault_is_found(data: Path) -> None:
    done = CliRunner().invoke(build(), ["bench", "detection", "--data", str(data), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
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
