"""Reading whole topics record by record: for the audit's examination, drills and tests. Commands read the index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.kafka.broker import Broker, read_all
from topics.codec import DecodeError, decode
from topics.spec import Instant, Read, Record, Topic


def records(broker: Broker, topics: Iterable[Topic], since_ms: Instant | None = None) -> Iterator[Read[Record]]:
    """Everything readable on the topics up to now; what does not decode was dead-lettered by its agent."""
    for raw in read_all(broker, [topic.name for topic in topics], since_ms=since_ms):
        try:
            yield decode(raw)
        except DecodeError:
            continue
