"""What other agents publish to topics of their own becomes samples and events of ours, under the entity's key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from agents._agent import Agent
from topics.codec import Cause, DeadLetter, DecodeError
from topics.formats.foreign import Choose, ForeignReader
from topics.formats.naming import Naming
from topics.spec import Instant, Raw, Record
from topics.telemetry import EVENTS, METRICS

KEPT_BYTES: Final = 5_000_000  # of a refused message: the dead-letter topic takes no more than eleven


class Rekey(Agent[Raw]):
    """Yields a `Sample` for each entity and time in a message, and an `Event` for a loud line of a log.

    Another `Event` follows where labels say something of an entity that was not told yet.

    It keeps nothing that matters. What it refuses, the message or parts of it, goes to the dead-letter topic of the
    metrics, with the place it was read from.
    """

    name = "rekey"
    reads = ()  # by pattern
    writes = (METRICS, EVENTS)
    raw = True

    def __init__(self, choose: Choose, naming: Naming | None = None) -> None:
        self.reader = ForeignReader(choose, naming)

    def step(self, records: Sequence[Raw], now: Instant) -> Iterator[Record | DeadLetter]:
        for raw in records:
            try:
                found, refused = self.reader.read(raw, now)
            except DecodeError as error:
                yield _refused(raw, error.cause, error.detail)
                continue
            yield from found
            if refused.count:
                yield _refused(raw, *refused.reason)


def _refused(raw: Raw, cause: Cause, detail: str) -> DeadLetter:
    kept = raw
    if raw.value is not None and len(raw.value) > KEPT_BYTES:
        kept, detail = replace(raw, value=raw.value[:KEPT_BYTES]), f"{detail}; the first {KEPT_BYTES} are kept"
    return DeadLetter(kept, cause, detail, METRICS.dlq)
