"""The relay: an agent without state over topics that are not ours, by pattern, whatever their partitions are.

A lane keeps state by partition and so needs topics of equal partitions; this needs nothing but the group's offsets,
which are committed when the broker has all output. A worker that died repeats up to a second of its output. Each record
has a header with the place of the message that it was made of, so that its reader drops repeats (topics/relayed.py).
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from agents._agent import Agent, Chunk, Meter
from agents._callback import whole
from agents._output import Output
from agents._partition import POISON
from agents._snapshots import HOPELESS, Place
from agents._watchdog import StallDetector
from topics.codec import Cause, DeadLetter, encode
from topics.relayed import stamp
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
    client: Mapping[str, Any]  # for asking whether records wait: without a group
    identify: Callable[[str], str]  # topic → what tells it from one of that name before it; empty: it is not known
    batch: int = 1000
    poll_s: float = 0.05
    commit_s: float = 1.0  # how much is repeated after a crash
    stuck_s: float = 30.0  # how long nothing may be taken of a partition while there is something to read


class Relay:
    """A worker that runs one agent over every topic that is found."""

    def __init__(self, settings: RelaySettings, agent: Agent[Raw], now: Callable[[], Instant], meter: Meter) -> None:
        self.settings = settings
        self.agent = agent
        self.now = now
        self.meter = meter
        self._next: dict[Place, int] = {}  # what is done and not committed yet
        self._ids: dict[str, str] = {}  # of topics
        self._reached: dict[Place, int] = {}  # the next offset to take
        self._stop = threading.Event()
        self._output: Output
        self._consumer: Any = None

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`.

        Raises:
            KafkaException: the broker refuses, or will not take what follows.
            Stuck: there is something to read of a partition, but the client gives nothing of it: they go to others.
        """
        self._output = Output(self.settings.producer, self._stop.is_set)
        finding = {"topic.blacklist": NOT_OURS, "topic.metadata.refresh.interval.ms": NEW_TOPICS_MS}
        self._consumer = Consumer({**self.settings.consumer, **finding})
        going = {"on_revoke": whole(self._revoked), "on_lost": whole(self._lost)}
        self._consumer.subscribe(list(self.settings.topics), **going)
        ready()
        pool = ThreadPoolExecutor(1, "watchdog")
        stall_detector = StallDetector(self.settings.stuck_s, self.settings.client, pool)
        try:
            commit_at, dry = time.monotonic() + self.settings.commit_s, False
            while not self._stop.is_set():
                first = self._consumer.poll(self.settings.poll_s)
                found = [] if first is None else [first, *self._consumer.consume(self.settings.batch - 1, 0)]
                self._take(found)
                dry = dry or len(found) < self.settings.batch
                self._output.poll()
                if time.monotonic() >= commit_at:
                    self._commit()
                    stall_detector.check(self._consumer, time.monotonic(), self._places(), dry)
                    commit_at, dry = time.monotonic() + self.settings.commit_s, False
            self._commit()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._next.clear()
            self._consumer.close()

    def stop(self) -> None:
        """Ask `run` to finish; it commits first."""
        self._stop.set()

    def _take(self, messages: Iterable[Message]) -> None:
        chunks: dict[Place, list[Message]] = defaultdict(list)
        for message in messages:
            error = message.error()
            if error is None:
                chunks[message.topic(), message.partition()].append(message)
            elif error.fatal() or error.code() in HOPELESS:
                raise KafkaException(error)
        for (topic, partition), found in chunks.items():
            now, source = self.now(), self._source(topic, partition, found[0].offset())
            produced = sum(self._produce(raw, source, now) for raw in Chunk(topic, partition, found))
            self._next[topic, partition] = self._reached[topic, partition] = found[-1].offset() + 1
            self.meter.stepped(self.agent.name, len(found), produced, found[0].timestamp()[1], self.now())

    def _source(self, topic: str, partition: int, offset: int) -> str:
        """The name of a partition in headers. The topic's id is asked for again when offsets have gone back."""
        if topic not in self._ids or offset < self._reached.get((topic, partition), 0):
            self._ids[topic] = self.settings.identify(topic)
        return f"{self._ids[topic]}/{partition}" if self._ids[topic] else ""

    def _produce(self, raw: Raw, source: str, now: Instant) -> int:
        outputs = self._following(raw, now)
        for number, output in enumerate(outputs):
            if isinstance(output, DeadLetter):
                self._output.produce([output], lambda why: self.meter.refused(self.agent.name, why))
                continue
            message = encode(output)
            if source:
                message.headers.append(stamp(source, raw.offset, number))
            self._output.send(message)
        return len(outputs)

    def _following(self, raw: Raw, now: Instant) -> list[Record | DeadLetter]:
        """What the agent makes of a message. One that breaks the agent becomes a dead letter."""
        try:
            return list(self.agent.step([raw], now))
        except POISON as error:
            log.error("a record broke the agent", place=str(raw.origin), exc_info=error)
            return [DeadLetter(raw, Cause.HANDLER, repr(error), METRICS.dlq)]

    def _commit(self) -> None:
        """Wait for all output to be stored, then commit the offsets that it was made of."""
        if not self._next:
            return
        self._output.flush()
        offsets = [TopicPartition(topic, partition, at) for (topic, partition), at in self._next.items()]
        self._next.clear()
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:  # a rebalance is under way: the next owner repeats it
            log.info("commit left to the next owner", cause=str(error))

    def _places(self) -> dict[Place, int]:
        """The next offset to take of what is owned."""
        owned = [(tp.topic, tp.partition) for tp in self._consumer.assignment()]
        return {place: self._reached.get(place, 0) for place in owned}

    def _revoked(self, _consumer: Any, revoked: list[TopicPartition]) -> None:
        self._commit()
        self._forget(revoked)

    def _lost(self, _consumer: Any, lost: list[TopicPartition]) -> None:
        self._forget(lost)

    def _forget(self, gone: Iterable[TopicPartition]) -> None:
        """Drop what is known of partitions that were lost, and the ids of all topics: one may be made anew."""
        self._ids.clear()
        for place in gone:
            self._next.pop((place.topic, place.partition), None)
            self._reached.pop((place.topic, place.partition), None)
