"""Change log of an agent's state on a topic of the loop: full snapshots, and deltas after each.

Each record names the record that it follows. A reader restores the longest unbroken sequence: a full snapshot and the
deltas up to the newest. A generation is one full snapshot and its deltas. Keys repeat every three generations, so that
compaction removes old ones, and a generation begins only when the full snapshot of the one before last is on the
broker. If a full snapshot is damaged, the previous one and all deltas after it can still be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING

from agents._agent import Buffer
from agents._snapshots import OFFSET_LAST, StateTooLarge, TopicPartition, checksum, read_snapshot, replay
from topics.codec import Message, encode
from topics.spec import Raw, Topic
from topics.state import GENERATIONS, Snapshot

log = structlog.get_logger()

PART_BYTES: Final = 256_000  # bytes of one record: encoding, checksum and send of so much take about 1 ms
LEAST_BYTES: Final = 64_000  # minimum size of the deltas between two full snapshots
MAX_PARTS: Final = 2_000


class StateUnreadable(ValueError):
    """This version cannot read the stored state. The worker stops and overwrites nothing."""

    def __init__(self, agent: str, partition: int, why: str) -> None:
        super().__init__(
            f"the state of {agent} on partition {partition} is {why}. Run the version that wrote it, or delete the"
            " topic opsloop.state.loop while no worker runs: open incidents and what was learned of decisions are lost"
        )


@dataclass(frozen=True, slots=True)
class Renewal:
    """A full snapshot that is being written, and the offsets that it includes."""

    generation: int
    seq: int
    follows: int
    applied: Mapping[str, int]


@dataclass(slots=True)
class ChangeLog:
    """Writer's position in the change log of one agent and partition. One owner at a time writes it."""

    topic: Topic
    agent: str
    partition: int
    epoch: int = 1  # of this owner: higher than those of all previous owners
    seq: int = 0  # of the newest delta
    follows: int = 0  # epoch of the newest delta
    generation: int = 1
    index: int = 0  # number of deltas in this generation
    based: int = 0  # newest generation whose full snapshot is on the broker
    whole_bytes: int = 0
    since_bytes: int = 0  # bytes of deltas since the newest full snapshot was begun
    applied: dict[str, int] = field(default_factory=dict)  # as written: next offset by topic
    states: Sequence[Buffer] = ()  # as read: the blocks of a full snapshot, then the deltas

    @property
    def due(self) -> bool:
        """Whether to write a full snapshot: the deltas have grown to a multiple of the state's size."""
        return self.since_bytes > max(LEAST_BYTES, 1.5 * self.whole_bytes)

    @property
    def must_renew(self) -> bool:
        """Whether the next deltas would overwrite records that the newest full snapshot needs."""
        return self.generation - self.based >= GENERATIONS

    def changed(self, applied: Mapping[str, int], changes: bytes) -> list[Message]:
        """Encode a delta and the offsets that the state now includes. Returns the messages to send.

        Raises:
            StateTooLarge: the delta is too large; nothing of it is written.
        """
        fresh = {topic: offset for topic, offset in applied.items() if self.applied.get(topic) != offset}
        self.seq, self.index = self.seq + 1, self.index + 1
        made = self._pack(Renewal(self.generation, self.seq, self.follows, fresh), self.index, [changes])
        self.follows, self.applied = self.epoch, dict(applied)
        self.since_bytes += sum(len(message.value) for message in made)
        return made

    @property
    def can_renew(self) -> bool:
        """Whether a generation may begin while its full snapshot is still being written."""
        return self.generation + 1 - self.based < GENERATIONS

    @property
    def overdue(self) -> bool:
        """Whether a whole state is due and must be on the broker before anything else is written."""
        return self.due and not self.can_renew

    def renew(self, applied: Mapping[str, int] | None = None) -> Renewal:
        """Begin a full snapshot and a new generation: later deltas follow this snapshot.

        A generation is left out whose full snapshot would overwrite, part by part, the newest one on the broker.

        applied: offsets in a state that changed since the last write; None: the state is the one last written.
        """
        if applied is not None:
            self.seq, self.follows, self.applied = self.seq + 1, self.epoch, dict(applied)
        overwrites = (self.generation + 1 - self.based) % GENERATIONS == 0
        self.generation += 2 if overwrites else 1
        self.index, self.since_bytes = 0, 0
        return Renewal(self.generation, self.seq, self.follows, dict(self.applied))

    def whole(self, renewal: Renewal, blocks: Sequence[bytes]) -> list[Message]:
        """Encode a full snapshot. Returns the messages to send. Raises StateTooLarge."""
        made = self._pack(renewal, 0, [msgspec.msgpack.encode(blocks)])
        self.whole_bytes = sum(len(message.value) for message in made)
        return made

    def _pack(self, renewal: Renewal, index: int, pieces: Sequence[bytes]) -> list[Message]:
        state = memoryview(b"".join(pieces))
        parts = max(1, -(-len(state) // PART_BYTES))
        if parts > MAX_PARTS:
            raise StateTooLarge(
                f"the state of {self.agent} on partition {self.partition} has {len(state):,} bytes, and the most is"
                f" {MAX_PARTS * PART_BYTES:,}: make more domains ([incidents.domains], opsloop topics grow)"
            )
        made = []
        for part in range(parts):
            snapshot = Snapshot(
                agent=self.agent, partition=self.partition, applied=dict(renewal.applied), checksum="",
                state=state[part * PART_BYTES : (part + 1) * PART_BYTES], epoch=self.epoch, seq=renewal.seq,
                part=part, parts=parts, generation=renewal.generation, index=index, follows=renewal.follows,
            )  # fmt: skip
            made.append(encode(msgspec.structs.replace(snapshot, checksum=checksum(snapshot)), self.topic))
        return made


def restored(
    config: Mapping[str, Any], topic: Topic, partitions: Iterable[int], chains: Iterable[str] = ()
) -> tuple[Mapping[int, Mapping[str, ChangeLog]], Mapping[TopicPartition, Raw]]:
    """Read each agent's change log of the partitions, and the last message of each topic of `chains`.

    One client reads everything, because creating a client takes longer than reading a small state. An agent that never
    wrote is missing in the result: create `ChangeLog(topic, agent, partition)` for it.
    """
    places = {topic.name: OFFSET_BEGINNING} | dict.fromkeys(chains, OFFSET_LAST)
    starts = {(name, partition): offset for partition in partitions for name, offset in places.items()}
    last: dict[TopicPartition, Raw] = {}
    found: dict[tuple[int, str], list[Snapshot]] = defaultdict(list)
    for raw in replay(config, starts):
        if raw.topic != topic.name:
            last[raw.topic, raw.partition] = raw
        elif snapshot := read_snapshot(topic, raw):
            if not snapshot.generation:
                raise StateUnreadable(snapshot.agent, snapshot.partition, "of a version before 0.2")
            found[raw.partition, snapshot.agent].append(snapshot)
    logs: dict[int, dict[str, ChangeLog]] = defaultdict(dict)
    for (partition, agent), snapshots in found.items():
        logs[partition][agent] = _resumed(ChangeLog(topic, agent, partition), snapshots)
    return logs, last


@dataclass(frozen=True, slots=True)
class _Entry:
    """One full snapshot, or one delta, as read."""

    head: Snapshot
    state: Buffer


@dataclass(frozen=True, slots=True)
class _Line:
    """An unbroken sequence of records: a full snapshot (None: the empty state) and the deltas after it."""

    whole: _Entry | None
    changes: Sequence[_Entry]

    @property
    def rank(self) -> tuple[int, int, int]:
        """Sort key of sequences: the one with the newest record wins, then the one with the newest snapshot."""
        head = self.whole.head if self.whole else None
        end = self.changes[-1].head if self.changes else None
        start = head.seq if head else 0
        if end is not None:
            return end.epoch, end.seq, start
        return head.follows if head else 0, start, start


def _resumed(log_: ChangeLog, snapshots: Sequence[Snapshot]) -> ChangeLog:
    """Return the change log for a new owner, positioned after the best sequence that was read."""
    entries, torn = _entries(snapshots)
    after: dict[tuple[int, int], list[_Entry]] = defaultdict(list)
    for entry in entries:
        if entry.head.index:
            after[entry.head.seq - 1, entry.head.follows].append(entry)
    wholes = [entry for entry in entries if not entry.head.index]
    line = max((_followed(whole, after) for whole in (None, *wholes)), key=lambda line: line.rank)
    ordered = [*([line.whole] if line.whole else []), *line.changes]
    for entry in ordered:
        log_.applied.update(entry.head.applied)
    if line.whole is not None:
        log_.based, log_.whole_bytes = line.whole.head.generation, len(line.whole.state)
    log_.states = [
        *(msgspec.msgpack.decode(line.whole.state, type=list[memoryview]) if line.whole else ()),
        *(entry.state for entry in line.changes),
    ]
    log_.since_bytes = sum(len(entry.state) for entry in line.changes)
    log_.epoch = max(snapshot.epoch for snapshot in snapshots) + 1
    log_.generation = max(snapshot.generation for snapshot in snapshots) + 1
    log_.follows, log_.seq, _ = line.rank
    if torn > log_.seq:  # older ones are incomplete when later generations overwrote parts of them
        log.warning("newer state refused, some of it is missing", agent=log_.agent, partition=log_.partition, seq=torn)
    return log_


def _entries(snapshots: Sequence[Snapshot]) -> tuple[list[_Entry], int]:
    """Return the complete entries, and the newest `seq` of the incomplete ones."""
    parts: dict[tuple[int, int, int, int], dict[int, Snapshot]] = defaultdict(dict)
    for each in snapshots:
        parts[each.generation, each.index, each.epoch, each.seq][each.part] = each
    found = [
        _Entry(own[0], own[0].state if own[0].parts == 1 else b"".join(own[at].state for at in range(own[0].parts)))
        for own in parts.values()
        if 0 in own and len(own) == own[0].parts
    ]
    return found, max((key[3] for key, own in parts.items() if 0 not in own or len(own) != own[0].parts), default=0)


def _followed(whole: _Entry | None, after: Mapping[tuple[int, int], Sequence[_Entry]]) -> _Line:
    """Follow the deltas after a full snapshot. If two owners wrote after one record, the later owner's delta counts."""
    changes: list[_Entry] = []
    place = (whole.head.seq, whole.head.follows) if whole else (0, 0)
    while following := after.get(place):
        best = max(following, key=lambda entry: entry.head.epoch)
        changes.append(best)
        place = best.head.seq, best.head.epoch
    return _Line(whole, changes)
