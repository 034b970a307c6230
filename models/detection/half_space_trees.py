"""Half-space trees over arrays: the scores of River's, bit for bit, at a hundredth of their cost.

Trees depend on their seed and on the names of the features alone, so River makes them once for all entities with the
same features. An entity has the masses of the leaves of its latest window, and for each leaf of the reference window
what the whole path to it is worth; a sample is one walk a tree. Source: Tan, Ting and Liu 2011, as in river.anomaly.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.detection.base import WHOLE, Detector, StateError
from topics.batch import Float64, Int32, Int64
from topics.kernel import kernel

TREES: Final = 25
HEIGHT: Final = 6
WINDOW: Final = 250
SEED: Final = 1
REACH: Final = 6.0  # spreads to either side that are told apart


class Forest(NamedTuple):
    """The trees of a set of features: nodes in the order of a heap."""

    feature: Int32  # (trees, 2^height - 1)
    threshold: Float64  # likewise


@functools.lru_cache(maxsize=256)
def forest(features: tuple[str, ...], trees: int = TREES, height: int = HEIGHT, seed: int = SEED) -> Forest:
    """The trees that River makes for these features, each in 0..1."""
    from river import anomaly  # half a second that a worker without such learners need not wait

    model = anomaly.HalfSpaceTrees(n_trees=trees, height=height, seed=seed)
    model.learn_one(dict.fromkeys(features, 0.5))
    place = {feature: at for at, feature in enumerate(features)}
    inner = (1 << height) - 1
    feature, threshold = np.zeros((trees, inner), np.int32), np.zeros((trees, inner))
    for tree, root in enumerate(model.trees):
        nodes = [(root, 0)]
        while nodes:
            node, at = nodes.pop()
            if at < inner:
                feature[tree, at], threshold[tree, at] = place[node.feature], node.threshold
                nodes += [(child, 2 * at + 1 + side) for side, child in enumerate(node.children)]
    return Forest(feature, threshold)


@kernel
def _heavier(mass: Int32, node: int, leaves: int) -> int:
    """The child of `node` under which the latest window has more: where a sample without the feature goes."""
    above, depth = node + 1, 0
    while above > 1:
        above >>= 1
        depth += 1
    span = leaves >> (depth + 1)
    first = ((2 * node + 1) + 1 - (1 << (depth + 1))) * span
    left, right = 0, 0
    for leaf in range(span):
        left += mass[first + leaf]
        right += mass[first + span + leaf]
    return 2 * node + 2 if left < right else 2 * node + 1


@kernel
def walk(trees: Forest, x: Float64, mass: Int32, worth: Int32, learn: bool) -> int:
    """The worth of the leaves that `x` (features, NaN: not measured) comes to; with `learn`, it is counted there."""
    total, inner = 0, trees.feature.shape[1]
    for tree in range(trees.feature.shape[0]):
        node = 0
        while node < inner:
            value = x[trees.feature[tree, node]]
            if value != value:
                node = _heavier(mass[tree], node, inner + 1)
            else:
                node = 2 * node + 1 + (value >= trees.threshold[tree, node])
        total += worth[tree, node - inner]
        if learn:
            mass[tree, node - inner] += 1
    return total


def pivot(mass: Int32, worth: Int32, least: float) -> None:
    """The latest window becomes the reference: what each leaf's path is worth, down to where few were seen."""
    _pivot(mass, worth, least, np.empty((3, 2 * mass.shape[1] - 1), np.int64))


@kernel
def _pivot(mass: Int32, worth: Int32, least: float, nodes: Int64) -> None:
    leaves = mass.shape[1]
    count, value, goes_on = nodes[0], nodes[1], nodes[2]
    for tree in range(mass.shape[0]):
        for leaf in range(leaves):
            count[leaves - 1 + leaf] = mass[tree, leaf]
        for node in range(leaves - 2, -1, -1):
            count[node] = count[2 * node + 1] + count[2 * node + 2]
        value[0], goes_on[0] = count[0], int(count[0] >= least)
        depth, last = 1, 2
        for node in range(1, 2 * leaves - 1):
            if node > last:
                depth += 1
                last = 2 * last + 2
            above = (node - 1) >> 1
            value[node] = value[above] + (count[node] << depth if goes_on[above] == 1 else 0)
            goes_on[node] = int(goes_on[above] == 1 and count[node] >= least)
        for leaf in range(leaves):
            worth[tree, leaf] = value[leaves - 1 + leaf]
            mass[tree, leaf] = 0


class Masses(NamedTuple):
    """What one entity's trees have counted."""

    mass: Int32  # (trees, leaves) of the latest window
    worth: Int32  # (trees, leaves) of the reference window


class _State(msgspec.Struct):
    seen: int
    ready: bool
    mass: bytes
    worth: bytes


class HalfSpaceTrees(Detector):
    """Trees of random halves: a sample is odd where few samples of the window before were."""

    name = "half_space_trees"
    version = 1
    kind = "collective"
    warm = 2 * WINDOW

    def __init__(self, features: tuple[str, ...], trees: int = TREES, height: int = HEIGHT) -> None:
        super().__init__(features)
        self.forest = forest(self.features, trees, height)
        self.room = Masses(*(np.zeros((trees, 1 << height), np.int32) for _ in range(2)))
        self.seen = 0  # samples in the latest window
        self.ready = False  # there is a reference window
        self.best = trees * WINDOW * (2 ** (height + 1) - 1)

    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        return self.observe_scaled(np.clip(0.5 + x / (2.0 * REACH), 0.0, 1.0), learn), WHOLE

    def observe_scaled(self, x: Float64, learn: bool = True) -> float:
        """River's score of x (features in 0..1), before it is learned."""
        worth = walk(self.forest, x, self.room.mass, self.room.worth, learn)
        score = 1.0 - worth / self.best if self.ready else 0.0
        if learn:
            self.seen += 1
            if self.seen == WINDOW:
                pivot(self.room.mass, self.room.worth, 0.1 * WINDOW)
                self.seen, self.ready = 0, True
        return score

    def dump(self) -> bytes:
        # no leaf has more than the window in 16 bits; the worth of a path has more
        mass, worth = self.room.mass.astype("<u2").tobytes(), self.room.worth.astype("<i4").tobytes()
        return msgspec.msgpack.encode(_State(self.seen, self.ready, mass, worth))

    def load(self, state: bytes) -> None:
        try:
            kept = msgspec.msgpack.decode(state, type=_State)
            mass = _table(kept.mass, "<u2", self.room.mass.shape)
            worth = _table(kept.worth, "<i4", self.room.worth.shape)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateError(f"no half-space trees of {len(self.features)} features: {error}") from None
        if not 0 <= kept.seen < WINDOW or mass.max() > WINDOW or worth.min() < 0 or worth.sum(axis=0).max() > self.best:
            raise StateError("half-space trees with masses that no window has")
        self.room, self.seen, self.ready = Masses(mass, worth), kept.seen, kept.ready


def _table(data: bytes, kind: str, shape: tuple[int, ...]) -> NDArray[np.int32]:
    return np.frombuffer(data, kind).reshape(shape).astype(np.int32)
