"""What agents have not read yet, by the offsets that are in their states, and which workers run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from app.kafka.admin import REQUEST_S
from app.kafka.split import LaneStates, LoopStates

GROUPS: Final = "opsloop-"  # how the names of all groups of workers begin
LOOP_GROUPS: Final = "opsloop-loop"
Place = tuple[str, int]
Positions = Mapping[tuple[str, str, int], int]  # by reader, topic and partition, the next offset that it has not read


@dataclass(frozen=True, slots=True)
class Unread:
    """Records of a partition that are not in the states of some of its readers."""

    topic: str
    partition: int
    count: int  # for the reader that is furthest behind
    readers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.count} of {self.topic}-{self.partition} (by {', '.join(self.readers)})"


def members(client: AdminClient) -> Mapping[str, int]:
    """How many members each group of workers has; groups without one are left out. Raises KafkaException."""
    found = {}
    for name in _groups(client, GROUPS):
        group = client.describe_consumer_groups([name], request_timeout=REQUEST_S)[name].result(REQUEST_S)
        if group.members:
            found[name] = len(group.members)
    return found


def ends(client: AdminClient, topics: Iterable[str], partitions: Sequence[int]) -> dict[Place, int]:
    """The next offset of each partition. Raises KafkaException."""
    return _offsets(client, [(topic, p) for topic in topics for p in partitions], OffsetSpec.latest())


def read_by_loop(client: AdminClient, states: LoopStates, partitions: Sequence[int]) -> Positions:
    """Up to where the agents of the loop have read. Raises KafkaException.

    A record that changes no state is in none: the group's commit, which comes after the state, tells that it was read.
    """
    committed = _committed(client, LOOP_GROUPS)
    return {
        (verb, topic.name, p): max(states.applied(verb, p).get(topic.name, 0), committed.get((topic.name, p), 0))
        for verb, agent in states.verbs.items() for topic in agent.reads for p in partitions
    }  # fmt: skip


def read_by_lanes(lanes: LaneStates, readers: Mapping[str, Sequence[str]], partitions: Sequence[int]) -> Positions:
    """Up to where lanes have read. readers: the topics of each."""
    return {
        (name, topic, p): lanes.applied(name, p).get(topic, 0)
        for name, topics in readers.items() for topic in topics for p in partitions
    }  # fmt: skip


def unread(client: AdminClient, positions: Positions) -> list[Unread]:
    """What has not been read and is still on the broker. Raises KafkaException."""
    places = sorted({(topic, partition) for _, topic, partition in positions})
    first, last = (_offsets(client, places, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
    found: dict[Place, Unread] = {}
    for (reader, topic, partition), offset in sorted(positions.items()):
        place = topic, partition
        left = last[place] - max(offset, first[place])
        if left > 0:
            known = found.get(place, Unread(topic, partition, 0, ()))
            found[place] = Unread(topic, partition, max(left, known.count), (*known.readers, reader))
    return list(found.values())


def _committed(client: AdminClient, prefix: str) -> dict[Place, int]:
    """The offsets that groups have committed; of several groups the lowest."""
    found: dict[Place, int] = {}
    for name in _groups(client, prefix):
        request = [ConsumerGroupTopicPartitions(name)]
        told = client.list_consumer_group_offsets(request, request_timeout=REQUEST_S)[name].result(REQUEST_S)
        for place in told.topic_partitions:
            if place.offset >= 0:
                key = place.topic, place.partition
                found[key] = min(found.get(key, place.offset), place.offset)
    return found


def _groups(client: AdminClient, prefix: str) -> list[str]:
    listed = client.list_consumer_groups(request_timeout=REQUEST_S).result(REQUEST_S).valid
    return sorted(group.group_id for group in listed if group.group_id.startswith(prefix))


def _offsets(client: AdminClient, places: Sequence[Place], spec: OffsetSpec) -> dict[Place, int]:
    asked = {TopicPartition(topic, partition): spec for topic, partition in places}
    told = client.list_offsets(asked, request_timeout=REQUEST_S)
    return {(place.topic, place.partition): int(future.result(REQUEST_S).offset) for place, future in told.items()}
