"""What every detector beside the bank promises. Source of the promises: `models.detection.base.Detector`.

The samples are drawn from seeded generators, so that each run tries the same.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Final, get_args

import numpy as np
import orjson

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from app.offline.conformance.promises import Promise, require
from models.detection import members
from models.detection.base import Detector, StateError
from models.detection.entity_detectors import FARTHEST, FEATURES_KEPT
from models.detection.settings import DetectionSettings, Pattern
from topics.batch import Float64
from topics.codec import DeadLetter
from topics.signals import Anomaly, AnomalyKind
from topics.spec import Raw
from topics.telemetry import METRICS, Event

FEATURES: Final = ("cpu", "disk", "latency", "load", "memory")
START_MS: Final = 1_700_000_000_000
WARM_MOST: Final = 10_000  # samples after which a detector has to say something
QUIET_S, FAULT_S, TOLD_S = 900, 200, 60  # an ordinary quarter of an hour, a fault, and how soon it is told
DAMAGES: Final = 200

Subject = type[Detector]


def ordinary(seed: int, samples: int, features: int = len(FEATURES)) -> Float64:
    """Samples of features that do what they always do: (samples, features), in spreads."""
    return np.random.default_rng(seed).normal(0.0, 1.0, (samples, features))


def fed(kind: Subject, samples: int = 600, seed: int = 1) -> Detector:
    """A new detector that has learned so many ordinary samples."""
    detector = kind(FEATURES)
    for x in ordinary(seed, samples):
        detector.observe(x, True)
    return detector


def _has_a_name(kind: Subject) -> None:
    require(isinstance(kind.name, str) and kind.name.isidentifier(), f"its name is {kind.name!r}")
    require(isinstance(kind.version, int) and kind.version >= 1, f"its version is {kind.version!r}")
    require(
        kind.kind in get_args(AnomalyKind), f"its kind is {kind.kind!r}, not one of {', '.join(get_args(AnomalyKind))}"
    )
    require(0 <= kind.warm <= WARM_MOST, f"it is warm after {kind.warm} samples")


def _is_determined(kind: Subject) -> None:
    one, two = kind(FEATURES), kind(FEATURES)
    for number, x in enumerate(ordinary(1, 600)):
        first, second = one.observe(x.copy(), True), two.observe(x.copy(), True)
        require(first == second, f"sample {number} has {first} in one and {second} in the other")
    require(one.dump() == two.dump(), "their states differ")


def _survives_as_bytes(kind: Subject) -> None:
    one, two = fed(kind), kind(FEATURES)
    two.load(one.dump())
    require(two.dump() == one.dump(), "what was loaded is dumped as other bytes")
    samples = ordinary(2, 300)
    samples[100:, 1] += 4.0
    samples[::7, 2] = math.nan
    for number, x in enumerate(samples):
        first, second = one.observe(x.copy(), True), two.observe(x.copy(), True)
        require(first == second, f"sample {number} after the load has {second}, and {first} without it")
    require(two.dump() == one.dump(), "the states differ 300 samples later")


def _learns_only_when_told(kind: Subject) -> None:
    detector = fed(kind)
    before = detector.dump()
    for number, x in enumerate(ordinary(3, 300) * 5.0):
        detector.observe(np.clip(x, -FARTHEST, FARTHEST), False)
        if number % 100 == 99:
            require(detector.dump() == before, f"its state is another one after {number + 1} samples")


def _leaves_the_sample_alone(kind: Subject) -> None:
    detector = fed(kind)
    x = ordinary(4, 1)[0]
    given = x.copy()
    detector.observe(given, True)
    require(np.array_equal(x, given), "it changed the array that it was given")


def _stays_finite_and_bounded(kind: Subject) -> None:
    detector, rng = fed(kind), np.random.default_rng(4)
    size = len(detector.dump())
    for number in range(3_000):
        x = rng.choice([0.0, -FARTHEST, FARTHEST, math.nan, 1e-300], len(FEATURES))
        if number == 7:
            x[:] = math.nan
        score, place = detector.observe(x, True)
        require(math.isfinite(score) and score >= 0.0, f"sample {number} has the score {score}")
        require(-1 <= place < len(FEATURES), f"sample {number} has the place {place} of {len(FEATURES)} features")
        if number % 1000 == 0:
            detector.dump()
    now = len(detector.dump())
    require(now <= 2 * size + 20_000, f"its state grew from {size} to {now} bytes in 3,000 samples")


def _takes_one_feature_and_the_most(kind: Subject) -> None:
    for count in (1, FEATURES_KEPT):
        detector = kind(tuple(f"m{n:02}" for n in range(count)))
        for x in ordinary(5, 50, count):
            _, place = detector.observe(x, True)
            require(-1 <= place < count, f"the place {place} of {count} features")
        kind(detector.features).load(detector.dump())


def _refuses_the_state_of_another(kind: Subject) -> None:
    others = [members.member(name) for name in ("gaussian", "adwin") if name != kind.name]
    states = {other.name: fed(other, 40).dump() for other in others}
    for name, state in {**states, "nobody": b"", "a text": b"state"}.items():
        detector = kind(FEATURES)
        require(_is_refused(detector, state), f"it loads the state of {name}")


def _refuses_damage(kind: Subject) -> None:
    good, rng = fed(kind, 40).dump(), np.random.default_rng(6)
    with _without_stderr():
        for _ in range(DAMAGES):
            state = bytearray(good)
            for _ in range(rng.integers(1, 5)):
                state[rng.integers(len(state))] = rng.integers(256)
            if rng.random() < 0.5:
                del state[rng.integers(len(state)) :]
            detector = kind(FEATURES)
            if not _is_refused(detector, bytes(state)):
                detector.dump()


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """River's Rust prints a backtrace of each damaged window that it refuses, past Python's stderr."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _is_refused(detector: Detector, state: bytes) -> bool:
    try:
        detector.load(state)
    except StateError:
        return True
    return False


