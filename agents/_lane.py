"""The lane: batches through confluent-kafka for what comes at the rate of telemetry, and for actuators.

One process a core, which shares nothing and is scaled by partitions. The stages of a lane are agents in a row: what one
yields that is neither a record nor a dead letter goes to the next. A snapshot holds the state of a partition and the
offsets that are in it; a new owner starts from these. A worker that was suspended drops everything and joins anew.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from agents import _snapshots
from agents._agent import Agent, Chunk, Meter, warm_up
from agents._callback import whole
from agents._output import Output
from agents._partition import POISON, InflightSnapshot, PartitionState, PendingRestore, through
from agents._snapshots import HOPELESS, Place
from agents._suspension import Suspended, SuspensionDetector
from agents._watchdog import StallDetector
from topics.codec import DeadLetter
from topics.spec import Instant, Record, Topic, integer
from topics.state import LANE_STATE

log = structlog.get_logger()

AWAKE_SHARE: Final = 0.8  # of the group's session: who slept longer may have lost its partitions
SNAPSHOT_S: Final = 2.0  # how much is done again after a crash, while the state is small
PAUSE_FACTOR: Final = 60  # a snapshot that held work up for a second is followed by none for sixty,
LONGEST_PAUSE_S: Final = 30.0  # but never for longer than this: an outage is no cost of snapshots
STEP_MS: Final = 180_000  # a step that takes longer has lost its partitions; longer than an outage that is waited for
WAKE_S: Final = 1.0  # how long the client's connections may sleep after a rebalance; no setting of its shortens that
UNKNOWN_S: Final = 10.0  # how long a topic that was just made may be unknown to a worker that just started

AT_ONCE: Final = 8_000_000  # bytes of snapshots that are written in one go, if they are of several partitions
RESTORERS: Final = 4  # partitions that are taken up at a time: most of it is waiting


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Connections and periods of a lane."""

    consumer: Mapping[str, Any]  # configuration of confluent-kafka, with the group in it
    producer: Mapping[str, Any]
    client: Mapping[str, Any]  # for reading snapshots
    batch: int = 1000
    poll_s: float = 0.02
    tick_s: float = 0.1
    snapshot_s: float = SNAPSHOT_S
    session_s: float = 6.0  # how long the group waits for a silent member
    stuck_s: float = 30.0  # how long nothing may be taken of a partition while there is something to read


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
        made = [make() for make in stages]
        warm_up(made)
        self._first = made[0].name
        self.name = "lane/" + "+".join(stage.name for stage in made)  # names its snapshots
        self.topics: list[Topic] = list(dict.fromkeys(topic for stage in made for topic in stage.reads))
        self.parts: dict[int, PartitionState] = {}
        self._coming: dict[int, PendingRestore] = {}
        self._sent: dict[int, InflightSnapshot] = {}  # by partition, its snapshot of which the group was not told yet
        self._pool: ThreadPoolExecutor
        # agents that read several topics need the same partitions of each, which only the range assignor promises
        self._eager = len(self.topics) > 1
        self._stop = threading.Event()
        self._moved = 0.0  # when partitions last came or went
        self._suspension: SuspensionDetector
        self.output: Output
        self.consumer: Any = None

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`.

        Raises:
            KafkaException: the broker refuses, or will not take what follows from what was read.
            Stuck: there is something to read of a partition, but the client gives nothing of it: they go to others.
            StateTooLarge, ValueError: the state cannot be written, or what was written cannot be read by this version.
        """
        self._suspension = SuspensionDetector(self.settings.session_s * AWAKE_SHARE)
        self._pool = ThreadPoolExecutor(RESTORERS, "restore")
        try:
            while not self._stop.is_set():
                self.output = Output(self.settings.producer, self._stop.is_set)
                self.consumer = self._consumer()
                try:
                    self._work(ready)
                    self._save(self.parts)
                    self._settle()
                except Suspended as slept:
                    log.warning("everything is dropped and the group joined anew", cause=str(slept))
                    self.output.drop()
                finally:
                    self._coming.clear()
                    self._sent.clear()
                    self.parts.clear()  # before `close`, which asks for a last snapshot of what is still owned
                    self.consumer.close()
                self._suspension.wake()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._suspension.stop()

    def stop(self) -> None:
        """Ask `run` to finish; it saves first."""
        self._stop.set()

    def _consumer(self) -> Any:
        config = {"max.poll.interval.ms": STEP_MS} | dict(self.settings.consumer)
        if self._eager:
            session_ms = round(self.settings.session_s * 1000)
            config |= {
                "group.protocol": "classic", "partition.assignment.strategy": "range", "heartbeat.interval.ms": 500,
                "session.timeout.ms": session_ms,
            }  # fmt: skip
        consumer = Consumer(config)
        consumer.subscribe(
            [topic.name for topic in self.topics],
            on_assign=whole(self._assigned), on_revoke=whole(self._revoked), on_lost=whole(self._lost),
        )  # fmt: skip
        return consumer

    def _work(self, ready: Callable[[], None]) -> None:
        started = ticked = time.monotonic()
        save_at = started + self.settings.snapshot_s
        announced, dry, stall_detector = (
            False,
            False,
            StallDetector(self.settings.stuck_s, self.settings.client, self._pool),
        )
        while not self._stop.is_set():
            first = self.consumer.poll(self.settings.poll_s)
            found = [] if first is None else [first, *self.consumer.consume(self.settings.batch - 1, 0)]
            dry = dry or len(found) < self.settings.batch
            if found:
                self._take(found, started)
            self.output.poll()
            self._commit()
            if self._coming:
                self._take_up()
            clock = time.monotonic()
            if first is None and self.parts and clock - self._moved < WAKE_S:
                self._wake()
            if clock - ticked >= self.settings.tick_s:
                ticked = clock
                self._tick()
                stall_detector.check(self.consumer, clock, self._places(), dry)
                dry = False
            if clock >= save_at:
                left = self._save_some()
                took = time.monotonic() - clock
                pause = min(PAUSE_FACTOR * took, LONGEST_PAUSE_S)
                save_at = time.monotonic() + max(0.0 if left else self.settings.snapshot_s, pause)
            if self.parts and not announced:
                announced = True
                ready()

    def _wake(self) -> None:
        """Ask for watermarks, which wakes the client's connections: it does not do so itself after a rebalance."""
        with contextlib.suppress(KafkaException):
            for place in [TopicPartition(topic.name, partition) for topic in self.topics for partition in self.parts]:
                self.consumer.get_watermark_offsets(place, timeout=0.2)

    def _places(self) -> dict[Place, int]:
        """The next offset to take of each partition that is owned."""
        owned = [(tp.topic, tp.partition) for tp in self.consumer.assignment()]
        return {(topic, p): self.parts[p].applied.get(topic, 0) for topic, p in owned if p in self.parts}

    # --- records ------------------------------------------------------------------------------------------------------

    def _take(self, messages: Iterable[Message], started: float) -> None:
        chunks: dict[tuple[str, int], list[Message]] = defaultdict(list)
        for message in messages:
            error = message.error()
            if error is None:
                chunks[message.topic(), message.partition()].append(message)
            elif self._hopeless(error, started):
                raise KafkaException(error)
        self._suspension.require()
        gone_back: set[int] = set()  # what was fetched for these is read again
        for (topic, partition), found in chunks.items():
            part = self.parts.get(partition)
            if part is None and partition in self._coming:
                self._coming[partition].passed.setdefault(topic, found[0].offset())
            if part is None or partition in gone_back:
                continue  # without a part: handed out before the partition was lost, and another worker has it
            part.began.setdefault(topic, found[0].offset())
            seen = part.applied.get(topic, 0)
            fresh = found if found[0].offset() >= seen else [m for m in found if m.offset() >= seen]
            if fresh and not self._applied(partition, part, Chunk(topic, partition, fresh)):
                gone_back.add(partition)

    def _hopeless(self, error: KafkaError, started: float) -> bool:
        """Whether the consumer does not recover from an error by itself, as it does from most."""
        unknown = error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
        if unknown and not self.parts and time.monotonic() - started > UNKNOWN_S:
            return True
        return error.fatal() or error.code() in HOPELESS

    def _applied(self, partition: int, part: PartitionState, chunk: Chunk) -> bool:
        """Run a chunk through the stages. False: a record broke one; the partition goes back to its snapshot."""
        now, end = self.now(), chunk.messages[-1].offset() + 1
        try:
            if chunk.messages[0].offset() < part.careful.get(chunk.topic, 0):
                produced = self._produce(part.carefully(chunk, now))
            else:
                produced = self._produce(part.following(chunk, now))
        except POISON as error:
            log.error("a record broke a stage", lane=self.name, place=f"{chunk.topic}-{partition}", exc_info=error)
            self._go_back(partition, part, chunk.topic, end)
            return False
        part.applied[chunk.topic] = end
        part.dirty = True
        self.meter.stepped(part.stages[-1].name, len(chunk), produced, chunk.messages[0].timestamp()[1], self.now())
        return True

    def _go_back(self, partition: int, part: PartitionState, topic: str, end: int) -> None:
        """Restore a partition from its snapshot and read on from there: its state may be half changed.

        Up to offset `end` of `topic` each chunk is then halved until the record that breaks a stage is alone.
        """
        self._settle()  # so that no snapshot is passed over
        again = self._restored(partition)
        again.began, again.careful = part.began, part.careful | {topic: end}
        self.parts[partition] = again
        for name in part.applied.keys() | {topic}:
            offset = again.applied.get(name, part.began.get(name))
            if offset is not None:
                self.consumer.seek(TopicPartition(name, partition, offset))

    def _tick(self) -> None:
        for part in self.parts.values():
            for stages in part.waiting:
                self._suspension.require()
                part.dirty |= self._produce(through(stages, (), self.now())) > 0

    # --- output and state ---------------------------------------------------------------------------------------------

    def _produce(self, outputs: Iterable[Record | DeadLetter]) -> int:
        return self.output.produce(outputs, lambda cause: self.meter.refused(self._first, cause))

    def _save_some(self) -> bool:
        """Save the partitions that were saved longest ago, up to `AT_ONCE` bytes. Returns whether others are left."""
        dirty = sorted(((p, part) for p, part in self.parts.items() if part.dirty), key=lambda each: each[1].saved)
        large = list(itertools.accumulate(part.size or AT_ONCE for _, part in dirty))  # a first one may be of any size
        count = 1 + sum(size <= AT_ONCE for size in large[1:])
        self._save(dict(dirty[:count]))
        return len(dirty) > count

    def _save(self, parts: Mapping[int, PartitionState]) -> None:
        """Send snapshots of partitions that have changed, once all their output is stored. Does not wait for them."""
        dirty = {partition: part for partition, part in parts.items() if part.dirty}
        if not dirty:
            return
        self._settle()
        self._suspension.require()
        for partition, part in dirty.items():
            state = part.pieces()
            messages = part.store.pack(part.applied, *state)
            sent = self._sent[partition] = InflightSnapshot(dict(part.applied), len(messages))
            for message in messages:
                self.output.send(message, partition, sent.places.append)
            part.dirty, part.size, part.saved = False, sum(map(len, state)), time.monotonic()

    def _settle(self) -> None:
        """Wait until the broker has all output and snapshots, then commit."""
        self.output.flush()
        self._commit()

    def _commit(self) -> None:
        """Commit the offsets of the snapshots, once the broker has all of them."""
        if not self._sent or not all(sent.stands for sent in self._sent.values()):
            return
        offsets = [
            TopicPartition(topic, partition, offset, str(min(sent.places)))  # where a new owner begins to read
            for partition, sent in self._sent.items() for topic, offset in sent.applied.items()
        ]  # fmt: skip
        self._sent.clear()
        try:
            self.consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:  # a rebalance is under way: the snapshots have the offsets
            log.info("commit left to the next owner", cause=str(error))

    # --- partitions ---------------------------------------------------------------------------------------------------

    def _assigned(self, consumer: Any, assigned: list[TopicPartition]) -> None:
        fresh = sorted({tp.partition for tp in assigned} - self.parts.keys() - self._coming.keys())
        for partition, since in zip(fresh, self._committed(consumer, fresh), strict=True):
            self._coming[partition] = PendingRestore(self._pool.submit(self._restored, partition, since))
        if self._eager:
            consumer.assign(assigned)
        else:
            consumer.incremental_assign(assigned)
        self._moved = time.monotonic()

    def _take_up(self) -> None:
        """Take up the partitions that are restored, from the offsets that are in their snapshots.

        Raises what restoring raised.
        """
        for partition, coming in [(p, c) for p, c in self._coming.items() if c.part.done()]:
            part = coming.part.result()
            begins = coming.passed | part.applied  # what was passed over is read now
            try:
                for topic, offset in begins.items():
                    self.consumer.seek(TopicPartition(topic, partition, offset))
            except KafkaException as error:  # it has not begun to fetch
                log.info("a partition is taken up later", partition=partition, cause=str(error))
                continue
            self.parts[partition] = part
            del self._coming[partition]
            self._moved = time.monotonic()

    def _committed(self, consumer: Any, partitions: Sequence[int]) -> list[int | None]:
        """The offset of each partition's last snapshot, as its last owner committed it; None where it is not known."""
        try:
            asked = consumer.committed([TopicPartition(self.topics[0].name, p) for p in partitions], timeout=1.0)
        except KafkaException as error:  # then all there is is read
            log.info("no committed snapshots could be read", cause=str(error))
            return [None for _ in partitions]
        offsets = {place.partition: place.metadata or "" for place in asked}
        return [integer(offsets.get(p, "")) for p in partitions]

    def _restored(self, partition: int, since: int | None = None) -> PartitionState:
        store = _snapshots.newest_store(self.settings.client, LANE_STATE, self.name, partition, since)
        state, store.state = store.state, b""
        return PartitionState(self.make, state, store)

    def _revoked(self, consumer: Any, revoked: list[TopicPartition]) -> None:
        going = {tp.partition for tp in revoked}
        self._save({p: part for p, part in self.parts.items() if p in going})
        if going & self._sent.keys():
            self._settle()
        self._lost(consumer, revoked)

    def _lost(self, consumer: Any, lost: list[TopicPartition]) -> None:
        """Drop the state of lost partitions without writing a snapshot."""
        for tp in lost:
            self.parts.pop(tp.partition, None)
            self._coming.pop(tp.partition, None)
            self._sent.pop(tp.partition, None)
        if self._eager:
            consumer.unassign()
        else:
            consumer.incremental_unassign(lost)
        self._moved = time.monotonic()
