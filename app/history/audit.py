"""Examining the audit: its chains, the checkpoints over them, and the topics that it must have kept."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from agents.record import AuditWriter
from app.errors import UserError
from app.history.progress import shown
from app.history.queries import read_records
from app.history.records import records
from app.history.view import current
from app.kafka.broker import Broker, read_all
from models.safety.chain import parent_of, verify, verify_points
from models.safety.merkle import climb, path
from models.safety.signing import Keyring, check_checkpoint
from topics.audit import AUDIT, CHECKPOINTS, AuditEntry, Checkpoint, digest
from topics.codec import DecodeError, decode
from topics.spec import Instant, Raw

GRACE_MS = 5_000  # what arrived later than this before we look may not be kept yet


class Examined(msgspec.Struct, frozen=True):
    """What an examination found."""

    entries: int
    chains: int
    checkpoints: int
    unsigned: int  # entries that no checkpoint covers yet
    wrong: tuple[str, ...]


class Proof(msgspec.Struct, frozen=True):
    """Evidence for a third party that an entry was in the audit when its checkpoint was signed."""

    entry: AuditEntry
    path: tuple[tuple[bool, str], ...]  # Merkle path from the leaf up: (the sibling is on the left, its hash)
    checkpoint: Checkpoint

    def holds(self, keyring: Keyring) -> bool:
        """Whether the entry is unchanged, and its path leads to a root that a worker has signed. Raises Refused."""
        check_checkpoint(self.checkpoint, keyring)
        return digest(self.entry) == self.entry.hash and climb(self.entry.hash, self.path) == self.checkpoint.root


def prove(broker: Broker, chain: int, seq: int) -> Proof:
    """The proof of one entry.

    Raises:
        UserError: there is no such entry, or no checkpoint covers it yet.
    """
    points = [read.record for read in records(broker, [CHECKPOINTS]) if isinstance(read.record, Checkpoint)]
    covering = [point for point in points if point.chain == chain and point.first <= seq <= point.last]
    with current(broker, [AUDIT.name], shown()) as view:
        known = bool(view.audit_between(chain, seq, seq))
        places = [view.audit_between(chain, point.first, point.last) for point in covering]
    for point, found in zip(covering, places, strict=True):
        kept = {e.seq: e for read in read_records(broker, found) if isinstance(e := read.record, AuditEntry)}
        leaves = [kept[n].hash for n in range(point.first, point.last + 1) if n in kept]
        if seq in kept and len(leaves) == point.last + 1 - point.first:
            return Proof(kept[seq], tuple(path(leaves, seq - point.first)), point)
    what = "no checkpoint covers it yet" if known else "there is no such entry"
    raise UserError(f"entry {chain}/{seq} cannot be proved: {what}", "See opsloop audit show", exit_code=1)


def examine(broker: Broker, keyring: Keyring, start: int = 0, *, now: Instant = 0) -> Examined:
    """Everything that is wrong with the audit from entry `start` of each chain on.

    now: when given, records of the other topics that arrived well before it must be in the audit too.
    """
    kept = [r.record for r in records(broker, [AUDIT]) if isinstance(r.record, AuditEntry)]
    points = [r.record for r in records(broker, [CHECKPOINTS]) if isinstance(r.record, Checkpoint)]
    chosen = [entry for entry in kept if entry.seq >= start]
    heads = {entry.chain: entry for entry in kept if start and entry.seq == start - 1}
    wrong = [*verify(chosen, heads), *verify_points(chosen, points, keyring)]
    if now:
        wrong += _left_out(broker, kept, now)
    signed: dict[int, int] = defaultdict(lambda: -1)
    for point in points:
        signed[point.chain] = max(signed[point.chain], point.last)
    unsigned = sum(entry.seq > signed[entry.chain] for entry in chosen)
    return Examined(len(chosen), len({entry.chain for entry in chosen}), len(points), unsigned, tuple(wrong))


def _left_out(broker: Broker, kept: list[AuditEntry], now: Instant) -> list[str]:
    """Records that are on their topics and not in the audit: this is how a truncated audit is noticed."""
    places = {entry.origin for entry in kept}
    broadcast = [topic.name for topic in AuditWriter.reads if topic.broadcast]
    copied = {(e.chain, name): e.applied.get(name, 0) for e in kept if parent_of(e) for name in broadcast}
    wrong = []
    for raw in read_all(broker, [topic.name for topic in AuditWriter.reads]):
        if str(raw.origin) in places or raw.arrived > now - GRACE_MS or not _readable(raw):
            continue
        if raw.offset < copied.get((raw.partition, raw.topic), 0):
            continue  # copied from the partition that this one came from, whose chain has it
        wrong.append(f"{raw.origin} was not kept")
    return wrong


def _readable(raw: Raw) -> bool:
    try:
        decode(raw)
    except DecodeError:
        return False  # dead-lettered, with its cause
    return True
