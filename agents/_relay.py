"""The relay: an agent without state over topics that are not ours, by pattern, whatever their partitions are.

A lane keeps state by partition and so needs topics of equal partitions; this needs nothing but the group's offsets,
which are committed when the broker has all that followed. A worker that dies says its last second again.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from agents._agent import Agent, Chunk, Meter
from agents._callback import whole
from agents._lane import POISON
from agents._output import Output
from agents._snapshots import HOPELESS
from topics.codec import Cause, DeadLetter
from topics.spec import Instant, Raw, Record
from topics.telemetry import METRICS

log = structlog.get_logger()

NOT_OURS: Final = "^opsloop[.],^__"  # what a pattern never finds: our own topics, which would go round, and Kafka's
NEW_TOPICS_MS: Final = 5_000  # how soon a topic that was just made is found


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """How a relay meets its broker."""

    topics: Sequence[str]  # regular expressions, each from ^ to $
    consumer: Mapping[str, Any]  # configuration of confluent-kafka, with the group in it, of the classic protocol
    producer: Mapping[str, Any]
    batch: int = 1000
    poll_s: float = 0.05
    commit_s: float = 1.0  # how much is said again after a crash


class Relay:
    """A worker that runs one agent over every topic that is found."""

    def __init__(self, settings: RelaySettings, agent: Agent[Raw], now: Callable[[], Instant], meter: Meter) -> None:
        self.settings = settings
        self.agent = agent
        self.now = now
        self.meter = meter
        self._next: dict[tuple[str, int], int] = {}  # what is done and not committed yet
        self._stop = threading.Event()
        self._output: Output
        self._consumer: Any = None

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`. Raises KafkaException when the broker refuses, or will not take what follows."""
        self._output = Output(self.settings.producer, self._stop.is_set)
        finding = {"topic.blacklist": NOT_OURS, "topic.metadata.refresh.interval.ms": NEW_TOPICS_MS}
        self._consumer = Consumer({**self.settings.consumer, **finding})
        going = {"on_revoke": whole(self._revoked), "on_lost": whole(self._lost)}
        self._consumer.subscribe(list(self.settings.topics), **going)
        ready()
        try:
            commit_at = time.monotonic() + self.settings.commit_s
            while not self._stop.is_set():
                first = self._consumer.poll(self.settings.poll_s)
                if first is not None:
                    self._take([first, *self._consumer.consume(self.settings.batch - 1, 0)])
                self._output.poll()
                if time.monotonic() >= commit_at:
                    self._commit()
                    commit_at = time.monotonic() + self.settings.commit_s
            self._commit()
        finally:
            self._next.clear()
            self._consumer.close()

    def stop(self) -> None:
        """Ask `run` to finish; it commits first."""
        self._stop.set()

    def _take(self, messages: Iterable[Message]) -> None:
        chunks: dict[tuple[str, int], list[Message]] = defaultdict(list)
        for message in messages:
            error = message.error()
            if error is None:
                chunks[message.topic(), message.partition()].append(message)
            elif error.fatal() or error.code() in HOPELESS:
                raise KafkaException(error)
        for (topic, partition), found in chunks.items():
            chunk, now = Chunk(topic, partition, found), self.now()
            said = self._output.say(self._following(chunk, now), lambda why: self.meter.refused(self.agent.name, why))
            self._next[topic, partition] = found[-1].offset() + 1
            self.meter.stepped(self.agent.name, len(chunk), said, found[0].timestamp()[1], self.now())

    def _following(self, chunk: Chunk, now: Instant) -> Iterator[Record | DeadLetter]:
        """What follows from a chunk; a record that breaks the agent is refused alone."""
        try:
            yield from list(self.agent.step(chunk, now))
        except POISON as error:
            if len(chunk) == 1:
                log.error("a record broke the agent", place=str(chunk[0].origin), exc_info=error)
                yield DeadLetter(chunk[0], Cause.HANDLER, repr(error), METRICS.dlq)
                return
            for at in range(len(chunk)):
                yield from self._following(chunk[at : at + 1], now)

    def _commit(self) -> None:
        """Outputs first, then offsets."""
        if not self._next:
            return
        self._output.flush()
        offsets = [TopicPartition(topic, partition, at) for (topic, partition), at in self._next.items()]
        self._next.clear()
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:  # a rebalance is under way: the next owner says it again
            log.info("commit left to the next owner", cause=str(error))

    def _revoked(self, _consumer: Any, _revoked: list[TopicPartition]) -> None:
        self._commit()

    def _lost(self, _consumer: Any, lost: list[TopicPartition]) -> None:
        for place in lost:
            self._next.pop((place.topic, place.partition), None)
