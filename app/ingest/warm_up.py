"""Compiles the kernels of the lane before the first record arrives."""

from __future__ import annotations

from agents.decode import LARGE, Decode, chunk_of
from agents.detect import Detect
from models.detection.entity_detectors import EntityDetectors
from models.detection.settings import DetectionSettings
from topics.batch import Batch
from topics.codec import encode
from topics.frames import FrameBuilder
from topics.spec import Raw
from topics.telemetry import METRICS, Sample

ENTITY = "rehearsal"
NOW = 10**12


def warm_up(settings: DetectionSettings | None = None) -> None:
    """Run samples through `decode`, `detect`, and each learner that the settings choose."""
    values = {"a": 1.0, "b": 2.0}
    message = encode(Sample(entity=ENTITY, ts=NOW, metrics=values))
    for name in {name for pattern in (settings or DetectionSettings()).patterns for name in pattern.learners or ()}:
        EntityDetectors(name, ("a", "b")).observe(NOW, values, forked=False)
    detect = Detect()
    frame = FrameBuilder()  # a large frame is read without a copy, which is another type for the compiler
    for number in range(LARGE // 2):
        frame.add(ENTITY, NOW + number + 1, values)
    messages = message.value, message.value, frame.take()  # the second message uses names that the first one added
    raws = [Raw(METRICS.name, 0, at, b"", value) for at, value in enumerate(messages)]
    for batch in Decode().step(chunk_of(raws), NOW):
        assert isinstance(batch, Batch)
        list(detect.step([batch], NOW))
