"""Messages of telemetry become batches of numbers; what cannot is refused with its cause, alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from agents._agent import Agent, Buffer, Chunk
from models.topology.presence import Sightings
from topics.batch import Batch, Forgotten, Names, Reused
from topics.chunk import chunk_of as chunk_of
from topics.formats.decoder import LARGE as LARGE
from topics.formats.decoder import Decoded, Decoder, Known
from topics.formats.naming import Naming
from topics.spec import Instant, Raw
from topics.telemetry import EVENTS, METRICS, Event


class Decode(Agent[Raw]):
    """Reads samples, frames and learning controls. Yields what `Decoder.read` gives, in the order of the log.

    An `Event` follows where labels say something of an entity that was not told yet, and when an entity is new, falls
    silent or comes back.

    known: asked before each batch what packs say of series; None: what they said before holds.
    """

    name = "decode"
    reads = (METRICS,)
    writes = (EVENTS,)
    raw = True

    def __init__(
        self, names: Names | None = None, known: Known = lambda: None, naming: Naming | None = None
    ) -> None:  # fmt: skip
        self.decoder = Decoder(names, known, naming)
        self.names = self.decoder.names
        self.sightings = Sightings()

    def step(self, records: Sequence[Raw], now: Instant) -> Iterator[Decoded | Event]:
        if records:
            assert isinstance(records, Chunk)
            for each in self.decoder.read(records):
                if isinstance(each, Batch | Forgotten | Reused):
                    self.sightings.take(each)
                yield each
            yield from self.decoder.naming.told()
        yield from self.sightings.look(self.names, now)

    def keep_only(self, entities: Callable[[str], bool]) -> Forgotten:
        """Forget every entity for which `entities` is false; `Detect.keep_only` is given what this returns."""
        forgotten = self.decoder.keep_only(entities)
        self.sightings.take(forgotten)
        return forgotten

    def snapshot(self) -> bytes:
        return self.decoder.dump()

    def restore(self, state: Buffer) -> None:
        self.decoder.load(state)
        self.sightings = Sightings()
