"""The base types of all topics: records, topics, where a record stands, and how ids are derived."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, Self, TypeVar

import msgspec

from topics.patterns import Rules, named, rules_of

# The last millisecond of the year 9999, and the largest integer that a JSON number holds exactly
LATEST: Final = 253_402_300_799_999
LARGEST: Final = 2**53
# Milliseconds since the epoch. It is always an argument: nothing below app/ reads a clock. Both numbers have bounds,
# because what is kept in a snapshot or written as a date must fit there.
Instant = Annotated[int, msgspec.Meta(ge=0, le=LATEST)]
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]

PARTITIONS = 6  # of every topic of the loop: the same number, so that one worker owns a domain on all of them
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
# Kafka compacts closed segments only, and only a log of which half (or min.cleanable.dirty.ratio) is stale
COMPACTED = {"segment.bytes": str(64 * 2**20), "segment.ms": "600000"}
COMPACTED_OFTEN = {"segment.bytes": str(16 * 2**20), "segment.ms": "60000", "min.cleanable.dirty.ratio": "0.1"}


# A word of an open set, as it stands in a record: `raised`, `change_point`. Who reads one that they do not know keeps
# and shows it, and does nothing because of it.
WORD_SCHEMA: Final = {"pattern": "^[a-z][a-z0-9_.-]*$", "maxLength": 64}
Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=64)]
_WORD: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")

Fields = dict[str, Any]  # a record as JSON has it

MAIN: Final = "main"  # the correlation domain of what no pattern names
_domains: Rules | None = None  # of this process, see `use_domains`; None: nobody has set them


class Open(StrEnum):
    """An enumeration of which a newer writer may know more members.

    A value that is not among the members decodes all the same when it is a plain word: as a member without a name,
    which equals its text and no known member. A table is asked for it with `.get`, a `match` ends with `case _`.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or not _WORD.fullmatch(value):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_, unknown._value_ = value, value
        return unknown

    @property
    def known(self) -> bool:
        """Whether this program knows what it means."""
        return self.value in type(self)._value2member_map_


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a topic. Immutable; the same content is the same record.

    A type with another schema version than 1 declares `v` anew with that default, and says in `migrated` how to read
    the version before.
    """

    v: Count = 1  # schema version: a reader takes its own, the one before and the next one

    @classmethod
    @functools.cache  # asked for every record that is decoded, and looking at annotations takes a millisecond
    def newest(cls) -> int:
        """The schema version that this program writes."""
        return next(int(f.default) for f in msgspec.structs.fields(cls) if f.name == "v")

    @classmethod
    def migrated(cls, fields: Fields) -> Fields:
        """The fields of the version before as this version has them; without a change, unless a type says another."""
        return fields


class Origin(msgspec.Struct, frozen=True, order=True):
    """Where a record stands: topic, partition and offset. It is what evidence refers to."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Origin:
        """The origin written as `topic-partition-offset`.

        Raises:
            ValueError: the text has another form.
        """
        topic, *numbers = text.rsplit("-", 2)
        partition, offset = (integer(number) for number in numbers)
        if partition is None or offset is None:
            raise ValueError(f"{text!r} is not topic-partition-offset")
        return cls(topic, partition, offset)


R = TypeVar("R", bound=Record, covariant=True)


@dataclass(frozen=True, slots=True)
class Read(Generic[R]):
    """A decoded record with its origin and the time (ms) at which it reached the broker; 0: not known."""

    record: R
    origin: Origin
    arrived: Instant = 0


