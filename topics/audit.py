"""Audit: the append-only record of all that was decided, refused and done, hash-chained per partition."""

from __future__ import annotations

import hashlib

import msgspec

from topics.spec import Count, Instant, Record, Topic, system_of

GENESIS = "0" * 64


class Entry(Record, frozen=True):
    """One link of a chain. `applied` makes the newest entry the whole state of its writer."""

    chain: Count  # the partition
    seq: Count
    ts: Instant
    system: str
    topic: str  # the topic of the record that is kept here
    origin: str  # topic-partition-offset
    body: msgspec.Raw  # that record as JSON, byte for byte
    previous: str  # hash of the entry before, GENESIS for the first
    applied: dict[str, int]  # next offset to be recorded, by topic
    hash: str = ""


def digest(entry: Entry) -> str:
    """SHA-256 over everything in the entry but its own hash, in canonical JSON."""
    bare = msgspec.structs.replace(entry, hash="")
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


AUDIT = Topic(
    "opsloop.audit", Entry, key=lambda entry: system_of(entry.system), what="hash-chained record of every decision",
    retention_ms=None,
)  # fmt: skip
