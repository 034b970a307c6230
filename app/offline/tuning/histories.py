"""Where a history comes from: recordings, or a broker's telemetry between two times. It can be read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np

from agents.decode import Decode
from app.connection import Broker
from app.errors import UserError
from app.offline.score import Recording, batch_of, load, recordings
from topics.batch import Names
from topics.chunk import Chunk
from topics.formats.decoder import Decoded
from topics.spec import Instant
from topics.telemetry import METRICS, Event

PART: Final = 256  # samples of a recording that are scored before the next ones: some, as a live worker takes them

Progress = Callable[[int, int], None]  # how much of how much was read


class Piece(NamedTuple):
    """The next of a lane: what one worker would see of one partition, in its order."""

    lane: str
    given: Decoded | None  # None: nothing more comes on this lane


class History(Protocol):
    """What was measured, the same at each reading."""

    share: float  # of the fleet that a lane is

    def pieces(self, progress: Progress) -> Iterator[Piece]:
        """Everything in order, a batch at a time. Take each before asking for the next."""
        ...


class Recordings:
    """Recordings in files: an entity each, on a lane of its own, as `opsloop score` has them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises UserError: there is none."""
        self.paths = list(recordings(paths))
        if not self.paths:
            raise UserError(f"there is no recording in {paths[0]}", "Give .npz, .csv, .csv.gz or .parquet files")
        for path in self.paths:
            if not path.is_file():
                raise UserError(f"there is no file {path}", "Give .npz, .csv, .csv.gz or .parquet files")
        self.share = 1.0 / len(self.paths)

    def pieces(self, progress: Progress) -> Iterator[Piece]:
        """Raises UserError: a file holds no measurements."""
        seen: Counter[str] = Counter()
        for done, path in enumerate(self.paths):
            progress(done, len(self.paths))
            recording = load(path)
            name = recording.name if not seen[recording.name] else f"{path.parent.name}-{recording.name}"
            seen[recording.name] += 1
            lane = str(done)
            yield from (Piece(lane, batch) for batch in _parts(recording, name))
            yield Piece(lane, None)
        progress(len(self.paths), len(self.paths))


def _parts(recording: Recording, name: str) -> Iterator[Decoded]:
    whole = batch_of(Names(), name, recording.metrics, recording.ts, recording.values)
    said = whole.only(np.diff(whole.start) > 0)  # a row without a measurement is no sample
    for first in range(0, len(said), PART):
        yield said.part(first, min(first + PART, len(said)))


class Telemetry:
    """What arrived on the telemetry topic of a broker between two times."""

    def __init__(self, broker: Broker, start: Instant, end: Instant) -> None:
        """Where it begins and ends is looked up once, so that each reading has the same messages.

        Raises:
            UserError: the broker does not answer, has no such topic, or nothing arrived in that time.
        """
        from confluent_kafka.admin import OffsetSpec

        from app.kafka.broker import admin
        from app.kafka.groups import offsets
        from app.kafka.places import Extent, cluster_of, extents

        self.broker, self.start, self.end = broker, start, end
        self.ends = extents(broker, [METRICS.name])
        self.starts = {place: extent.low for place, extent in self.ends.items()}
        self.share = 1.0 / len(self.ends)
        if not cluster_of(broker).startswith("mockCluster"):  # which cannot look up an offset by time
            client = admin(broker)
            first, last = (offsets(client, self.ends, OffsetSpec.for_timestamp(at)) for at in (start, end))
            for place, extent in self.ends.items():  # -1: nothing arrived from then on
                self.starts[place] = first[place] if first[place] >= 0 else extent.high
                self.ends[place] = Extent(extent.low, last[place] if last[place] >= 0 else extent.high)
        self.messages = sum(max(0, self.ends[place].high - at) for place, at in self.starts.items())

    def pieces(self, progress: Progress) -> Iterator[Piece]:
        """Raises UserError: the broker does not answer any more."""
        from app.kafka.places import read_on

        stages: dict[int, Decode] = {}
        done = 0
        for messages, _ in read_on(self.broker, self.starts, self.ends):
            done += len(messages)
            progress(min(done, self.messages), self.messages)
            for partition, own in self._wanted(messages).items():
                stage = stages.setdefault(partition, Decode())
                given = stage.step(Chunk(METRICS.name, partition, own), self.end)
                yield from (Piece(str(partition), each) for each in given if not isinstance(each, Event))
        progress(self.messages, self.messages)

    def _wanted(self, messages: Iterable[object]) -> dict[int, list[object]]:
        """The messages of each partition that arrived in time."""
        found: dict[int, list[object]] = {}
        for message in messages:
            partition, offset = message.partition(), message.offset()  # type: ignore[attr-defined]
            arrived = message.timestamp()[1]  # type: ignore[attr-defined]
            if self.start <= arrived < self.end and offset < self.ends[METRICS.name, partition].high:
                found.setdefault(partition, []).append(message)
        return found