class Site:
    """One entity of eight metrics, a sample a second.

    names: the learners that settings choose for it; they must be known to `models.detection.members`.
    """

    def __init__(self, *names: str) -> None:
        self.settings = DetectionSettings((Pattern(entities="shop/*", learners=names),))

    def raws(self, samples: int, shift_from: int, shift: float, seed: int = 5) -> list[Raw]:
        """Messages in which four of the metrics are `shift` higher from one sample on; their spread is 2."""
        rng = np.random.default_rng(seed)
        return [
            _message(number, {
                f"m{n}": float(rng.normal(50 + shift * (number >= shift_from and n < 4), 2)) for n in range(8)
            }) for number in range(samples)
        ]  # fmt: skip

    def told(self, raws: Sequence[Raw], cut: int = 50, restart: bool = False) -> list[Anomaly]:
        """The anomalies of messages that come in batches of `cut`; `restart`: the agents are restored after each."""
        return list(self._told(raws, cut, restart))

    def _told(self, raws: Sequence[Raw], cut: int, restart: bool) -> Iterator[Anomaly]:
        decode, detect = Decode(), Detect(self.settings)
        for begin in range(0, len(raws), cut):
            decoded = decode.step(chunk_of(raws[begin : begin + cut]), 0)
            yield from detect.step([each for each in decoded if not isinstance(each, DeadLetter | Event)], 0)
            if restart:
                states = decode.snapshot(), detect.snapshot()
                decode, detect = Decode(), Detect(self.settings)
                decode.restore(states[0])
                detect.restore(states[1])
                require(detect.snapshot() == states[1], "what was restored has another snapshot")


def _message(number: int, metrics: dict[str, float]) -> Raw:
    ts = START_MS + 1000 * number
    value = orjson.dumps({"entity": "shop/db", "ts": ts, "metrics": metrics})
    return Raw(METRICS.name, 0, number, b"shop/db", value, (), ts)


def _tells_a_fault(kind: Subject) -> None:
    site = Site(kind.name)
    told = [a for a in site.told(site.raws(QUIET_S + FAULT_S, QUIET_S, 30.0)) if a.view == "second"]
    raised = [a for a in told if a.state == "raised"]
    late = [a for a in raised if a.ts >= START_MS + 1000 * QUIET_S]
    require(bool(late), "it is silent while four of eight metrics are fifteen spreads off for 200 seconds")
    first = late[0]
    said = first.detector, first.detector_version, first.kind
    require(said == (kind.name, kind.version, kind.kind), f"its anomaly is by {said}")
    after = first.ts / 1000 - START_MS / 1000 - QUIET_S
    require(after < TOLD_S, f"the fault is told after {after:.0f} s")
    require(first.attribution[0].metric in {"m0", "m1", "m2", "m3"}, f"it blames {first.attribution[0].metric}")
    require(first.score >= 1.0, f"its score is {first.score}, where the boundary is 1")
    quiet = len(raised) - len(late)
    require(quiet <= 2, f"it raises {quiet} alarms in an ordinary quarter of an hour")


PROMISES: Final[tuple[Promise[Subject], ...]] = (
    Promise("it has a name, a version from 1 on, a kind of the schema, and is warm within 10,000 samples", _has_a_name),
    Promise("two that were given the same samples have the same scores and the same state", _is_determined),
    Promise("its state as bytes gives equal scores for the next 300 samples", _survives_as_bytes),
    Promise("a sample that it may not learn leaves no trace in its state", _learns_only_when_told),
    Promise("it does not change the sample that it is given", _leaves_the_sample_alone),
    Promise("scores are finite and not negative, and its state is bounded, whatever comes", _stays_finite_and_bounded),
    Promise(f"it works with one feature and with {FEATURES_KEPT}", _takes_one_feature_and_the_most),
    Promise("it refuses the state of another detector with StateError", _refuses_the_state_of_another),
    Promise("it refuses damaged state with StateError, or is sound with it", _refuses_damage),
    Promise("a fault is told within a minute, under its own name, and an ordinary quarter of an hour is quiet",
            _tells_a_fault),
)  # fmt: skip
