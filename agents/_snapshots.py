"""Snapshots: the state of an agent on a partition, stored with the offsets that it includes.

Snapshots are records on a compacted topic, in the partition whose state they hold. A snapshot that is incomplete or
damaged is refused, and the previous one is used.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from agents._agent import Buffer
from topics.codec import DecodeError, Message, decode_value, encode
from topics.spec import Raw, Topic
from topics.state import Snapshot

log = structlog.get_logger()

TopicPartition = tuple[str, int]  # topic name and partition number
Place = TopicPartition

PART_BYTES: Final = 6_000_000  # a record may have 11 MB, and older versions encoded a part into 4/3 of its size
MAX_PARTS: Final = 64
SILENCE_S: Final = 60.0
OFFSET_LAST: Final = -2001  # librdkafka's RD_KAFKA_OFFSET_TAIL(1): the last message of a partition

NO_LEADER_YET: Final = frozenset(  # the client marks none of these errors as retriable
    {
        KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._PARTITION_EOF,
        KafkaError._UNKNOWN_PARTITION,
    }
)  # fmt: skip
HOPELESS: Final = frozenset(  # the only consumer errors from which the client does not recover by itself
    {
        KafkaError._FATAL, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError._AUTHENTICATION,
    }
)  # fmt: skip


class StateTooLarge(Exception):
    """The state is too large to be written: restoring it would take too long."""


@dataclass(slots=True)
class SnapshotStore:
    """Destination of one agent's snapshots of one partition, and the newest snapshot that was read from it."""

    topic: Topic
    agent: str
    partition: int
    epoch: int = 1
    seq: int = 0
    applied: dict[str, int] | None = None  # None: no snapshot was read
    state: bytes = b""
    whole: bool = True  # no snapshot that was read was damaged or incomplete

    def pack(self, applied: Mapping[str, int], *state: Buffer) -> list[Message]:
        """Encode the next snapshot. Returns its messages, to be sent to the store's partition.

        state: the encoded state in consecutive buffers, which are copied.

        Raises:
            StateTooLarge: the state is too large; nothing of it is written.
        """
        size = sum(map(len, state))
        parts = max(1, -(-size // PART_BYTES))
        if parts > MAX_PARTS:
            raise StateTooLarge(
                f"the state of {self.agent} on partition {self.partition} has {size:,} bytes, and the most is"
                f" {MAX_PARTS * PART_BYTES:,}: spread its entities over more partitions"
            )
        self.seq += 1
        made = []
        for part in range(parts):
            snapshot = Snapshot(
                agent=self.agent, partition=self.partition, applied=dict(applied), checksum="",
                state=_span(state, part * PART_BYTES, (part + 1) * PART_BYTES),
                epoch=self.epoch, seq=self.seq, part=part, parts=parts,
            )  # fmt: skip
            made.append(encode(msgspec.structs.replace(snapshot, checksum=checksum(snapshot)), self.topic))
        return made


def _span(pieces: Iterable[Buffer], first: int, end: int) -> memoryview:
    """Return bytes `first` to `end` of the concatenated pieces. No copy when they lie in one piece."""
    found, begin = [], 0
    for piece in pieces:
        found.append(memoryview(piece)[max(first - begin, 0) : max(end - begin, 0)])
        begin += len(piece)
    found = [view for view in found if view]
    return found[0] if len(found) == 1 else memoryview(b"".join(found))


def checksum(snapshot: Snapshot) -> str:
    """Return the BLAKE2b hash (128 bits, hex) of all other fields of a snapshot."""
    digest = hashlib.blake2b(snapshot.state, digest_size=16)
    rest = msgspec.structs.replace(snapshot, state=memoryview(b""), checksum="")
    digest.update(msgspec.json.encode(rest, order="sorted"))
    return digest.hexdigest()


def stores(
    config: Mapping[str, Any], topic: Topic, partition: int, since: int = OFFSET_BEGINNING
) -> Mapping[str, SnapshotStore]:
    """Read each agent's snapshot store on one partition of a state topic, with its newest complete snapshot.

    since: the offset at which to begin. An agent that never wrote a snapshot is missing: use `store_of`.
    """
    return _stores(topic, replay(config, {(topic.name, partition): since})).get(partition, {})


def _stores(topic: Topic, raws: Iterable[Raw]) -> dict[int, dict[str, SnapshotStore]]:
    found: dict[tuple[int, str], dict[tuple[int, int], dict[int, Snapshot]]] = defaultdict(lambda: defaultdict(dict))
    refused: set[int] = set()
    for raw in raws:
        if snapshot := read_snapshot(topic, raw):
            tried = found[raw.partition, snapshot.agent]
            tried[snapshot.epoch, snapshot.seq][snapshot.part] = snapshot
            _forget_older(tried)
        else:
            refused.add(raw.partition)
    made: dict[int, dict[str, SnapshotStore]] = defaultdict(dict)
    for (partition, agent), tried in found.items():
        made[partition][agent] = _newest(SnapshotStore(topic, agent, partition, whole=partition not in refused), tried)
    return made


def newest_store(
    config: Mapping[str, Any], topic: Topic, agent: str, partition: int, since: int | None
) -> SnapshotStore:
    """Read the snapshot store of `agent` for a new owner.

    since: offset of its newest snapshot as committed by the group; None: unknown. Older records are read only when it
    is unknown, or when a snapshot at or after it is damaged.
    """
    if since is not None:
        found = stores(config, topic, partition, since)
        if agent in found and found[agent].whole:
            return store_of(found, topic, agent, partition)
    return store_of(stores(config, topic, partition), topic, agent, partition)


def store_of(found: Mapping[str, SnapshotStore], topic: Topic, agent: str, partition: int) -> SnapshotStore:
    """Return the store of `agent` for a new owner, with an epoch higher than any that was read."""
    store = found.get(agent) or SnapshotStore(topic, agent, partition, epoch=0)
    return replace(store, epoch=store.epoch + 1)


def _forget_older(tried: dict[tuple[int, int], dict[int, Snapshot]]) -> None:
    """Keep the two newest complete snapshots and everything newer. Bounds the memory of a read."""
    complete = sorted(rank for rank, parts in tried.items() if len(parts) == next(iter(parts.values())).parts)
    if len(complete) > 2:
        for rank in [rank for rank in tried if rank < complete[-2]]:
            del tried[rank]


def _newest(store: SnapshotStore, tried: dict[tuple[int, int], dict[int, Snapshot]]) -> SnapshotStore:
    store.epoch, store.seq = max(tried)  # an incomplete one counts too: its number is in use
    for rank in sorted(tried, reverse=True):
        parts = [tried[rank][part] for part in sorted(tried[rank])]
        if len(parts) == parts[0].parts:
            store.applied, store.state = dict(parts[0].applied), b"".join(p.state for p in parts)
            break
        store.whole = False
        log.warning("snapshot refused, some of it is missing", agent=store.agent, partition=store.partition, seq=rank)
    return store


def read_snapshot(topic: Topic, raw: Raw) -> Snapshot | None:
    """Decode one snapshot record. Returns None, and logs why, when it is damaged or cannot be decoded."""
    try:
        snapshot = decode_value(topic, raw.value)
    except DecodeError as error:
        log.warning("snapshot refused, the one before it is used", origin=str(raw.origin), cause=str(error))
        return None
    assert isinstance(snapshot, Snapshot)
    if snapshot.checksum != checksum(snapshot):
        log.warning("damaged snapshot refused, the one before it is used", origin=str(raw.origin))
        return None
    return snapshot


def ends(consumer: Consumer, place: ClientPartition, limit_s: float = 30.0) -> tuple[int, int]:
    """Return the first and the next offset of a partition. Waits for its leader: a new topic has none at first.

    Raises:
        KafkaException: no leader within `limit_s` seconds, or the broker refuses.
    """
    end = time.monotonic() + limit_s
    while True:
        try:
            low, high = consumer.get_watermark_offsets(place, timeout=limit_s)
            return low, high
        except KafkaException as error:
            if error.args[0].code() not in NO_LEADER_YET or time.monotonic() > end:
                raise
            time.sleep(0.05)


def replay(config: Mapping[str, Any], starts: Mapping[TopicPartition, int]) -> Iterator[Raw]:
    """Read every message of partitions from their start offsets to their current ends, in offset order per partition.

    The end is found by EOF events, not by offset arithmetic, because compaction and transactions leave gaps.

    Raises:
        KafkaException: the broker refuses, or does not answer for a minute.
    """
    waiting = set(starts)
    with _reader(config) as consumer:
        for topic, partition in {topic: (topic, partition) for topic, partition in starts}.values():
            ends(consumer, ClientPartition(topic, partition))  # finds the leader; else the client waits 0.5 s
        consumer.assign([ClientPartition(topic, partition, offset) for (topic, partition), offset in starts.items()])
        heard = time.monotonic()
        while waiting:
            for message in consumer.consume(500, 0.02):
                heard = time.monotonic()
                error, place = message.error(), (message.topic(), message.partition())
                if error is None:
                    if place in waiting:
                        yield Raw.of(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard(place)
                elif error.code() in HOPELESS or error.fatal():
                    raise KafkaException(error)
            if time.monotonic() - heard > SILENCE_S:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{sorted(waiting)} cannot be read"))


class _reader:  # noqa: N801 - reads as a function
    """A consumer without a group that reads partitions to their end."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.consumer = Consumer(
            dict(config)
            | {
                "group.id": "opsloop-restore",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": PART_BYTES + 100_000,  # one part and no piece of the next
                "queued.max.messages.kbytes": 131_072,
                "fetch.wait.max.ms": 20,
                "fetch.error.backoff.ms": 50,
            }
        )

    def __enter__(self) -> Consumer:
        return self.consumer

    def __exit__(self, *_: object) -> None:
        self.consumer.close()
