"""Consumer groups of Opsloop's workers as the broker reports them: members, state and lag."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from app.kafka.broker import Broker, admin, in_memory
from app.kafka.groups import PREFIX, committed, described, named, offsets, verbs_of

ROLES: Final = ("lane", "loop", "act")  # a role has one or more groups, named PREFIX + role + …


class Member(msgspec.Struct, frozen=True):
    """One worker in a group."""

    client: str
    host: str
    partitions: int


class Group(msgspec.Struct, frozen=True):
    """One consumer group of workers."""

    group: str
    state: str  # as the broker names it: stable, empty, …
    members: tuple[Member, ...]
    lag: dict[str, int]  # topic → records after the committed offset

    @property
    def behind(self) -> int:
        """The lag over all topics, in records."""
        return sum(self.lag.values())


def groups(broker: Broker) -> list[Group] | None:
    """The groups of workers that have members or committed offsets, sorted by name; None: the broker does not tell."""
    client = admin(broker)
    try:
        if in_memory(client):
            return None
        found = [_group(client, name) for name in named(client)]
    except KafkaException:
        return None
    return [group for group in found if group.members or group.lag]


def missing(found: Iterable[Group]) -> list[str]:
    """The roles for which no worker runs."""
    at_work = [group.group for group in found if group.members]
    return [role for role in ROLES if not any(name.startswith(f"{PREFIX}{role}") for name in at_work)]


def missing_verbs(found: Iterable[Group], known: Collection[str]) -> list[str]:
    """The loop's `known` verbs that no worker runs while others are run; empty when the whole loop is missing."""
    run = set[str]().union(*(verbs_of(group.group, known) for group in found if group.members))
    return [verb for verb in known if verb not in run] if run else []


def _group(client: AdminClient, name: str) -> Group:
    told = described(client, name)
    members = tuple(sorted(map(_member, told.members), key=lambda m: (m.host, m.client)))
    assigned = [place for member in told.members for place in _assigned(member)]
    return Group(name, told.state.name.lower(), members, _lag(client, name, assigned))


def _member(told: Any) -> Member:
    return Member(str(told.client_id), str(told.host).lstrip("/"), len(_assigned(told)))


def _assigned(member: Any) -> list[TopicPartition]:
    return list(member.assignment.topic_partitions) if member.assignment else []


def _lag(client: AdminClient, group: str, assigned: Iterable[TopicPartition]) -> dict[str, int]:
    """Records after the committed offset of each topic; those of a partition without one count from its start."""
    reached = committed(client, group)
    places = reached.keys() | {(p.topic, p.partition) for p in assigned}
    ends, starts = (
        offsets(client, places, spec, partial=True) for spec in (OffsetSpec.latest(), OffsetSpec.earliest())
    )
    lag: dict[str, int] = {}
    for place in sorted(places & ends.keys() & starts.keys()):
        done = max(reached.get(place, -1), starts[place])
        lag[place[0]] = lag.get(place[0], 0) + max(0, ends[place] - done)
    return lag
