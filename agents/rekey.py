"""What other agents publish to topics of their own becomes samples and events of ours, under the entity's key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from agents._agent import Agent
from topics import formats
from topics.codec import Cause, DeadLetter, DecodeError
from topics.formats import native
from topics.formats.names import Logged, Sampled
from topics.spec import Instant, Raw, Record
from topics.telemetry import EVENTS, METRICS, Event, Sample

AUTO: Final = "auto"  # the first message that can be read says what its topic and content type hold
MIXED: Final = "mixed"  # every message says for itself what it is
OURS: Final = "opsloop"
LOUD: Final = frozenset({"emerg", "alert", "crit", "err", "error", "warning", "warn"})
MOST_SNIFFED: Final = 10_000  # (topic, content type)
MOST_METRICS: Final = 400  # of one sample: however long the names are, its message has less than a megabyte
KEPT_BYTES: Final = 5_000_000  # of a refused message: the dead-letter topic takes no more than eleven

Choose = Callable[[str], str]  # topic → a name of `formats.READERS`, or one of the three above


class Rekey(Agent[Raw]):
    """Yields a `Sample` for each entity and time in a message, and an `Event` for a loud line of a log.

    It keeps nothing that matters. What it refuses goes to the dead-letter topic of the metrics, with the place it was
    read from.
    """

    name = "rekey"
    reads = ()  # by pattern
    writes = (METRICS, EVENTS)
    raw = True

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._sniffed: dict[tuple[str, bytes], str] = {}

    def step(self, records: Sequence[Raw], now: Instant) -> Iterator[Record | DeadLetter]:  # noqa: ARG002
        for raw in records:
            try:
                yield from _records(self._found(raw), raw.arrived)
            except DecodeError as error:
                yield _refused(raw, error)

    def _found(self, raw: Raw) -> Iterable[Sampled | Logged]:
        content = native.content_of(raw.value)
        chosen = self._choose(raw.topic)
        if chosen not in (AUTO, MIXED):
            return _read(content, raw.key, chosen)
        place = raw.topic, next((value for name, value in raw.headers if name.lower() == "content-type"), b"")
        known = self._sniffed.get(place, "") if chosen == AUTO else ""
        format = known or (OURS if native.is_ours(content) else formats.recognise(content))
        try:
            found = _read(content, raw.key, format)
        except DecodeError as error:
            said = f"{error.detail} (the topic holds {known}; if it holds several formats, say so: {MIXED})"
            raise DecodeError(error.cause, said if known else error.detail) from None
        if chosen == AUTO and not known:
            if len(self._sniffed) >= MOST_SNIFFED:
                self._sniffed.clear()
            self._sniffed[place] = format
        return found


def _read(content: formats.Content, key: bytes | None, format: str) -> Sequence[Sampled | Logged]:
    return native.ours(content) if format == OURS else native.foreign(content, key, format)


def _records(found: Iterable[Sampled | Logged], arrived: Instant) -> list[Record]:
    """All of a message or nothing of it: measurements of one entity and time together. Raises DecodeError."""
    samples: dict[tuple[str, Instant], dict[str, float]] = {}
    events: list[Record] = []
    for each in found:
        if fault := native.fault_of(each.ts, arrived):
            raise DecodeError(Cause.TIMESTAMP, fault)
        if isinstance(each, Sampled):
            samples.setdefault((each.entity, each.ts), {}).update(each.metrics)
        elif each.severity.lower() in LOUD:
            text = f"{each.severity}: {each.text}".replace("\n", " ")
            events.append(Event(entity=each.entity, ts=each.ts, kind="log", text=text))
    return [
        Sample(entity=entity, ts=ts, metrics=dict(list(metrics.items())[at : at + MOST_METRICS]))
        for (entity, ts), metrics in samples.items()
        for at in range(0, len(metrics), MOST_METRICS)
    ] + events


def _refused(raw: Raw, error: DecodeError) -> DeadLetter:
    value, detail = raw.value, error.detail
    if value is not None and len(value) > KEPT_BYTES:
        detail = f"{detail}; the first {KEPT_BYTES} are kept"
        value = value[:KEPT_BYTES]
    kept = Raw(raw.topic, raw.partition, raw.offset, raw.key, value, raw.headers, raw.arrived)
    return DeadLetter(kept, error.cause, detail, METRICS.dlq)
