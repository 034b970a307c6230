"""Half-space trees of our own against River's: the same number for every look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from river import anomaly

from models.detection import half_space_trees as own


@pytest.mark.parametrize(("trees", "height"), [(10, 8), (25, 6), (3, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_every_score_is_rivers(trees: int, height: int, seed: int) -> None:
    features = ("a", "b", "c", "d")
    rng = np.random.default_rng(seed)
    ours = own.HalfSpaceTrees(features, trees, height)
    rivers = anomaly.HalfSpaceTrees(n_trees=trees, height=height, window_size=own.WINDOW, seed=own.SEED)
    for scored_sample in range(3 * own.WINDOW + 40):
        x = rng.beta(2, 5, len(features)) if scored_sample % 50 else rng.random(len(features))
        named = dict(zip(features, x.tolist(), strict=True))
        if scored_sample > 20:  # River makes its trees of the features of its first look
            for gone in rng.choice(len(features), rng.integers(0, 3), replace=False):
                x[gone] = math.nan
                del named[features[gone]]
        assert ours.observe_scaled(x) == rivers.score_one(named)
        rivers.learn_one(named)


def test_without_the_compiler_the_walk_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    compiled, plain = own.HalfSpaceTrees(("a", "b")), own.HalfSpaceTrees(("a", "b"))
    walk, pivot = own.walk.py_func, own._pivot.py_func  # type: ignore[attr-defined]
    for scored_sample in range(own.WINDOW + 60):
        x = rng.random(2)
        first = compiled.observe_scaled(x)
        worth = walk(plain.forest, x, plain.room.mass, plain.room.worth, True)
        assert first == (1.0 - worth / plain.best if scored_sample >= own.WINDOW else 0.0)
        if scored_sample == own.WINDOW - 1:
            with monkeypatch.context() as patched:
                patched.setattr(own, "_pivot", pivot)
                own.pivot(plain.room.mass, plain.room.worth, 0.1 * own.WINDOW)
