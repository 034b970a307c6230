"""The list of all topics. Topics are created, documented and decoded by it."""

from __future__ import annotations

from typing import Final

from topics.actions import COMMANDS, RESULTS
from topics.approvals import APPROVALS
from topics.audit import AUDIT, CHECKPOINTS
from topics.decisions import DECISIONS
from topics.entities import ENTITIES
from topics.incidents import INCIDENTS
from topics.learning import ENDED, LABELS, LEARNING
from topics.packs import PACKS
from topics.policies import POLICIES
from topics.proposals import PROPOSALS
from topics.refusals import REFUSALS
from topics.settings import SETTINGS
from topics.signals import ANOMALIES, SYMPTOMS
from topics.spec import Record, Topic
from topics.state import LANE_STATE, LOOP_STATE
from topics.telemetry import EVENTS, HEARTBEATS, METRICS
from topics.verdicts import VERDICTS

# in the order in which data passes through them
ALL: Final = (
    METRICS, EVENTS, HEARTBEATS, ENTITIES, ANOMALIES, SYMPTOMS, INCIDENTS, PROPOSALS, DECISIONS, APPROVALS, COMMANDS,
    RESULTS, VERDICTS, LABELS, REFUSALS, SETTINGS, POLICIES, PACKS, AUDIT, CHECKPOINTS, LANE_STATE, LOOP_STATE,
)  # fmt: skip

BY_NAME: Final = {topic.name: topic for topic in ALL}

# the state topics share one record, which only the drivers write
_BY_RECORD: Final[dict[type[Record], Topic]] = {t.record: t for t in ALL if t not in (LANE_STATE, LOOP_STATE)}
_BY_RECORD.update({topic.record: topic for topic in (LEARNING, ENDED)})  # controls stand on the topic of the samples


def topic_of(record: Record) -> Topic:
    """The topic that a record belongs on."""
    return _BY_RECORD[type(record)]


def named(name: str) -> Topic:
    """The topic of a full name, or of a name without its `opsloop.`

    Raises:
        KeyError: there is no such topic; the text lists those there are.
    """
    topic = BY_NAME.get(name) or BY_NAME.get(f"opsloop.{name}")
    if topic is None:
        known = ", ".join(t.name.removeprefix("opsloop.") for t in ALL)
        raise KeyError(f"there is no topic {name!r}; there are: {known}")
    return topic
