"""River learners as data: what is not on the list is neither written nor read."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import anomaly, cluster, drift, stats, time_series

import models
from models.detection.base import StateError
from models.detection.river_state import SHAPES, dump, load


def learners() -> list[Any]:
    return [
        anomaly.GaussianScorer(), anomaly.StandardAbsoluteDeviation(), drift.ADWIN(),
        drift.PageHinkley(), time_series.HoltWinters(0.3, 0.1), stats.Mean(), stats.Var(),
    ]  # fmt: skip


def test_equal_learners_give_equal_bytes_whatever_the_order_of_their_dictionaries() -> None:
    one, two = anomaly.GaussianScorer(), anomaly.GaussianScorer()
    for scored_sample in range(50):
        one.learn_one(None, scored_sample)
        two.learn_one(None, scored_sample)
    vars(two).update({name: vars(two).pop(name) for name in reversed([*vars(two)])})
    assert dump(one) == dump(two)
    assert dump(load(dump(one))) == dump(one)


def test_a_class_that_is_not_on_the_list_is_not_written() -> None:
    for learner in (cluster.KMeans(), stats.Quantile(0.9), anomaly.GaussianScorer(window_size=10), object(), print):
        with pytest.raises(StateError):
            dump(learner)


def test_a_field_that_is_not_on_the_list_is_not_written() -> None:
    mean = stats.Mean()
    mean.extra = 1
    with pytest.raises(StateError, match="extra"):
        dump(mean)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_learner_that_is_not_finite_is_not_written(wrong: float) -> None:
    mean = stats.Mean()
    mean._mean = wrong
    with pytest.raises(StateError, match="finite"):
        dump(mean)
    scorer = anomaly.GaussianScorer()
    scorer.gaussian._var._S = wrong
    with pytest.raises(StateError, match="finite"):
        dump(scorer)
    window = drift.ADWIN()
    window.update(wrong)
    with pytest.raises(StateError, match="finite"):
        dump(window)


def told(name: str, state: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(["learner", name, state])


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"\x93", b"garbage", msgspec.msgpack.encode({"a": 1}),
        told("builtins.eval", {}), told("os.system", {}), told("river.stats.mean.Sum", {"n": 1.0}),
        told("river.stats.mean.Mean", {"n": 1.0}),
        told("river.stats.mean.Mean", {"n": 1.0, "_mean": 0.0, "__class__": "x"}),
        told("river.stats.mean.Mean", {"n": 1.0, "_mean": "0"}),
        told("river.stats.mean.Mean", {"n": 1.0, "_mean": math.nan}),
        told("river.stats.mean.Mean", {"n": ["list", [1.0]], "_mean": 0.0}),
        told("river.stats.var.Var", {"ddof": 1, "mean": 0.0, "_S": 0.0}),
        told("river.proba.gaussian.Gaussian", {"seed": 1, "_var": None}),
        msgspec.msgpack.encode(["window", [0.002, 32, 5, 5, 10], b"\xff" * 400]),
        msgspec.msgpack.encode(["window", [0.002, -1, 5, 5, 10], b""]),
        msgspec.msgpack.encode(["deque", "river.stats.mean.Mean", 0.1, []]),
        msgspec.msgpack.encode(["list", [0.0] * 5_000]),
    ],
)  # fmt: skip
def test_what_dump_does_not_write_is_not_read(bad: bytes) -> None:
    with pytest.raises(StateError):
        load(bad)


def test_every_class_of_the_list_is_made_by_its_row_and_comes_back_as_itself() -> None:
    for kind, shape in SHAPES.items():
        made = shape.make()
        assert type(made) is kind
        again = load(dump(made))
        assert type(again) is kind
        assert dump(again) == dump(made)
    for learner in learners():
        assert dump(load(dump(learner))) == dump(learner)


def test_nothing_in_the_house_reads_a_pickle() -> None:
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    root = Path(models.__file__).parents[1]
    for path in (p for folder in ("models", "agents", "topics", "app") for p in (root / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & banned, path
