"""The audit chain: each entry holds the hash of the previous one, so changed, dropped or moved entries are found.

Each partition has a chain. When partitions grow, the chain of a new one begins with a link to the entry that was then
the newest of the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import msgspec

from models.keyed import Changes, KeyedState
from models.safety.merkle import root
from models.safety.signing import Keyring, Refused, check_checkpoint
from topics.audit import AUDIT, GENESIS, AuditEntry, Checkpoint, digest
from topics.spec import Instant, Origin

PERIOD_MS: Final = 10_000  # maximum time that an entry waits for a signed checkpoint
MOST: Final = 128  # maximum number of entries in one checkpoint


class Chain:
    """The head of one partition's chain."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.seq = -1
        self.head = GENESIS
        self.applied: dict[str, int] = {}

    def resume(self, last: AuditEntry) -> None:
        """Continue the chain after its newest entry."""
        self.partition, self.seq, self.head, self.applied = last.chain, last.seq, last.hash, dict(last.applied)

    def link(self, domain: str, origin: Origin, body: bytes, now: Instant) -> AuditEntry:
        """Append a record to the chain. Returns its entry. body: the record's JSON, kept byte for byte."""
        self.applied[origin.topic] = origin.offset + 1
        self.seq += 1
        entry = AuditEntry(
            chain=self.partition, seq=self.seq, ts=now, domain=domain, topic=origin.topic, origin=str(origin),
            body=msgspec.Raw(body), previous=self.head, applied=dict(self.applied),
        )  # fmt: skip
        self.head = digest(entry)
        return msgspec.structs.replace(entry, hash=self.head)


def branch(parent: AuditEntry, at: Origin, chain: int, applied: Mapping[str, int], now: Instant) -> AuditEntry:
    """Return the first entry of a new partition's chain, which continues from the newest entry of the old one's.

    parent: that entry; it becomes the body. at: origin of `parent`. applied: by topic the next offset of the new
    partition that is not in the audit.
    """
    body = msgspec.Raw(msgspec.json.encode(parent))
    entry = AuditEntry(
        chain=chain, seq=0, ts=now, domain=parent.domain, topic=AUDIT.name, origin=str(at), body=body,
        previous=parent.hash, applied=dict(applied),
    )  # fmt: skip
    return msgspec.structs.replace(entry, hash=digest(entry))


def parent_of(entry: AuditEntry) -> AuditEntry | None:
    """Return the entry of another chain to which this first entry links; None when it does not link."""
    if entry.seq or entry.topic != AUDIT.name:
        return None
    try:
        return msgspec.json.decode(entry.body, type=AuditEntry)
    except msgspec.MsgspecError:
        return None


class Notary(KeyedState):
    """Position in one chain, and the hashes of its entries that no checkpoint covers yet.

    State of the agent `attest`.
    """

    version: ClassVar[int] = 2  # 2: `domain` was called `system`

    @classmethod
    def migrate(cls, old: Changes) -> Changes:
        values = {("domain" if name == "system" else name): value for name, value in old.values.items()}
        return msgspec.structs.replace(old, values=values)

    chain: int = 0
    seq: int = -1
    head: str = ""
    domain: str = ""
    fresh: tuple[str, ...] = ()
    since: Instant = 0  # time of the first entry in `fresh`
    newest: Instant = 0

    def see(self, entry: AuditEntry) -> None:
        """Add the next entry. An entry that was seen before changes nothing.

        Raises:
            Refused: altered or broken. After a broken entry, the next checkpoint begins with that entry.
        """
        if digest(entry) != entry.hash:
            raise Refused("altered", f"entry {entry.seq} was changed after it was written")
        if (entry.seq == self.seq and entry.hash == self.head) or (self.head and entry.seq < self.seq):
            return
        follows = not self.head or (entry.seq, entry.previous) == (self.seq + 1, self.head)
        if not follows:
            self.fresh = ()
        self.since = self.since if self.fresh else entry.ts
        self.chain, self.seq, self.head, self.domain = entry.chain, entry.seq, entry.hash, entry.domain
        self.fresh = (*self.fresh, entry.hash)
        self.newest = entry.ts
        if not follows:
            raise Refused("broken", f"entry {entry.seq} does not follow the entry before it")

    def due(self, now: Instant) -> bool:
        """Whether a checkpoint is due."""
        at = self.next_due()
        return at is not None and now >= at

    def next_due(self) -> Instant | None:
        """Return when a checkpoint is due (ms since 1970); None when no entry waits for one."""
        if not self.fresh:
            return None
        return 0 if len(self.fresh) >= MOST else self.since + PERIOD_MS

    def checkpoint(self) -> Checkpoint:
        """Return an unsigned checkpoint of the entries since the last one. There must be at least one."""
        point = Checkpoint(
            chain=self.chain, first=self.seq + 1 - len(self.fresh), last=self.seq, ts=self.newest,
            domain=self.domain, head=self.head, root=root(self.fresh),
        )  # fmt: skip
        self.fresh = ()
        return point


