"""Snapshots: the state of an agent on a partition, kept with the offsets that are in it.

One record an agent on a compacted topic, in the partition that it is the state of. What cannot be read back whole is
refused, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from topics.codec import DecodeError, decode_value
from topics.spec import Raw, Topic
from topics.state import Snapshot

log = structlog.get_logger()

NO_LEADER_YET: Final = frozenset(  # the client calls none of them retriable here
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)


def pack(agent: str, partition: int, applied: Mapping[str, int], state: bytes) -> Snapshot:
    """A snapshot with its checksum."""
    return Snapshot(
        agent=agent, partition=partition, applied=dict(applied), state=state, checksum=checksum(state)
    )  # fmt: skip


def checksum(state: bytes) -> str:
    """BLAKE2b (128 bits) of a state."""
    return hashlib.blake2b(state, digest_size=16).hexdigest()


def latest(config: Mapping[str, Any], topic: Topic, partition: int) -> dict[str, Snapshot]:
    """The newest whole snapshot of each agent in one partition of a state topic."""
    found: dict[str, Snapshot] = {}
    for raw in replay(config, topic.name, partition, OFFSET_BEGINNING):
        try:
            snapshot = decode_value(topic, raw.value)
        except DecodeError as error:
            log.warning("snapshot refused, the one before it is used", origin=str(raw.origin), cause=str(error))
            continue
        assert isinstance(snapshot, Snapshot)
        if snapshot.checksum != checksum(snapshot.state):
            log.warning("damaged snapshot refused, the one before it is used", origin=str(raw.origin))
            continue
        found[snapshot.agent] = snapshot
    return found


def newest(config: Mapping[str, Any], topic: str, partition: int) -> Raw | None:
    """The last message of a partition; None when it is empty."""
    with _reader(config) as consumer:
        low, high = ends(consumer, TopicPartition(topic, partition))
    last = None
    for raw in replay(config, topic, partition, max(low, high - 1)) if high > low else ():
        last = raw
    return last


def ends(consumer: Consumer, place: TopicPartition, limit_s: float = 30.0) -> tuple[int, int]:
    """First and next offset of a partition; waits for its leader, which a topic that was just made has not at once.

    Raises:
        KafkaException: there is none within `limit_s`, or the broker refuses.
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


def replay(config: Mapping[str, Any], topic: str, partition: int, offset: int) -> Iterator[Raw]:
    """Every message of a partition from `offset` to its end as it is now, by EOF and not by offset arithmetic."""
    with _reader(config) as consumer:
        consumer.assign([TopicPartition(topic, partition, offset)])
        while True:
            for message in consumer.consume(500, 0.05):
                error = message.error()
                if error is None:
                    headers = tuple((name, value or b"") for name, value in message.headers() or ())
                    yield Raw(
                        topic, partition, message.offset(), message.key(), message.value(), headers,
                        message.timestamp()[1],
                    )  # fmt: skip
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                elif not error.retriable():
                    raise KafkaException(error)


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
                "fetch.message.max.bytes": 11_000_000,
                "queued.max.messages.kbytes": 131_072,
                "fetch.wait.max.ms": 20,
                "fetch.error.backoff.ms": 50,
            }
        )

    def __enter__(self) -> Consumer:
        return self.consumer

    def __exit__(self, *_: object) -> None:
        self.consumer.close()
