"""Consumer groups of workers: their protocol and offsets, and one for each set of verbs of the loop."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec

from app.errors import UserError
from app.kafka.broker import Broker, admin
from topics.spec import integer

Place = tuple[str, int]  # topic and partition
PREFIX: Final = "opsloop-"  # how the names of all groups of workers begin
LOOP: Final = f"{PREFIX}loop"  # the group of workers that run all verbs
REQUEST_S: Final = 10.0

# a group that waits longer for its dead is better off with the classic protocol; one that waits less long would give a
# partition away before the worker that slept knows that it did
SESSION_MS: Final = range(6_000, 10_001)


def settled(broker: Broker) -> Broker:
    """The broker with `auto` decided: the new group protocol where it exists and frees a dead member's partitions soon.

    Its session is the broker's to set, and by default 45 s; the classic protocol's is ours. Without the right to look,
    or on an older broker, it is the classic one.
    """
    if broker.group_protocol != "auto":
        return broker
    return replace(broker, group_protocol="consumer" if not broker.embedded and _quick_groups(broker) else "classic")


def _quick_groups(broker: Broker) -> bool:
    try:
        client = admin(broker)
        node = str(next(iter(client.list_topics(timeout=5).brokers)))
        (found,) = client.describe_configs([ConfigResource(ConfigResource.Type.BROKER, node)]).values()
        settings = {name: entry.value or "" for name, entry in found.result(5).items()}
    except (KafkaException, StopIteration):
        return False
    session = settings.get("group.consumer.session.timeout.ms", "")
    offered = settings.get("group.coordinator.rebalance.protocols", "").split(",")
    return "consumer" in offered and integer(session) in SESSION_MS


def named(client: AdminClient, prefix: str = PREFIX) -> list[str]:
    """The names of the groups that begin with `prefix`, sorted. Raises KafkaException."""
    listed = client.list_consumer_groups(request_timeout=REQUEST_S).result(REQUEST_S).valid
    return sorted(group.group_id for group in listed if group.group_id.startswith(prefix))


def described(client: AdminClient, group: str) -> Any:
    """A group's state and members, as the client describes them. Raises KafkaException."""
    return client.describe_consumer_groups([group], request_timeout=REQUEST_S)[group].result(REQUEST_S)


def committed(client: AdminClient, group: str) -> dict[Place, int]:
    """The next offset of each partition for which the group has committed one; none when there is no such group.

    Raises KafkaException.
    """
    request = [ConsumerGroupTopicPartitions(group)]
    try:
        told = client.list_consumer_group_offsets(request, request_timeout=REQUEST_S)[group].result(REQUEST_S)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise
    return {(place.topic, place.partition): place.offset for place in told.topic_partitions or () if place.offset >= 0}


def offsets(
    client: AdminClient, places: Iterable[Place], spec: OffsetSpec, *, partial: bool = False
) -> dict[Place, int]:
    """The offset of each partition.

    partial: leave out those of which the broker tells none: the topic is gone, or no leader is there.

    Raises:
        KafkaException: the broker does not answer, or (not `partial`) tells none of a partition.
    """
    wanted = {TopicPartition(*place): spec for place in places}
    found = {}
    for place, told in client.list_offsets(wanted, request_timeout=REQUEST_S).items() if wanted else ():
        try:
            found[place.topic, place.partition] = int(told.result(REQUEST_S).offset)
        except KafkaException:
            if not partial:
                raise
    return found


def loop_group(verbs: Collection[str], known: Collection[str]) -> str:
    """The group of workers that run `verbs` of the loop's `known` ones: a slow verb holds up none of another group."""
    return LOOP if set(verbs) == set(known) else f"{LOOP}.{'.'.join(verb for verb in known if verb in verbs)}"


def verbs_of(group: str, known: Collection[str]) -> set[str]:
    """The verbs that the members of a group run; empty: it is no group of the loop."""
    if group == LOOP:
        return set(known)
    return set(group.removeprefix(f"{LOOP}.").split(".")) & set(known) if group.startswith(f"{LOOP}.") else set()


def claim(broker: Broker, verbs: Collection[str], reads: Mapping[str, Iterable[str]]) -> str:
    """The group for a worker that runs `verbs`, with offsets to begin at.

    reads: the topics that each verb of the loop reads. A group that is new begins where its verbs were in the groups
    that ran them before; what is in a verb's state is not taken twice whatever it begins at.

    Raises:
        UserError: members of another group run one of the verbs.
    """
    group = loop_group(verbs, reads)
    if broker.embedded:
        return group
    try:
        client = admin(broker)
        others = {other for other in named(client, LOOP) if other != group and verbs_of(other, reads) & set(verbs)}
        _require_alone(client, others, verbs, reads)
        if others and not committed(client, group):
            _begin(client, group, {other: committed(client, other) for other in others}, verbs, reads)
    except KafkaException:
        return group  # without the right to look it begins at the start, and skips what its state has
    return group


def _require_alone(
    client: AdminClient, others: Collection[str], verbs: Collection[str], reads: Mapping[str, Iterable[str]]
) -> None:
    for other in sorted(others):
        if count := len(described(client, other).members):
            both = ", ".join(verb for verb in reads if verb in verbs and verb in verbs_of(other, reads))
            raise UserError(
                f"{both} is run by {count} worker{'s' if count > 1 else ''} of group {other}",
                "End those first, or leave it out with --only: a verb belongs to one group",
            )


def _begin(
    client: AdminClient, group: str, known: Mapping[str, Mapping[Place, int]], verbs: Collection[str],
    reads: Mapping[str, Iterable[str]],
) -> None:  # fmt: skip
    """Commit for a new group: of each partition where the verb that is behind was in the group that was furthest."""
    wanted: dict[Place, int] = {}
    for place in {place for offsets in known.values() for place in offsets}:
        readers = [verb for verb in verbs if place[0] in set(reads[verb])]
        reached = [
            max((known[group].get(place, 0) for group in known if verb in verbs_of(group, reads)), default=0)
            for verb in readers
        ]
        if least := min(reached, default=0):
            wanted[place] = least
    if wanted:
        offsets = [TopicPartition(*place, offset) for place, offset in sorted(wanted.items())]
        (made,) = client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, offsets)]).values()
        made.result(REQUEST_S)
