"""Batches of telemetry become anomalies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agents._agent import Agent, Buffer
from models.detection import state as learned
from models.detection.partition import Given, PartitionDetector
from models.detection.settings import DetectionSettings
from topics.batch import Forgotten
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant


class Detect(Agent[Given]):
    """Scores every value of a partition, learns it, and says which entities are off.

    An `Anomaly` follows when an alarm is raised, for each further sample while it is on (at most one in `repeat_ms` of
    event time), and when it is cleared. Its attribution has up to ten series with |z| >= 3, strongest first; the
    evidence is the record that the sample came in; `onset` is the event time of the first sample above the boundary.
    Detectors that settings chose beside the bank have alarms of their own, with their own name and `view="second"`.
    """

    name = "detect"
    reads = ()
    writes = (ANOMALIES,)

    def __init__(self, settings: DetectionSettings | None = None, share: float = 1.0) -> None:
        """share: of the fleet that its partition is."""
        self.model = PartitionDetector(settings, share)

    def step(self, records: Iterable[Given], now: Instant) -> Iterator[Anomaly]:  # noqa: ARG002
        for each in records:
            yield from self.model.take(each)

    def keep_only(self, forgotten: Forgotten) -> None:
        """Forget what `Decode.keep_only` has forgotten; nothing is said of it, since it goes on elsewhere."""
        self.model.forget(forgotten)

    def snapshot(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> list[Buffer]:
        return learned.pieces(self.model)

    def restore(self, state: Buffer) -> None:
        learned.load(self.model, state)
