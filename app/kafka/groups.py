"""Consumer groups: which protocol the lane's speak, and one for each set of verbs of the loop."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from app.errors import UserError
from app.kafka.broker import Broker, admin
from topics.spec import integer

LOOP: Final = "opsloop-loop"  # the group of workers that run all verbs
LIMIT_S: Final = 5.0

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
        others = {found.group_id for found in client.list_consumer_groups().result(LIMIT_S).valid} - {group}
        others = {other for other in others if verbs_of(other, reads) & set(verbs)}
        _require_alone(client, others, verbs, reads)
        if others and not _offsets(client, group):
            _begin(client, group, {other: _offsets(client, other) for other in others}, verbs, reads)
    except KafkaException:
        return group  # without the right to look it begins at the start, and skips what its state has
    return group


def _require_alone(
    client: AdminClient, others: Collection[str], verbs: Collection[str], reads: Mapping[str, Iterable[str]]
) -> None:
    if not others:
        return
    for other, found in client.describe_consumer_groups(sorted(others)).items():
        if count := len(found.result(LIMIT_S).members):
            both = ", ".join(verb for verb in reads if verb in verbs and verb in verbs_of(other, reads))
            raise UserError(
                f"{both} is run by {count} worker{'s' if count > 1 else ''} of group {other}",
                "End those first, or leave it out with --only: a verb belongs to one group",
            )


def _offsets(client: AdminClient, group: str) -> dict[tuple[str, int], int]:
    (found,) = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
    try:
        told = found.result(LIMIT_S).topic_partitions or ()
    except KafkaException:  # there is no such group yet
        return {}
    return {(place.topic, place.partition): place.offset for place in told if place.offset >= 0}


def _begin(
    client: AdminClient, group: str, known: Mapping[str, Mapping[tuple[str, int], int]], verbs: Collection[str],
    reads: Mapping[str, Iterable[str]],
) -> None:  # fmt: skip
    """Commit for a new group: of each partition where the verb that is behind was in the group that was furthest."""
    wanted: dict[tuple[str, int], int] = {}
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
        made.result(LIMIT_S)
