"""Audit: the append-only record of all that was decided, refused and done, hash-chained per partition."""

from __future__ import annotations

import hashlib

import msgspec

from topics.spec import Count, Instant, Record, Topic, derive, system_of

GENESIS = "0" * 64


class Entry(Record, frozen=True):
    """One link of a chain. `applied` makes the newest entry the whole state of its writer."""

    chain: Count  # the partition
    seq: Count
    ts: Instant
    system: str
    topic: str  # the topic of the record that is kept here
    origin: str  # topic-partition-offset
    body: msgspec.Raw  # that record as JSON, byte for byte, its free text masked
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


class Checkpoint(Record, frozen=True):
    """A stretch of one chain under a signature: what is later cut off or written anew cannot have this root."""

    chain: Count
    first: Count  # seq of the first entry that the root covers
    last: Count
    ts: Instant
    system: str  # of the last entry
    head: str  # hash of the last entry
    root: str  # Merkle root over the hashes of all of them, see models.safety.merkle
    key: str = ""
    signature: bytes = b""  # Ed25519 over the fields above, see models.safety.signing

    @property
    def id(self) -> str:
        return derive("checkpoint", self.chain, self.first, self.last)


CHECKPOINTS = Topic(
    "opsloop.audit.checkpoints", Checkpoint, key=lambda point: system_of(point.system),
    what="signed roots of the audit", retention_ms=None,
)  # fmt: skip
