"""Compiles the kernels of the lane before the first record arrives."""

from __future__ import annotations

from agents.decode import LARGE, Decode, chunk_of
from agents.detect import Detect
from models.detection.entity_detectors import EntityDetectors
from models.detection.settings import DetectionSettings
from topics.batch import Batch, Names, Steer
from topics.codec import encode
from topics.frames import FrameBuilder
from topics.learning import Learning
from topics.meanings import DIVIDE, Allowed, Meanings, Program
from topics.spec import Raw
from topics.telemetry import METRICS, Sample

ENTITY, PARTED, BARE = "rehearsal", "rehearsal/parts", "rehearsal/bare"
NOW = 10**12


def warm_up(settings: DetectionSettings | None = None) -> None:
    """Run samples through `decode`, `detect`, and each learner that the settings choose."""
    values = {"a": 1.0, "b": 2.0, "c_total": 3.0, 'd_bucket{le="1"}': 4.0, 'd_bucket{le="+Inf"}': 5.0}
    for name in {name for pattern in (settings or DetectionSettings()).patterns for name in pattern.learners or ()}:
        EntityDetectors(name, ("a", "b")).observe(NOW, {"a": 1.0, "b": 2.0}, forked=False)
    whole = encode(Sample(entity=ENTITY, ts=NOW, metrics=values)).value
    parts = [encode(Sample(entity=PARTED, ts=NOW, metrics={name: 1.0})).value for name in ("a", "b")]
    control = encode(Learning(entity=PARTED, ts=NOW, learning="open", incident="rehearsal")).value
    # the second message uses names that the first one added; of a frame from which nothing follows the values lie in
    # the message; one comes before there are parts, and one while a part is held
    plain, counts = _frame(BARE, {"p": 1.0, "q": 2.0}, 1), (_frame(ENTITY, values, 1 + at * LARGE) for at in (1, 2))
    derived = _frame(ENTITY, {"a": 1.0, "b": 2.0}, 1)
    messages = whole, whole, plain, derived, next(counts), *parts, next(counts), control
    ratio = Program("c", ("a", "b"), (0, 1, DIVIDE))
    said = Meanings((ratio,), ranges=(Allowed("a", high=1.0),))
    decode, detect = Decode(Names(meanings=said)), Detect()
    for at, value in enumerate(messages):
        for given in decode.step(chunk_of([Raw(METRICS.name, 0, at, b"", value)]), NOW):
            assert isinstance(given, Batch | Steer | Meanings)
            list(detect.step([given], NOW))


def _frame(entity: str, values: dict[str, float], first: int) -> bytes:
    """A large frame: it is read without a copy, which is another type for the compiler."""
    frame = FrameBuilder()
    for number in range(LARGE // len(values)):
        frame.add(entity, NOW + first + number, values)
    return frame.take()
