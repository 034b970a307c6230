"""Anomalies, alerts from outside and heartbeats that stop turn into symptoms."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

from agents._taught import Taught
from models.diagnosis.symptoms import Tracker
from models.safety.signing import Refused
from topics.packs import PACKS, PackVersion
from topics.signals import ANOMALIES, SYMPTOMS, Anomaly, Symptom
from topics.spec import Instant, Read, Record, Topic
from topics.telemetry import EVENTS, HEARTBEATS, Event, Heartbeat


class Diagnose(Taught[Tracker]):
    """Says once, for all that rests on it, which symptoms entities have."""

    name = "diagnose"
    reads: ClassVar[tuple[Topic, ...]] = (ANOMALIES, EVENTS, HEARTBEATS, PACKS)
    writes = (SYMPTOMS,)
    shape = Tracker

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Symptom]:
        for read in records:
            match read.record:
                case Anomaly() as anomaly:
                    yield from self.state.observe(anomaly)
                case Event() as event:
                    yield from self.state.event(event, str(read.origin))
                case Heartbeat() as beat:
                    yield from self.state.beat(beat, str(read.origin), now)
                case PackVersion() as word:
                    with contextlib.suppress(Refused):  # that a pack is not believed is for `respond` to say
                        self.learn_pack(word, read.arrived or now)
        if not records:
            yield from self.state.expire(now)


class DiagnoseSamples(Diagnose):
    """The same without heartbeats: for a cluster on which their topic has other partitions than those of the loop."""

    reads = (ANOMALIES, EVENTS, PACKS)

    def prepare(self) -> None:
        super().prepare()
        self.state.beats.nodes.clear()  # nobody would hear of them