def verify(entries: Iterable[AuditEntry], heads: Mapping[int, AuditEntry] | None = None) -> list[str]:
    """Check chains, entries in order. Returns each fault found; empty when the chains are intact.

    heads: by chain the entry before the first one given, for an audit that begins in the middle. If a chain begins with
    a link to an entry of another chain, that entry must be among those given, unchanged, or be older than they are.
    """
    known = heads or {}
    last: dict[int, tuple[int, str]] = {chain: (entry.seq, entry.hash) for chain, entry in known.items()}
    hashes: dict[tuple[int, int], str] = {(chain, entry.seq): entry.hash for chain, entry in known.items()}
    first = {chain: entry.seq for chain, entry in known.items()}
    links: list[tuple[str, AuditEntry]] = []
    wrong = []
    for entry in entries:
        parent = parent_of(entry)
        seq, head = last.get(entry.chain, (-1, parent.hash if parent else GENESIS))
        where = f"chain {entry.chain} entry {entry.seq}"
        if entry.seq != seq + 1:
            wrong.append(f"{where}: {seq + 1} was expected")
        if entry.previous != head:
            wrong.append(f"{where}: does not follow the entry before it")
        if digest(entry) != entry.hash:
            wrong.append(f"{where}: was changed after it was written")
        if parent is not None:
            links.append((where, parent))
        first.setdefault(entry.chain, entry.seq)
        hashes[entry.chain, entry.seq] = entry.hash
        last[entry.chain] = (entry.seq, entry.hash)
    return wrong + [f"{where}: {broken}" for where, parent in links if (broken := _unlinked(parent, hashes, first))]


def _unlinked(parent: AuditEntry, hashes: Mapping[tuple[int, int], str], first: Mapping[int, int]) -> str:
    """Return the fault of a link to an entry of another chain; empty when there is none or the entry is older."""
    if parent.seq < first.get(parent.chain, 0):
        return ""
    found = hashes.get((parent.chain, parent.seq))
    if found is None:
        return f"goes on from entry {parent.seq} of chain {parent.chain}, which is missing"
    return "" if found == parent.hash else f"does not follow entry {parent.seq} of chain {parent.chain}"


def verify_points(entries: Iterable[AuditEntry], points: Iterable[Checkpoint], keyring: Keyring) -> list[str]:
    """Check chains against their signed checkpoints. Returns each difference; empty when there is none.

    Finds entries that were cut off, and chains that were rewritten from some entry on with valid hashes.
    """
    hashes: dict[tuple[int, int], str] = {(e.chain, e.seq): e.hash for e in entries}
    begins = {chain: min(seq for c, seq in hashes if c == chain) for chain in {c for c, _ in hashes}}
    wrong = []
    for point in points:
        where = f"checkpoint of chain {point.chain} entries {point.first} to {point.last}"
        try:
            check_checkpoint(point, keyring)
        except Refused as refused:
            wrong.append(f"{where}: {refused}")
            continue
        if point.first < begins.get(point.chain, 0):
            continue  # begins before the entries that were given
        found = [hashes.get((point.chain, seq)) for seq in range(point.first, point.last + 1)]
        if None in found:
            wrong.append(f"{where}: {found.count(None)} of its entries are missing")
        elif root([leaf for leaf in found if leaf]) != point.root or found[-1] != point.head:
            wrong.append(f"{where}: its entries are not those that were signed")
    return wrong
