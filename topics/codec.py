"""Encode records with CloudEvents headers, and decode them or say why not.

CloudEvents: Kafka protocol binding 1.0.2, binary mode (attributes in headers, data in the value).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from topics.catalog import ALL, BY_NAME, topic_of
from topics.decisions import Decision
from topics.incidents import Incident
from topics.signals import Anomaly, Symptom
from topics.spec import Fields, Raw, Read, Record, Topic, derive
from topics.telemetry import Sample

Headers = list[tuple[str, bytes]]
SUPPORTED_VERSION = Sample.newest() + 1  # of samples, which their format reads
MAX_RECORD_BYTES = 1_000_000  # of a record, except where its topic sets another limit


class Cause(StrEnum):
    """Why a message was refused, as it stands in dead-letter headers and metrics. These are all causes."""

    EMPTY = "empty"
    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    WRONG_TYPE = "wrong_type"
    VERSION = "version"
    NOT_FINITE = "not_finite"
    TIMESTAMP = "timestamp"
    TOO_MANY_SERIES = "too_many_series"
    SAME_NAME = "same_name"
    UNKNOWN_TOPIC = "unknown_topic"
    HANDLER = "handler"


class DecodeError(Exception):
    """A message cannot be decoded, now or later. The caller dead-letters it with `cause`."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused message, unchanged, with the cause."""

    raw: Raw
    cause: Cause
    detail: str
    dlq: str = ""  # the topic that it is put on, when it was read from one that has none of its own

    @property
    def topic(self) -> str:
        return self.dlq or f"{self.raw.topic}.dlq"

    @property
    def headers(self) -> Headers:
        """The original headers, then where the message came from and why it was refused."""
        return [
            *self.raw.headers,
            ("dlq_cause", self.cause.encode()),
            ("dlq_detail", self.detail[:300].encode(errors="replace")),
            ("dlq_origin", str(self.raw.origin).encode()),
        ]


@dataclass(frozen=True, slots=True)
class Message:
    """A record ready for a producer."""

    topic: Topic
    key: bytes
    value: bytes
    headers: Headers


_encoder = msgspec.json.Encoder()
_packer = msgspec.msgpack.Encoder()
_decode_fields = msgspec.json.Decoder(Fields)
_unpack_fields = msgspec.msgpack.Decoder(Fields)


@functools.cache
def _decoder(record: type[Record]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(record)


@functools.cache
def _unpacker(record: type[Record]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(record)


for _record in (Record, *(topic.record for topic in ALL)):
    # made at import, in one thread: msgspec 0.22 crashes when two threads use a type for the first time
    _decoder(_record)
    _unpacker(_record)


def encode(record: Record, topic: Topic | None = None) -> Message:
    """The message of a record on its own topic (or on `topic`, for the snapshots that have several)."""
    topic = topic or topic_of(record)
    key = topic.key(record)
    value = (_packer if topic.packed else _encoder).encode(record)
    headers: Headers = [("content-type", topic.content_type)] if topic.content_type else []
    if topic.cloudevents:
        headers = _cloudevent(message_id(record, value), topic, key, record)
    return Message(topic, key.encode(), value, headers)


def message_id(record: Record, value: bytes) -> str:
    """The id of a message, unique within its source. A repeat has the same, a next state another."""
    match record:
        case Incident():
            return f"{record.id}/{record.seq}"
        case Anomaly():
            return f"{record.id}/{record.ts}"
        case Symptom():
            return f"{record.id}/{record.ts}/{record.seq}"
        case Decision():
            return f"{record.id}/{record.seq}"
    return getattr(record, "id", "") or derive(type(record).__name__, value.hex())


def _cloudevent(identity: str, topic: Topic, key: str, record: Record) -> Headers:
    ts = getattr(record, "ts", 0)
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", identity.encode()),
        ("ce_type", topic.name.encode()),
        ("ce_source", f"/opsloop/{key}".encode()),
        ("ce_time", datetime.fromtimestamp(ts / 1000, UTC).isoformat(timespec="milliseconds").encode()),
        ("content-type", b"application/json"),
    ]


def decode(raw: Raw) -> Read[Record]:
    """The record of a message.

    Raises:
        DecodeError: with the cause and what was expected.
    """
    topic = BY_NAME.get(raw.topic)
    if topic is None:
        raise DecodeError(Cause.UNKNOWN_TOPIC, f"no record is known for {raw.topic}")
    return Read(decode_value(topic, raw.value), raw.origin, raw.arrived)


def misplaced(raw: Raw, record: Record) -> str:
    """Why a record stands under another key than this process gives it; empty when it does not.

    Its sender has other correlation domains, or gives keys of its own: another worker may have what belongs with it.
    """
    topic = BY_NAME[raw.topic]
    wanted, found = topic.key(record), (raw.key or b"").decode(errors="replace")
    if found == wanted or topic.broadcast:
        return ""
    return f"{raw.origin} has the key {found[:100]!r}, which is {wanted!r} by the [incidents.domains] here"


def decode_value(topic: Topic, value: bytes | None) -> Record:
    """The record in `value`, which was read from `topic`. Raises DecodeError."""
    if not value:
        raise DecodeError(Cause.EMPTY, "the message has no value")
    if len(value) > (topic.max_message_bytes or MAX_RECORD_BYTES):
        raise DecodeError(Cause.OVERSIZED, f"{len(value)} bytes are more than a record of {topic.name} may have")
    newest, own = topic.record.newest(), None
    try:
        record: Record = _reader(topic.record, topic, value).decode(value)
        if record.v == newest:
            return record
        own = record
        version = record.v
    except msgspec.ValidationError as error:
        version, cause = _version(topic, value), str(error)
        if version == newest:
            raise DecodeError(Cause.WRONG_TYPE, cause) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(Cause.MALFORMED, str(error)) from None
    if version == newest - 1:
        return _migrated(topic, value)
    if own is not None and version == newest + 1 and topic.reads_next:
        return own  # its new fields were passed over
    newer = version > newest
    raise DecodeError(
        Cause.VERSION,
        f"version {version} is {'newer' if newer else 'older'} than {newest}: "
        + ("upgrade this worker" if newer else f"only version {newest - 1} is still read"),
    )


def _migrated(topic: Topic, value: bytes) -> Record:
    """The record of the version before this one. Raises DecodeError."""
    shape = topic.record
    try:
        fields: Fields = (_unpack_fields if _is_packed(topic, value) else _decode_fields).decode(value)
        return msgspec.convert({**shape.migrated(fields), "v": shape.newest()}, shape)
    except msgspec.ValidationError as error:
        raise DecodeError(Cause.WRONG_TYPE, str(error)) from None


def _reader(record: type[Record], topic: Topic, value: bytes) -> Any:
    """What reads `value` as a `record`."""
    return _unpacker(record) if _is_packed(topic, value) else _decoder(record)


def _is_packed(topic: Topic, value: bytes) -> bool:
    """Whether a value is MessagePack: a brace begins JSON, and no map of MessagePack."""
    return topic.packed and value[:1] != b"{"


def _version(topic: Topic, value: bytes) -> int:
    """The schema version that a value claims, also when its other fields do not fit."""
    try:
        version: int = _reader(Record, topic, value).decode(value).v
    except msgspec.DecodeError:
        return topic.record.newest()
    return version
