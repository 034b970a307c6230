"""Messages of other agents, by topic: which format each holds, and the samples and events that come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from topics import formats
from topics.codec import Cause, DecodeError
from topics.formats import native
from topics.formats.names import Logged, Sampled, severity_of
from topics.formats.naming import Naming
from topics.formats.tolerance import Refusals, Refuse, strict
from topics.spec import Instant, Raw, Record
from topics.telemetry import Event, Sample

AUTO: Final = "auto"  # the first message that can be read says what its topic and content type hold
MIXED: Final = "mixed"  # every message says for itself what it is
OURS: Final = "opsloop"
LOUD: Final = frozenset({"emerg", "alert", "crit", "err", "warning"})
MOST_RECOGNISED: Final = 10_000  # (topic, content type): the one that was not asked for longest is forgotten
MOST_METRICS: Final = 200  # of one sample: however long the names are, its message has less than a megabyte

Choose = Callable[[str], str]  # topic → a name of `formats.READERS`, or one of the three above


class ForeignReader:
    """Reads messages of topics whose format is chosen by name, or recognised from the first message."""

    def __init__(self, choose: Choose, naming: Naming | None = None) -> None:
        self._choose, self._naming = choose, naming or Naming()
        self._recognised: dict[tuple[str, bytes], str] = {}

    def read(self, raw: Raw, now: Instant = 0) -> tuple[list[Record], Refusals]:
        """A `Sample` for each entity and time in a message, an `Event` for each loud line; and what is refused.

        now: the reader's time, ms; 0: the message's arrival is the only time that is known. A producer's clock says
        little about when it arrived.

        Raises:
            DecodeError: nothing of the message can be read.
        """
        refused, arrived = Refusals(), now or raw.arrived
        self._naming.begin(arrived, raw.topic)
        found = records(self._find(raw, refused, now), arrived, refused)
        return [*found, *self._naming.told()], refused

    def _find(self, raw: Raw, refuse: Refuse, now: Instant) -> Iterable[Sampled | Logged]:
        content = native.content_of(raw.value)
        chosen = self._choose(raw.topic)
        if chosen not in (AUTO, MIXED):
            return self._read(content, raw.key, chosen, refuse, raw.arrived or now)
        place = raw.topic, next((value for name, value in raw.headers if name.lower() == "content-type"), b"")
        known = self._recognised.pop(place, "") if chosen == AUTO else ""
        if known:
            self._recognised[place] = known  # asked for last
        format = known or (OURS if native.is_ours(content) else formats.recognise(content))
        try:
            found = self._read(content, raw.key, format, refuse, raw.arrived or now)
        except DecodeError as error:
            said = f"{error.detail} (the topic holds {known}; if it holds several formats, say so: {MIXED})"
            raise DecodeError(error.cause, said if known else error.detail) from None
        if chosen == AUTO:
            self._recognised[place] = format
            if len(self._recognised) > MOST_RECOGNISED:
                del self._recognised[next(iter(self._recognised))]
        return found

    def _read(
        self, content: formats.Content, key: bytes | None, format: str, refuse: Refuse, arrived: Instant
    ) -> Sequence[Sampled | Logged]:
        if format == OURS:
            return native.ours(content, refuse)
        return native.foreign(content, key, format, refuse, arrived, self._naming)


def records(found: Iterable[Sampled | Logged], arrived: Instant, refuse: Refuse = strict) -> list[Record]:
    """What was found in a message as records: measurements of one entity and time together.

    `refuse` is told of each stamp that is not sound, held against the message's arrival; by default it raises.
    """
    samples: dict[tuple[str, Instant], dict[str, float]] = {}
    events: list[Record] = []
    for each in found:
        if fault := native.fault_of(each.ts, arrived):
            refuse(DecodeError(Cause.TIMESTAMP, fault))
        elif isinstance(each, Sampled):
            samples.setdefault((each.entity, each.ts), {}).update(each.metrics)
        elif severity_of(each.severity) in LOUD:
            text = f"{each.severity}: {each.text}".replace("\n", " ")
            events.append(Event(entity=each.entity, ts=each.ts, kind="log", text=text))
    return [
        Sample(entity=entity, ts=ts, metrics=dict(list(metrics.items())[at : at + MOST_METRICS]))
        for (entity, ts), metrics in samples.items()
        for at in range(0, len(metrics), MOST_METRICS)
    ] + events
