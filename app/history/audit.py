"""Examining the audit: its chains, the checkpoints over them, and the topics that it must have kept."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from agents.record import AuditWriter
from app.errors import UserError
from app.history.story import records
from app.kafka.broker import Broker, read_all
from models.safety.chain import parent_of, verify, verify_points
from models.safety.merkle import climb, path
from models.safety.signing import Keyring, check_checkpoint
from topics.audit import AUDIT, CHECKPOINTS, Checkpoint, Entry, digest
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
    """That an entry was in the audit when its checkpoint was signed: what a third party needs, and nothing else."""

    entry: Entry
    path: tuple[tuple[bool, str], ...]  # from the bottom up: (the other one is left of us, its hash)
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
    kept = {r.record.seq: r.record for r in records(broker, [AUDIT]) if isinstance(r.record, Entry)
            and r.record.chain == chain}  # fmt: skip
    for read in records(broker, [CHECKPOINTS]):
        point = read.record
        if isinstance(point, Checkpoint) and point.chain == chain and point.first <= seq <= point.last:
            leaves = [kept[n].hash for n in range(point.first, point.last + 1) if n in kept]
            if seq in kept and len(leaves) == point.last + 1 - point.first:
                return Proof(kept[seq], tuple(path(leaves, seq - point.first)), point)
    what = "no checkpoint covers it yet" if seq in kept else "there is no such entry"
    raise UserError(f"entry {chain}/{seq} cannot be proved: {what}", "See opsloop audit show", exit_code=1)


def examine(broker: Broker, keyring: Keyring, start: int = 0, *, now: Instant = 0) -> Examined:
    """Everything that is wrong with the audit from entry `start` of each chain on.

    now: when given, records of the other topics that arrived well before it must be in the audit too.
    """
    kept = [r.record for r in records(broker, [AUDIT]) if isinstance(r.record, Entry)]
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


def _left_out(broker: Broker, kept: list[Entry], now: Instant) -> list[str]:
    """Records that are on their topics and not in the audit: an audit whose end was cut off tells by this."""
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
