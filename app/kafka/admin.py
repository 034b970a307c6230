"""The broker's topics against the catalogue: what differs, and making it so.

Creates and alters; never deletes a topic and never shrinks one. More partitions move keys to other workers, so topics
grow by `opsloop topics grow` alone, which moves their state too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from app.errors import UserError
from app.kafka.broker import SEE_DOCTOR, Broker, admin
from app.kafka.families import partitions_beside, partitions_of
from app.kafka.settings import TopicsSettings
from topics.catalog import ALL
from topics.spec import DAY_MS, Topic
from topics.state import LANE_STATE, LOOP_STATE

REQUEST_S = 15.0
DEFAULTS = TopicsSettings()
DLQ_RETENTION_MS = 14 * DAY_MS  # long enough to come back from a holiday and look
# Kafka 4 refuses stamps more than an hour ahead: a worker with a wrong clock would end. Nothing here rests on them
ANY_CLOCK = {"message.timestamp.after.max.ms": str(2**63 - 1)}  # the largest; known since Kafka 3.6


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the broker should have of one topic."""

    name: str
    partitions: int
    replicas: int
    config: dict[str, str]


class TopicStepKind(StrEnum):
    """What a step does, or why it cannot be done here."""

    CREATE = "create"
    CONFIG = "config"
    GROW = "grow"
    SHRINK = "shrink"
    REPLICAS = "replicas"


@dataclass(frozen=True, slots=True)
class TopicStep:
    """One difference between catalogue and broker. `detail` holds, by setting, what is there and what is wanted."""

    kind: TopicStepKind
    topic: str
    detail: dict[str, tuple[str | None, str | None]]

    @property
    def safe(self) -> bool:
        """Whether `apply` does it unasked."""
        return self.kind in (TopicStepKind.CREATE, TopicStepKind.CONFIG)

    @property
    def possible(self) -> bool:
        """Whether `apply` can do it at all: partitions never go away, and replicas are moved by Kafka's own tools."""
        return self.kind not in (TopicStepKind.SHRINK, TopicStepKind.REPLICAS)


def wanted(brokers: int, catalogue: Iterable[Topic] = ALL, settings: TopicsSettings = DEFAULTS) -> Iterator[Wanted]:
    """Every topic of the catalogue, each followed by its dead-letter topic, for a cluster of `brokers` nodes.

    Three copies where there are as many brokers, and then two must have a record before it is acknowledged. A
    dead-letter topic has one partition: it is read by people. State is written by its own reader alone and has none.
    """
    replicas = min(3, brokers)
    safety = {"min.insync.replicas": str(max(1, replicas - 1))} | ANY_CLOCK
    for topic in catalogue:
        yield Wanted(topic.name, partitions_of(topic, settings), replicas, topic.config | safety)
        if topic not in (LANE_STATE, LOOP_STATE):
            dead = {"cleanup.policy": "delete", "retention.ms": str(DLQ_RETENTION_MS), "max.message.bytes": "11000000"}
            yield Wanted(topic.dlq, 1, replicas, dead | safety)


def plan(client: AdminClient, want: Sequence[Wanted]) -> list[TopicStep]:
    """What separates the broker from `want`, in the catalogue's order.

    A topic that is missing is created with as many partitions as the others of its family have.

    Raises:
        KafkaException: the broker refused to say (a missing right is not a missing topic).
    """
    have = _described(client, [each.name for each in want])
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in have]
    asked = client.describe_configs(resources, request_timeout=REQUEST_S) if resources else {}
    settings = {resource.name: future.result() for resource, future in asked.items()}
    sizes = {name: len(topic.partitions) for name, topic in have.items()}
    beside = (replace(w, partitions=partitions_beside(w.name, sizes) or w.partitions) if w.name not in have else w
              for w in want)  # fmt: skip
    return [step for each in beside for step in _steps(each, have.get(each.name), settings.get(each.name, {}))]


