"""The scorers against values that others computed with the originals, and against cases a person can check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.bench.scoring import NabFile, auc_pr, events, nab, segments, total, vus_pr, window_of
from app.offline.score import load

DATA = Path(__file__).parents[4] / "shared" / "data"

# score: L2 norm over columns of (test - mean(train)) / (std(train) + 0.01); by TSB-AD's own code
KNOWN = {
    "smd/machine-2-1": (125, 0.2941, 0.2349), "smd/machine-3-4": (21, 0.8914, 0.8898),
    "asd/omi-2": (125, 0.2518, 0.2835), "asd/omi-6": (9, 0.0742, 0.0913),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_vus_and_auc_are_those_of_the_original(name: str) -> None:
    path = DATA / f"{name}.npz"
    if not path.is_file():
        pytest.skip("the shared data is not here")
    held = load(path)
    assert held.label is not None
    score = np.sqrt((((held.values - held.train.mean(0)) / (held.train.std(0) + 0.01)) ** 2).sum(1))
    window, vus, auc = KNOWN[name]
    assert window_of(held.values[:, 0]) == window
    assert vus_pr(held.label, score, window) == pytest.approx(vus, abs=5e-5)
    assert auc_pr(held.label, score) == pytest.approx(auc, abs=5e-5)


def test_an_event_is_caught_by_an_alarm_in_it_and_a_run_outside_is_one_false_alarm() -> None:
    label = np.array([0, 0, 1, 1, 1, 0, 0, 0, 1, 1])
    alarm = np.array([1, 1, 0, 0, 1, 1, 0, 1, 0, 0])
    found = events(label, alarm)
    assert (found.caught, found.missed, found.false, found.delays) == (1, 1, 2, (2,))
    assert events(label, alarm, limit=1).caught == 0
    assert total([found, found]).caught == 2
    assert segments(label) == [(2, 4), (8, 9)]


def test_nab_is_a_hundred_for_the_first_point_of_each_window_and_less_for_later_ones() -> None:
    score = np.zeros(1000)
    score[500] = 1.0
    assert nab([NabFile(150, [(500, 599)], score)])[0] == pytest.approx(100.0, abs=0.1)
    late = np.zeros(1000)
    late[580] = 1.0
    assert 50 < nab([NabFile(150, [(500, 599)], late)])[0] < 100
    wrong = np.zeros(1000)
    wrong[700] = 1.0
    assert nab([NabFile(150, [(500, 599)], wrong)])[0] < 50.1
