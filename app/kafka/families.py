"""Families of topics: those that need the same number of partitions, because one worker owns a key on all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaException

from app.errors import UserError
from app.kafka.broker import SEE_DOCTOR, Broker, admin
from app.kafka.settings import TopicsSettings
from topics.audit import AUDIT
from topics.catalog import ALL
from topics.signals import ANOMALIES
from topics.spec import Topic
from topics.state import LANE_STATE, LOOP_STATE
from topics.telemetry import HEARTBEATS, METRICS

ASK_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Family:
    """Topics of which one partition number belongs to one worker.

    name: as `opsloop topics grow` takes it. state: where its agents keep their state. first: topics that get their new
    partitions before the states are split. rest: those that get them afterwards; the last one tells that all is done.
    """

    name: str
    state: Topic
    first: tuple[Topic, ...]
    rest: tuple[Topic, ...]

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All topics that must have the same number of partitions."""
        own = () if self.state is LANE_STATE else (self.state,)
        return (*own, *self.first, *self.rest)

    def wanted(self, settings: TopicsSettings) -> int:
        """How many partitions the settings give it."""
        return settings.telemetry_partitions if self is TELEMETRY else settings.loop_partitions


_OF_TELEMETRY: Final = (METRICS, HEARTBEATS)
_FIRST: Final = (AUDIT, *(topic for topic in ALL if topic.broadcast))
_REST: Final = tuple(t for t in ALL if t not in (*_OF_TELEMETRY, *_FIRST, LANE_STATE, LOOP_STATE))
TELEMETRY: Final = Family("telemetry", LANE_STATE, (), _OF_TELEMETRY)
LOOP: Final = Family("loop", LOOP_STATE, _FIRST, _REST)
FAMILIES: Final = {family.name: family for family in (TELEMETRY, LOOP)}


def partitions_of(topic: Topic, settings: TopicsSettings) -> int:
    """How many partitions a topic is created with. State of the lane has as many as the larger family: actuators
    read topics of the loop and keep their state there."""
    if topic == LANE_STATE:
        return max(settings.telemetry_partitions, settings.loop_partitions)
    family = next((family for family in FAMILIES.values() if topic in family.topics), None)
    return family.wanted(settings) if family else topic.partitions


def partitions_beside(name: str, have: Mapping[str, int]) -> int | None:
    """How many partitions the other topics of a topic's family have; None: there is none of them.

    have: the partitions of topics that exist. A topic that a new version brings is created with as many.
    """
    family = next((family for family in FAMILIES.values() if any(name == topic.name for topic in family.topics)), None)
    return max((have[topic.name] for topic in family.topics if topic.name in have), default=None) if family else None


def counts(broker: Broker) -> Mapping[str, int]:
    """The partitions of every topic on the broker, by name. Raises UserError when it does not answer."""
    client = admin(broker)
    try:
        found = client.list_topics(timeout=ASK_S).topics
    except KafkaException as error:
        raise UserError(f"the broker does not answer ({error.args[0].str()})", SEE_DOCTOR, exit_code=1) from None
    return {name: len(topic.partitions) for name, topic in found.items()}


def hears_heartbeats(broker: Broker) -> bool:
    """Whether the topic of heartbeats has as many partitions as those of the loop, so that one worker reads both.

    Raises:
        UserError: the broker does not answer.
    """
    have = counts(broker)
    return have.get(HEARTBEATS.name) == have.get(ANOMALIES.name)


def require_even(broker: Broker, families: Iterable[Family] = (TELEMETRY, LOOP)) -> None:
    """Return when each family has one number of partitions; topics that do not exist are left out.

    Raises:
        UserError: `opsloop topics grow` was begun and has not ended: keys and their states are apart.
    """
    have = counts(broker)
    for family in families:
        found = {have[topic.name] for topic in family.topics if topic.name in have}
        if len(found) > 1:
            least, most = min(found), max(found)
            raise UserError(
                f"the {family.name} topics have {least} to {most} partitions: growing them was begun and has not ended",
                f"End it while no worker runs: opsloop topics grow {family.name} {most}", exit_code=1,
            )  # fmt: skip
