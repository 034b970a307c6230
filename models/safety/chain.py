"""The audit chain: each entry holds the hash of the one before, so that no record can be changed, dropped or moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from topics.audit import GENESIS, Entry, digest
from topics.spec import Instant, Origin


class Chain:
    """The head of one partition's chain."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.seq = -1
        self.head = GENESIS
        self.applied: dict[str, int] = {}

    def resume(self, last: Entry) -> None:
        """Go on after the newest entry."""
        self.partition, self.seq, self.head, self.applied = last.chain, last.seq, last.hash, dict(last.applied)

    def link(self, system: str, origin: Origin, body: bytes, now: Instant) -> Entry:
        """The entry that keeps a record: `body` is its JSON, byte for byte."""
        self.applied[origin.topic] = origin.offset + 1
        self.seq += 1
        entry = Entry(
            chain=self.partition, seq=self.seq, ts=now, system=system, topic=origin.topic, origin=str(origin),
            body=msgspec.Raw(body), previous=self.head, applied=dict(self.applied),
        )  # fmt: skip
        self.head = digest(entry)
        return msgspec.structs.replace(entry, hash=self.head)


def verify(entries: Iterable[Entry], heads: Mapping[int, Entry] | None = None) -> list[str]:
    """What is wrong with chains whose entries are given in their order; empty when nothing is.

    heads: the newest entry of each chain that was seen before, for an audit that begins in the middle.
    """
    last: dict[int, tuple[int, str]] = {c: (e.seq, e.hash) for c, e in (heads or {}).items()}
    wrong = []
    for entry in entries:
        seq, head = last.get(entry.chain, (-1, GENESIS))
        where = f"chain {entry.chain} entry {entry.seq}"
        if entry.seq != seq + 1:
            wrong.append(f"{where}: {seq + 1} was expected")
        if entry.previous != head:
            wrong.append(f"{where}: does not follow the entry before it")
        if digest(entry) != entry.hash:
            wrong.append(f"{where}: was changed after it was written")
        last[entry.chain] = (entry.seq, entry.hash)
    return wrong
