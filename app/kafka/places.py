"""Read at known offsets: first and last offset of partitions, messages after an offset, and single messages."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from app.errors import UserError
from app.kafka.broker import CREATE_TOPICS, SEE_DOCTOR, STALL_S, Broker, admin, consumer_config
from topics.spec import Origin, Raw

Partition = tuple[str, int]  # a topic and the number of a partition

BATCH: Final = 1_000
IDS_S: Final = 5.0  # seconds to wait for topic ids; without them a recreated topic is recognised by its offsets
NEAR: Final = 200  # messages; a shorter distance is read and dropped, because a seek costs a round trip
_RETRY_S: Final = 0.05
_NO_LEADER: Final = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
_HOPELESS: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError.TOPIC_AUTHORIZATION_FAILED}
)
# bounds the memory of prefetched messages: other programs run beside the indexer
_LEAN: Final = {
    "group.protocol": "classic",
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "fetch.message.max.bytes": 100_000,  # bytes of a partition in one fetch; a larger message still arrives, alone
    "fetch.max.bytes": 1_000_000,
    "queued.min.messages": 5_000,
    "queued.max.messages.kbytes": 4_096,
}


@dataclass(frozen=True, slots=True)
class Extent:
    """The messages that a partition holds: from offset `low` up to, not including, `high`."""

    low: int
    high: int
    topic_id: str = ""  # the broker's id of the topic; it changes when the topic is recreated; "": unknown


def extents(broker: Broker, topics: Iterable[str]) -> dict[Partition, Extent]:
    """First and next offset of every partition of `topics`.

    Raises:
        UserError: a topic does not exist, may not be read, or the broker does not answer.
    """
    client = admin(broker)
    with _failures():
        cluster = client.list_topics(timeout=STALL_S)
        found, names = cluster.topics, list(topics)
        for name in names:
            if name not in found or found[name].error is not None or not found[name].partitions:
                raise UserError(f"there is no topic {name} on this broker", CREATE_TOPICS)
        places = [TopicPartition(name, number) for name in names for number in found[name].partitions]
        lows = _offsets(client, places, OffsetSpec.earliest())
        highs = _offsets(client, places, OffsetSpec.latest())
    ids = {} if _in_memory(cluster.cluster_id) else _topic_ids(client, names)
    return {place: Extent(low, highs[place], ids.get(place[0], "")) for place, low in lows.items()}


def existing(broker: Broker, topics: Iterable[str]) -> list[str]:
    """Those of `topics` that the broker has. Raises UserError: it does not answer."""
    client = admin(broker)
    with _failures():
        found = client.list_topics(timeout=STALL_S).topics
    return [name for name in topics if name in found and found[name].partitions]


def cluster_of(broker: Broker) -> str:
    """The id of the cluster, independent of the address used. Raises UserError: the broker does not answer."""
    client = admin(broker)
    with _failures():
        identity = client.list_topics(timeout=STALL_S).cluster_id or ""
    # an in-memory cluster derives its id from a memory address, which a later process may reuse
    return f"{identity}@{broker.bootstrap}" if not identity or _in_memory(identity) else str(identity)


def _in_memory(cluster: str | None) -> bool:
    """Whether this is the id of an in-memory cluster (app.kafka.embedded), which has no topic ids."""
    return (cluster or "").startswith("mockCluster")


def _offsets(client: AdminClient, places: list[TopicPartition], spec: Any) -> dict[Partition, int]:
    end = time.monotonic() + STALL_S
    while True:
        asked = client.list_offsets(
            dict.fromkeys(places, spec), isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=STALL_S
        )
        try:
            return {(place.topic, place.partition): future.result().offset for place, future in asked.items()}
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER or time.monotonic() > end:
                raise
        time.sleep(_RETRY_S)  # a new topic has no leader yet


def _topic_ids(client: AdminClient, names: list[str]) -> dict[str, str]:
    ids = {}
    for name, future in client.describe_topics(TopicCollection(names), request_timeout=IDS_S).items():
        with contextlib.suppress(KafkaException):  # older brokers do not support it, and some users lack the right
            ids[name] = str(future.result().topic_id)
    return ids


def read_on(
    broker: Broker, starts: Mapping[Partition, int], ends: Mapping[Partition, Extent]
) -> Iterator[tuple[list[Message], dict[Partition, int]]]:
    """Messages from `starts` on until each partition has reached its end, in batches of at most 1,000.

    Each batch comes with the end offsets of the partitions that ended in it. An end may lie beyond the last message,
    because control records leave gaps.

    Raises:
        UserError: a topic may not be read, or the broker stopped answering.
    """
    waiting = {place for place, start in starts.items() if start < ends[place].high}
    if not waiting:
        return
    with _consumer(broker) as consumer:
        consumer.assign([TopicPartition(*place, starts[place]) for place in waiting])
        for messages, reached in _batches(consumer):
            waiting -= reached.keys()
            for message in messages:
                place = (message.topic(), message.partition())
                if message.offset() + 1 >= ends[place].high:
                    waiting.discard(place)
            yield messages, reached
            if not waiting:
                return


def _batches(consumer: Consumer) -> Iterator[tuple[list[Message], dict[Partition, int]]]:
    """Yield for ever what the consumer receives: messages, and end-of-partition events with their offset."""
    heard = time.monotonic()
    while True:
        first = consumer.poll(0.1)  # `consume` alone waits until its batch is full
        if first is not None:
            heard = time.monotonic()
            yield _sorted_out([first, *consumer.consume(BATCH, 0)])
        elif time.monotonic() - heard > STALL_S:
            raise UserError(f"the broker fell silent for {STALL_S:g} s", SEE_DOCTOR)


def _sorted_out(batch: Iterable[Message]) -> tuple[list[Message], dict[Partition, int]]:
    """Split a batch into its messages and the end offsets of partitions that ended in it."""
    messages, reached = [], {}
    for message in batch:
        error = message.error()
        if error is None:
            messages.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            reached[message.topic(), message.partition()] = message.offset()
        elif error.fatal() or error.code() in _HOPELESS:
            raise UserError(f"reading {message.topic()} failed ({error.str()})", SEE_DOCTOR)
    return messages, reached


def read_places(broker: Broker, places: Iterable[Origin]) -> dict[Origin, Raw]:
    """The messages at `places`. Messages that retention or compaction removed are left out.

    Raises:
        UserError: a topic may not be read, or the broker stopped answering.
    """
    wanted: dict[Partition, list[int]] = defaultdict(list)
    for origin in sorted(set(places), reverse=True):  # descending: the next one is popped from the end of its list
        wanted[origin.topic, origin.partition].append(origin.offset)
    found: dict[Origin, Raw] = {}
    if not wanted:
        return found
    with _consumer(broker) as consumer:
        consumer.assign([TopicPartition(*place, offsets[-1]) for place, offsets in wanted.items()])
        for messages, reached in _batches(consumer):
            before = set(wanted)
            _take(messages, wanted, found)
            for place in reached:
                wanted.pop(place, None)
            if not wanted:
                return found
            consumer.pause([TopicPartition(*place) for place in before - wanted.keys()])
            for place, next_offset in _far(messages, wanted):
                consumer.seek(TopicPartition(*place, next_offset))
    return found


def _take(messages: Iterable[Message], wanted: dict[Partition, list[int]], found: dict[Origin, Raw]) -> None:
    """Copy wanted messages to `found`, and remove offsets from `wanted` that the reader has passed."""
    for message in messages:
        place = (message.topic(), message.partition())
        offsets = wanted.get(place, [])
        while offsets and offsets[-1] < message.offset():
            offsets.pop()  # the topic no longer has it
        if offsets and offsets[-1] == message.offset():
            found[Origin(*place, offsets.pop())] = Raw.of(message)
        if not offsets:
            wanted.pop(place, None)


def _far(messages: Iterable[Message], wanted: Mapping[Partition, list[int]]) -> Iterator[tuple[Partition, int]]:
    """Partitions whose next wanted message is far beyond what was just read, with its offset."""
    last = {(message.topic(), message.partition()): message.offset() for message in messages}
    for place, offset in last.items():
        if place in wanted and wanted[place][-1] - offset > NEAR:
            yield place, wanted[place][-1]


@contextlib.contextmanager
def _consumer(broker: Broker) -> Iterator[Consumer]:
    consumer = Consumer(consumer_config(broker, "opsloop-reader") | _LEAN)  # the client requires a name
    try:
        with _failures():
            yield consumer
    finally:
        consumer.close()


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise UserError(f"the broker does not answer ({error.args[0].str()})", SEE_DOCTOR) from None
