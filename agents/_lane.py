"""The lane: batches through confluent-kafka for what comes at the rate of telemetry, and for actuators.

One process a core, share nothing, scaled by partitions. The stages of a lane are agents in a row: what one yields that
is neither a record nor a dead letter goes to the next. State and offsets travel together in one snapshot; a partition
that is taken over starts from the snapshot's own offsets.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from agents import _snapshots
from agents._agent import Agent, Chunk, Meter
from topics.codec import DeadLetter, DecodeError, decode, encode
from topics.spec import Instant, Read, Record, Topic
from topics.state import LANE_STATE

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How a lane meets its broker."""

    consumer: Mapping[str, Any]  # configuration of confluent-kafka, with the group in it
    producer: Mapping[str, Any]
    client: Mapping[str, Any]  # for reading snapshots
    batch: int = 1000
    poll_s: float = 0.02
    tick_s: float = 0.1
    snapshot_s: float = 2.0  # how much is done again after a crash


@dataclass(slots=True)
class _Part:
    """One partition: its own instance of every stage, and the next offset of each topic that is not yet in them."""

    stages: list[Agent[Any]]
    applied: dict[str, int] = field(default_factory=dict)
    dirty: bool = False


class Lane:
    """A worker that runs `stages` over the partitions it is given."""

    def __init__(
        self,
        settings: LaneSettings,
        stages: Sequence[Callable[[], Agent[Any]]],
        now: Callable[[], Instant],
        meter: Meter,
    ) -> None:
        self.settings = settings
        self.make = stages
        self.now = now
        self.meter = meter
        self.topics: list[Topic] = list(dict.fromkeys(topic for make in stages for topic in make().reads))
        self.parts: dict[int, _Part] = {}
        self.failure: KafkaException | None = None
        # agents that read several topics need the same partitions of each, which only the range assignor promises
        self._eager = len(self.topics) > 1
        self._stop = threading.Event()
        self.producer = Producer(dict(settings.producer))
        self.consumer: Any = None

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`. Raises KafkaException when the broker will not take what follows from what was read."""
        config = dict(self.settings.consumer)
        if self._eager and config.get("group.protocol", "classic") == "classic":
            config["partition.assignment.strategy"] = "range"
        self.consumer = consumer = Consumer(config)
        consumer.subscribe(
            [topic.name for topic in self.topics],
            on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost,
        )  # fmt: skip
        saved = ticked = time.monotonic()
        told = False
        try:
            while not self._stop.is_set():
                first = consumer.poll(self.settings.poll_s)
                if first is not None:
                    self._take([first, *consumer.consume(self.settings.batch - 1, 0)])
                self.producer.poll(0)
                if self.failure is not None:
                    raise self.failure
                clock = time.monotonic()
                if clock - ticked >= self.settings.tick_s:
                    ticked = clock
                    self._tick()
                if clock - saved >= self.settings.snapshot_s:
                    self._save(self.parts)
                    saved = time.monotonic()
                if self.parts and not told:
                    told = True
                    ready()
            self._save(self.parts)
        finally:
            self.parts.clear()
            consumer.close()

    def stop(self) -> None:
        """Ask `run` to finish; it saves first."""
        self._stop.set()

    def _take(self, messages: Iterable[Message]) -> None:
        chunks: dict[tuple[str, int], list[Message]] = defaultdict(list)
        for message in messages:
            error = message.error()
            if error is None:
                chunks[message.topic(), message.partition()].append(message)
            elif not error.retriable() and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
        for (topic, partition), found in chunks.items():
            part = self.parts.get(partition)
            if part is None:
                continue  # handed out before the partition was lost: another worker has it
            seen = part.applied.get(topic, 0)
            fresh = found if found[0].offset() >= seen else [m for m in found if m.offset() >= seen]
            if fresh:
                self._apply(part, Chunk(topic, partition, fresh))

    def _apply(self, part: _Part, chunk: Chunk) -> None:
        now = self.now()
        outputs = self._through(part.stages, chunk if part.stages[0].raw else self._decoded(chunk), now)
        part.applied[chunk.topic] = chunk.messages[-1].offset() + 1
        part.dirty = True
        self.meter.stepped(part.stages[-1].name, len(chunk), outputs, chunk.messages[0].timestamp()[1], self.now())

    def _through(self, stages: Sequence[Agent[Any]], given: Sequence[Any], now: Instant) -> int:
        """Push `given` through the stages; the number of records that were sent."""
        sent = 0
        onward: list[Any] = []
        for output in stages[0].step(given, now):
            if isinstance(output, Record):
                self._send(output)
                sent += 1
            elif isinstance(output, DeadLetter):
                self._bury(stages[0].name, output)
            else:
                onward.append(output)
        return sent + self._through(stages[1:], onward, now) if onward else sent

    def _decoded(self, chunk: Chunk) -> list[Read[Record]]:
        reads = []
        for raw in chunk:
            try:
                reads.append(decode(raw))
            except DecodeError as error:
                self._bury("decode", DeadLetter(raw, error.cause, error.detail))
        return reads

    def _send(self, record: Record) -> None:
        message = encode(record)
        self._produce(message.topic.name, message.key, message.value, message.headers)

    def _bury(self, agent: str, letter: DeadLetter) -> None:
        self.meter.refused(agent, letter.cause)
        self._produce(letter.topic, letter.raw.key, letter.raw.value, letter.headers)

    def _produce(self, topic: str, key: bytes | None, value: bytes | None, headers: Any, partition: int = -1) -> None:
        while True:
            try:
                self.producer.produce(topic, value, key, partition, on_delivery=self._delivered, headers=headers)
                return
            except BufferError:
                self.producer.poll(0.1)  # bounded by the client's own queue: wait for the broker

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.failure = KafkaException(error)

    def _tick(self) -> None:
        for part in self.parts.values():
            for index, stage in enumerate(part.stages):
                if not stage.raw:
                    part.dirty |= self._through(part.stages[index:], (), self.now()) > 0

    def _save(self, parts: Mapping[int, _Part]) -> None:
        """Write what has changed: outputs first, then state with its offsets, then the group's offsets."""
        if self.producer.flush(30) or self.failure:
            raise self.failure or KafkaException(KafkaError(KafkaError._TIMED_OUT, "the broker takes no output"))
        offsets = []
        for partition, part in parts.items():
            if not part.dirty:
                continue
            for stage in part.stages:
                if state := stage.snapshot():
                    snapshot = encode(_snapshots.pack(stage.name, partition, part.applied, state), LANE_STATE)
                    self._produce(LANE_STATE.name, snapshot.key, snapshot.value, None, partition)
            part.dirty = False
            offsets += [TopicPartition(topic, partition, offset) for topic, offset in part.applied.items()]
        if offsets:
            self.producer.flush(30)
            try:
                self.consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as error:  # a rebalance is under way: the snapshots have the offsets
                log.info("commit left to the next owner", cause=str(error))

    def _assigned(self, consumer: Any, assigned: list[TopicPartition]) -> None:
        for partition in sorted({tp.partition for tp in assigned} - self.parts.keys()):
            self.parts[partition] = self._restored(partition)
        for tp in assigned:
            known = self.parts[tp.partition].applied.get(tp.topic)
            if known is not None:
                tp.offset = known
        if self._eager:
            consumer.assign(assigned)
        else:
            consumer.incremental_assign(assigned)

    def _restored(self, partition: int) -> _Part:
        part = _Part([make() for make in self.make])
        found = _snapshots.latest(self.settings.client, LANE_STATE, partition)
        for stage in part.stages:
            snapshot = found.get(stage.name)
            if snapshot is not None:
                stage.restore(snapshot.state)
                part.applied = dict(snapshot.applied)
        return part

    def _revoked(self, consumer: Any, revoked: list[TopicPartition]) -> None:
        going = {tp.partition for tp in revoked}
        self._save({p: part for p, part in self.parts.items() if p in going})
        self._lost(consumer, revoked)

    def _lost(self, consumer: Any, lost: list[TopicPartition]) -> None:
        """What was lost is no longer ours to write."""
        for tp in lost:
            self.parts.pop(tp.partition, None)
        if self._eager:
            consumer.unassign()
        else:
            consumer.incremental_unassign(lost)