def _described(client: AdminClient, names: list[str]) -> dict[str, Any]:
    have = {}
    for name, future in client.describe_topics(TopicCollection(names), request_timeout=REQUEST_S).items():
        try:
            have[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    return have


def _steps(want: Wanted, have: Any, settings: dict[str, Any]) -> Iterator[TopicStep]:
    if have is None:
        shape = {"partitions": str(want.partitions), "replicas": str(want.replicas)} | want.config
        yield TopicStep(TopicStepKind.CREATE, want.name, {name: (None, value) for name, value in shape.items()})
        return
    count, replicas = len(have.partitions), len(have.partitions[0].replicas)
    if count != want.partitions:
        kind = TopicStepKind.GROW if count < want.partitions else TopicStepKind.SHRINK
        yield TopicStep(kind, want.name, {"partitions": (str(count), str(want.partitions))})
    if replicas != want.replicas:
        yield TopicStep(TopicStepKind.REPLICAS, want.name, {"replicas": (str(replicas), str(want.replicas))})
    if changes := dict(_changes(want.config, settings)):
        yield TopicStep(TopicStepKind.CONFIG, want.name, changes)


def _changes(want: dict[str, str], have: dict[str, Any]) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    for name, value in want.items():
        now = have[name].value if name in have else None
        if _normal(name, now) != _normal(name, value):
            yield name, (now, value)
    for name, entry in have.items():  # what somebody set by hand goes back to the broker's default
        if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value and name not in want:
            yield name, (entry.value, None)


def _normal(name: str, value: str | None) -> str | None:
    if name == "cleanup.policy" and value:
        return ",".join(sorted(part.strip() for part in value.split(",")))
    return value


def foreign(client: AdminClient, broker: Broker) -> str:
    """What a cluster is called that has no topic of ours, with its address; empty: it has some."""
    found = client.list_topics(timeout=REQUEST_S)
    if any(want.name in found.topics for want in wanted(1)):
        return ""
    nodes, others = len(found.brokers), sum(not name.startswith("__") for name in found.topics)
    shown = f"{nodes} node{'s' * (nodes != 1)}, {others} other topic{'s' * (others != 1)}"
    return f"the cluster {found.cluster_id} at {broker.bootstrap} ({shown})"


def apply(
    client: AdminClient, want: Sequence[Wanted], steps: Sequence[TopicStep], *, grow: bool = False
) -> list[TopicStep]:
    """Do the steps that are safe, and with `grow` those that add partitions; returns what was done.

    Everything is validated by the broker before anything is changed, and visible to clients when this returns.

    Raises:
        UserError: the broker refused a topic or a setting, with its reason.
    """
    by_name = {each.name: each for each in want}
    new = [_new(by_name[step.topic], step) for step in steps if step.kind is TopicStepKind.CREATE]
    changed = [_altered(step) for step in steps if step.kind is TopicStepKind.CONFIG]
    for validate_only in (True, False):
        if new:
            _finish(client.create_topics(new, request_timeout=REQUEST_S, validate_only=validate_only))
        if changed:
            _finish(client.incremental_alter_configs(changed, validate_only=validate_only, request_timeout=REQUEST_S))
    grown = [step for step in steps if grow and step.kind is TopicStepKind.GROW]
    if grown:
        _finish(client.create_partitions([NewPartitions(s.topic, by_name[s.topic].partitions) for s in grown]))
    done = [step for step in steps if step.safe or step in grown]
    end = time.monotonic() + REQUEST_S
    while done and any(step in done for step in plan(client, want)) and time.monotonic() < end:
        time.sleep(0.02)  # the controller has agreed; its brokers hear of it a moment later
    return done


def _new(want: Wanted, step: TopicStep) -> NewTopic:
    return NewTopic(want.name, int(step.detail["partitions"][1] or 0), want.replicas, config=want.config)


def _altered(step: TopicStep) -> ConfigResource:
    entries = [
        ConfigEntry(
            name, value, incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        )
        for name, (_, value) in step.detail.items()
    ]
    return ConfigResource(ResourceType.TOPIC, step.topic, incremental_configs=entries)


def _finish(futures: dict[Any, Any]) -> None:
    for subject, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else applies the same catalogue
                raise UserError(f"the broker refused {subject}: {error.args[0].str()}", exit_code=1) from None


def ensure(broker: Broker, catalogue: Iterable[Topic] = ALL, settings: TopicsSettings = DEFAULTS) -> list[TopicStep]:
    """Bring the broker's topics up to the catalogue as far as that is safe; returns what was done."""
    with connected(broker) as client:
        want = list(wanted(size(client), catalogue, settings))
        return apply(client, want, plan(client, want))


def size(client: AdminClient) -> int:
    """How many brokers the cluster has."""
    return len(client.list_topics(timeout=REQUEST_S).brokers)


@contextlib.contextmanager
def connected(broker: Broker) -> Iterator[AdminClient]:
    """A client for administration whose failures are errors that a person can read.

    Raises:
        UserError: the broker does not do administration, or refused.
    """
    if broker.embedded:
        raise UserError("the in-memory cluster has no topics to administer", "Start a broker: opsloop kafka up")
    client = admin(broker)
    try:
        yield client
    except KafkaException as error:
        raise UserError(f"the broker refused: {error.args[0].str()}", SEE_DOCTOR, exit_code=1) from None


def topic_id(broker: Broker, topic: str) -> str:
    """What the broker calls a topic, and no other that is made under its name; empty when it does not tell."""
    client = admin(broker)  # kept until its future is done
    try:
        found = client.describe_topics(TopicCollection([topic]))[topic].result(REQUEST_S)
    except KafkaException:
        return ""
    return str(found.topic_id)
