"""Controls: from where on a detector may learn, what is to be forgotten, and labels by people.

A control stands on the metrics topic, between the samples that it is about and with the same key. So the state of a
learner follows from its partition's log alone.
"""

from __future__ import annotations

from typing import Literal

from topics.spec import Instant, Record, Topic, Word, domain_of
from topics.telemetry import METRICS

# what a writer of today may say; a reader accepts every Word, see topics.spec
Feedback = Literal["confirmed", "expected", "false_alarm", "new_trend"]


class Learning(Record, frozen=True):
    """Fork the learner of an entity from here on, or close its fork with a label."""

    entity: str
    ts: Instant
    learning: Word  # open, close
    incident: str  # what it is done for: an incident, a maintenance window, a rollout, an experiment
    label: Word = "confirmed"  # at the close: confirmed drops the copy, the others make it the baseline


class Ended(Record, frozen=True):
    """An entity is gone: forget its series, and all that was learned of them, from here on."""

    entity: str
    ts: Instant
    ended: Instant  # when it was last there


class Label(Record, frozen=True):
    """What a person says an incident was."""

    incident: str
    entity: str
    label: Word  # see `Feedback`
    ts: Instant
    by: str


LEARNING = Topic(
    METRICS.name, Learning, key=lambda control: control.entity, what="in band: what may be learned", cloudevents=False,
    content_type=b"application/vnd.opsloop.learning+json",
)  # fmt: skip
ENDED = Topic(
    METRICS.name, Ended, key=lambda control: control.entity, what="in band: who is gone", cloudevents=False,
    content_type=b"application/vnd.opsloop.ended+json",
)  # fmt: skip
LABELS = Topic(
    "opsloop.labels", Label, key=lambda label: domain_of(label.entity), what="what people say incidents were"
)
