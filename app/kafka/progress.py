"""What agents have not read yet, by the offsets that are in their states, and which workers run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient, OffsetSpec

from app.kafka.groups import LOOP, Place, committed, described, named, offsets
from app.kafka.split import LaneStates, LoopStates

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
    found = {name: len(described(client, name).members) for name in named(client)}
    return {name: count for name, count in found.items() if count}


def ends(client: AdminClient, topics: Iterable[str], partitions: Sequence[int]) -> dict[Place, int]:
    """The next offset of each partition. Raises KafkaException."""
    return offsets(client, [(topic, p) for topic in topics for p in partitions], OffsetSpec.latest())


def read_by_loop(client: AdminClient, states: LoopStates, partitions: Sequence[int]) -> Positions:
    """Up to where the agents of the loop have read. Raises KafkaException.

    A record that changes no state is in none: the group's commit, which comes after the state, tells that it was read.
    """
    reached = _committed(client)
    return {
        (verb, topic.name, p): max(states.applied(verb, p).get(topic.name, 0), reached.get((topic.name, p), 0))
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
    first, last = (offsets(client, places, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
    found: dict[Place, Unread] = {}
    for (reader, topic, partition), offset in sorted(positions.items()):
        place = topic, partition
        left = last[place] - max(offset, first[place])
        if left > 0:
            known = found.get(place, Unread(topic, partition, 0, ()))
            found[place] = Unread(topic, partition, max(left, known.count), (*known.readers, reader))
    return list(found.values())


def _committed(client: AdminClient) -> dict[Place, int]:
    """The offsets that the groups of the loop have committed; of several groups the lowest."""
    found: dict[Place, int] = {}
    for name in named(client, LOOP):
        for place, offset in committed(client, name).items():
            found[place] = min(found.get(place, offset), offset)
    return found
