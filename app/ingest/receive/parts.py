"""What one request holds: the parts that are taken, and those that are refused alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from topics.codec import Cause, DecodeError, encode
from topics.formats import native
from topics.formats.foreign import records
from topics.formats.names import Logged, Sampled
from topics.formats.naming import Naming
from topics.formats.tolerance import Refusals
from topics.spec import Instant, Record
from topics.telemetry import GONE, MAX_ALERT, SILENT, Event

UNKNOWN: Final = "unknown"  # the entity of what names none, as for messages of topics
MAX_EVENT_BYTES: Final = 500_000
MAX_REVISION: Final = 200  # characters
OF_WORKERS: Final = (SILENT, GONE)  # kinds of events that nobody else tells


class Refused(NamedTuple):
    """A part that is refused, with what is kept of it."""

    cause: Cause
    detail: str
    key: bytes  # of the letter: sent again, it goes where the entity's records are
    value: bytes


class Parts:
    """The parts of a request that arrived at `arrived` (ms), each held against the bounds of its record.

    Numbers that are not finite are passed over: Prometheus and OpenTelemetry send them where there is nothing to say.
    """

    def __init__(self, arrived: Instant) -> None:
        self.arrived = arrived
        self.refused: list[Refused] = []
        self.taken = 0  # values, lines and events that are right, with those that are passed over
        self.passed = 0  # values that are no finite number
        self.written: dict[str, int] = {}  # for protocols that tell kinds apart
        self._found: list[Sampled | Logged] = []
        self._events: list[Event] = []

    def records(self) -> list[Record]:
        """What is taken, as records. Measurements of one entity and time are together."""
        return [*records(self._found, self.arrived), *self._events]

    def sample(self, entity: str, ts: Instant, metrics: Mapping[str, float]) -> None:
        """Take the measurements of an entity at `ts` (ms); those that are out of bounds are refused alone."""
        entity = entity or UNKNOWN
        try:
            if metrics and all(map(math.isfinite, metrics.values())):
                self._found.append(self._sound(entity, ts, dict(metrics)))
                self.taken += len(metrics)
                return
        except (DecodeError, TypeError, OverflowError):
            pass  # the values are tried one by one
        for name, value in metrics.items():
            self.value(entity, ts, name, value)

    def value(self, entity: str, ts: Instant, name: str, value: float) -> bool:
        """Take one measurement. Whether it was not refused."""
        entity = entity or UNKNOWN
        try:
            if isinstance(value, float) and not math.isfinite(value):
                self.passed += 1
            else:
                self._found.append(self._sound(entity, ts, {name: value}))
        except DecodeError as error:
            self.refuse(error, {"entity": entity, "ts": ts, "metrics": {name: value}})
            return False
        self.taken += 1
        return True

    def together(self, entity: str, ts: Instant, metrics: Mapping[str, float]) -> bool:
        """Take what follows from one value, or refuse it as one. Whether it was not refused."""
        entity = entity or UNKNOWN
        try:
            if metrics:
                self._found.append(self._sound(entity, ts, dict(metrics)))
            else:
                self.passed += 1
        except DecodeError as error:
            self.refuse(error, {"entity": entity, "ts": ts, "metrics": dict(metrics)})
            return False
        self.taken += 1
        return True

    def _sound(self, entity: str, ts: Instant, metrics: dict[str, float]) -> Sampled:
        if fault := native.fault_of(ts, self.arrived):
            raise DecodeError(Cause.TIMESTAMP, fault)
        return native.checked(entity, ts, metrics)

    def line(self, line: Logged) -> None:
        """Take a line of a log. Those from warning up become events."""
        line = line._replace(entity=line.entity or UNKNOWN)
        try:
            if fault := native.fault_of(line.ts, self.arrived):
                raise DecodeError(Cause.TIMESTAMP, fault)
            self._found.append(native.bounded(line))
        except DecodeError as error:
            self.refuse(error, line._asdict())
            return
        self.taken += 1

    def any(self, found: Sampled | Logged) -> None:
        """Take a sample or a line."""
        if isinstance(found, Logged):
            self.line(found)
        else:
            self.sample(*found)

    def event(self, fields: Mapping[str, Any], whole: Any) -> None:
        """Take the fields of an Event, which follow from `whole`; refused when they are none, or out of bounds."""
        try:
            ts = fields.get("ts")
            if isinstance(ts, int) and (fault := native.fault_of(ts, self.arrived)):
                raise DecodeError(Cause.TIMESTAMP, fault)
            self._events.append(_event(fields))
        except DecodeError as error:
            self.refuse(error, whole)
            return
        self.taken += 1

    def entities(self, naming: Naming) -> None:
        """Take what the labels of the request say of entities, and refuse series that would have one name."""
        self._events += naming.told()
        for clash in naming.take_clashes():
            self.refuse(clash, {"refused": clash.detail})

    def refuse(self, error: DecodeError, what: Any) -> None:
        """Refuse a part. `what` is kept of it: bytes as they are, all else as JSON."""
        value = what if isinstance(what, bytes) else orjson.dumps(what, default=str, option=orjson.OPT_NON_STR_KEYS)
        entity = what.get("entity") if isinstance(what, dict) else None
        key = entity[: native.MAX_NAME].encode(errors="replace") if isinstance(entity, str) else b""
        self.refused.append(Refused(error.cause, error.detail, key, value))

    def refuse_some(self, refused: Refusals, what: Any) -> None:
        """Refuse what could not be taken of `what`, if there is any."""
        if refused.count:
            self.refuse(DecodeError(*refused.reason), what)

    def tried(self, what: Any) -> Callable[[Exception], None]:
        """What a reader calls with the reason why a part of `what` cannot be read."""

        def refuse(error: Exception) -> None:
            self.refuse(DecodeError(Cause.MALFORMED, f"a part of it is not as its format says: {error!r}"[:300]), what)

        return refuse

    def told(self) -> str:
        """One line about what was refused."""
        by_cause = ", ".join(f"{count} {cause}" for cause, count in self._causes())
        return f"refused {len(self.refused)}, took {self.taken} ({by_cause}): {self.refused[0].detail}"[:400]

    def _causes(self) -> Iterator[tuple[str, int]]:
        causes = [str(refused.cause) for refused in self.refused]
        return ((cause, causes.count(cause)) for cause in dict.fromkeys(causes))


def _event(fields: Mapping[str, Any]) -> Event:
    """Raises DecodeError."""
    try:
        event = msgspec.convert(fields, Event)
    except msgspec.ValidationError as error:
        raise DecodeError(Cause.WRONG_TYPE, f"no event: {error}") from None
    native.bounded(Logged(event.entity, event.ts, "", ""))
    if max(len(event.revision), len(event.previous)) > MAX_REVISION:
        raise DecodeError(Cause.OVERSIZED, f"a revision has at most {MAX_REVISION} characters")
    if max(len(event.name), len(event.state)) > MAX_ALERT:
        raise DecodeError(Cause.OVERSIZED, f"the name of an alert has at most {MAX_ALERT} characters")
    if event.kind in OF_WORKERS:
        raise DecodeError(Cause.WRONG_TYPE, f"an event of kind {event.kind} is told by workers alone")
    event = msgspec.structs.replace(event, text=" ".join(event.text.split())[: native.MAX_TEXT])
    if len(encode(event).value) > MAX_EVENT_BYTES:
        raise DecodeError(Cause.OVERSIZED, f"an event has at most {MAX_EVENT_BYTES} bytes")
    return event