@dataclass(frozen=True, slots=True)
class Raw:
    """A message as the broker gave it, not yet decoded."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    arrived: Instant = 0

    @classmethod
    def of(cls, message: Any) -> Raw:
        """Convert a message of confluent-kafka, or an object with the same methods."""
        headers = tuple((name, value or b"") for name, value in message.headers() or ())
        return cls(
            message.topic(), message.partition(), message.offset(), message.key(), message.value(), headers,
            message.timestamp()[1],
        )  # fmt: skip

    @property
    def origin(self) -> Origin:
        return Origin(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: its record type, the key of a record, and its settings at the broker."""

    name: str
    record: type[Record]
    key: Callable[[Any], str]
    what: str
    partitions: int = PARTITIONS
    retention_ms: int | None = 7 * DAY_MS  # None: kept for ever
    compact: bool = False
    reread: bool = False  # read from the beginning whenever a partition moves, so it is compacted often
    cloudevents: bool = True  # low-rate topics carry CloudEvents attributes in their headers
    broadcast: bool = False  # a record is written to every partition, so that every worker reads it
    max_message_bytes: int | None = None
    packed: bool = False  # written as MessagePack, for records with bytes in them; JSON is read too
    reads_next: bool = True  # a record of the next schema version is read, its new fields passed over
    content_type: bytes = b""  # header of records without CloudEvents attributes
    stamped: bool = False  # records have the broker's time: a producer's clock says little about when they arrived

    @property
    def dlq(self) -> str:
        return f"{self.name}.dlq"

    @property
    def config(self) -> dict[str, str]:
        """The settings of the topic at the broker, by Kafka's names."""
        wanted = {"cleanup.policy": "compact" if self.compact else "delete"}
        if self.compact:
            wanted |= COMPACTED_OFTEN if self.reread else COMPACTED
        else:
            wanted["retention.ms"] = str(-1 if self.retention_ms is None else self.retention_ms)
        if self.stamped:
            wanted["message.timestamp.type"] = "LogAppendTime"
        if self.max_message_bytes is not None:
            wanted["max.message.bytes"] = str(self.max_message_bytes)
        return wanted


def integer(text: str, most: int = LARGEST) -> int | None:
    """The integer from 0 to `most` that is written as ASCII digits; None when the text is anything else.

    Text from a record is read by this alone: `int` takes signs, blanks and digits of other scripts, `str.isdigit` is
    true of "²" which `int` refuses, and neither knows what a snapshot can hold.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most))):
        return None
    number = int(text)
    return number if number <= most else None


def instant(text: str) -> Instant | None:
    """The time in milliseconds that a text says; None when it says none that a snapshot can hold."""
    return integer(text, LATEST)


def later(ts: Instant, ms: int) -> Instant:
    """The time `ms` milliseconds after `ts`, at most LATEST, so that it can be kept."""
    return min(ts + ms, LATEST)


def derive(kind: str, *parts: object) -> str:
    """The id of the thing that `parts` name: 20 hexadecimal digits, 80 bits of BLAKE2b over `kind` and the parts.

    The same parts give the same id in every worker, so repeats of one thing are recognised.
    """
    text = "\x1f".join((kind, *map(str, parts)))
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def use_domains(names: Mapping[str, str]) -> None:
    """Set the correlation domains of this process: pattern → name, as `[incidents.domains]` has them.

    Call it before the first key is made. Raises ValueError with the remedy; then nothing changes.
    """
    global _domains
    _domains = rules_of(names, parts=1)


def knows_domains() -> bool:
    """Whether this process was told its correlation domains."""
    return _domains is not None


def domain_of(entity: str) -> str:
    """The correlation domain of an entity: `main`, unless settings say otherwise.

    It is the key of every topic of the loop, because symptoms are correlated, limits counted and votes taken by the
    worker that has the domain. It follows from the entity's system alone: an instance, its service and the system are
    always in one domain, whichever of them a record names.
    """
    return named(_domains or (), system_of(entity), MAIN)


def system_of(entity: str) -> str:
    """The system of an entity, its first part: `shop` of `shop/catalog/0`, and a host `web-1` itself."""
    return entity.partition("/")[0]


def service_of(entity: str) -> str:
    """The service of an entity: its first two segments (`shop/catalog` of `shop/catalog/0`)."""
    end = entity.find("/", entity.find("/") + 1)
    return entity if end < 0 else entity[:end]
