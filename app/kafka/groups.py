"""Which group protocol the workers of the lane speak."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource

from app.kafka.broker import Broker, admin
from topics.spec import integer

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
