"""Audit: the append-only log of all decisions, refusals, commands and results, hash-chained."""

from __future__ import annotations

import hashlib

import msgspec

from topics.spec import Count, Instant, Record, Topic, derive

GENESIS = "0" * 64


class AuditEntry(Record, frozen=True):
    """One entry of a chain. The writer restores its state from the newest entry: its hash, `seq` and `applied`."""

    chain: Count  # the partition
    seq: Count
    ts: Instant
    domain: str = msgspec.field(name="system")  # the key of the record that is kept here, under its older name
    topic: str  # the topic of the record that is kept here
    origin: str  # topic-partition-offset
    body: msgspec.Raw  # that record as JSON, byte for byte, its free text masked
    previous: str  # hash of the entry before, GENESIS for the first
    applied: dict[str, int]  # next offset to be recorded, by topic
    hash: str = ""


def digest(entry: AuditEntry) -> str:
    """SHA-256 over everything in the entry but its own hash, in canonical JSON."""
    bare = msgspec.structs.replace(entry, hash="")
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


AUDIT = Topic(
    "opsloop.audit",
    AuditEntry,
    key=lambda entry: entry.domain,
    what="hash-chained record of every decision",
    retention_ms=None,
)


class Checkpoint(Record, frozen=True):
    """A signed Merkle root over successive entries of a chain: removed or rewritten entries do not have it."""

    chain: Count
    first: Count  # seq of the first entry that the root covers
    last: Count
    ts: Instant
    domain: str = msgspec.field(name="system")  # of the last entry
    head: str  # hash of the last entry
    root: str  # Merkle root over the hashes of all of them, see models.safety.merkle
    key: str = ""
    signature: bytes = b""  # Ed25519 over the fields above, see models.safety.signing

    @property
    def id(self) -> str:
        return derive("checkpoint", self.chain, self.first, self.last)


CHECKPOINTS = Topic(
    "opsloop.audit.checkpoints", Checkpoint, key=lambda point: point.domain,
    what="signed roots of the audit", retention_ms=None,
)  # fmt: skip
