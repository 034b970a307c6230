"""The lane: batches through confluent-kafka for what comes at the rate of telemetry, and for actuators.

One process a core, share nothing, scaled by partitions. The stages of a lane are agents in a row: what one yields that
is neither a record nor a dead letter goes to the next. State and offsets travel together in one snapshot; a partition
that is taken over starts from the snapshot's own offsets. A worker that slept drops everything and joins anew.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from agents import _snapshots
from agents._agent import Agent, Chunk, Meter, rehearse
from agents._callback import whole
from agents._output import Output
from agents._pulse import Pulse, Slept
from agents._snapshots import HOPELESS, Shelf
from agents._watchdog import Watchdog
from topics.codec import Cause, DeadLetter, DecodeError, decode
from topics.spec import Instant, Raw, Read, Record, Topic
from topics.state import LANE_STATE

log = structlog.get_logger()

Said = Iterator[Record | DeadLetter]

AWAKE_SHARE: Final = 0.8  # of the group's session: who slept longer may have lost its partitions
PAUSE_FACTOR: Final = 20  # a snapshot that took a second is followed by none for twenty,
LONGEST_PAUSE_S: Final = 30.0  # but never for longer than this: an outage is no cost of snapshots
STEP_MS: Final = 180_000  # a step that takes longer has lost its partitions; longer than an outage that is waited for
WAKE_S: Final = 1.0  # how long the client's connections may sleep after a rebalance; no setting of its shortens that
UNKNOWN_S: Final = 10.0  # how long a topic that was just made may be unknown to a worker that just started

RESTORERS: Final = 4  # partitions that are taken up at a time: most of it is waiting

_STATES: Final = msgspec.msgpack.Decoder(dict[str, bytes])  # by stage

# what a record can make a learner raise; anything else (a full disk, a damaged ledger) is no fault of the record
POISON: Final = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
    msgspec.MsgspecError,
)  # fmt: skip


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
    session_s: float = 6.0  # how long the group waits for a silent member
    stuck_s: float = 30.0  # how long it may be given nothing while there is something to read


@dataclass(slots=True)
class _Part:
    """One partition: its own instance of every stage, and the next offset of each topic that is not yet in them."""

    stages: list[Agent[Any]]
    shelf: Shelf
    applied: dict[str, int] = field(default_factory=dict)
    began: dict[str, int] = field(default_factory=dict)  # the first offset of each topic that was seen
    careful: dict[str, int] = field(default_factory=dict)  # below this offset is a record that broke a stage
    dirty: bool = False

    @property
    def state(self) -> bytes:
        """All stages' states as one, so that no crash tears them apart."""
        return msgspec.msgpack.encode({stage.name: stage.snapshot() for stage in self.stages})


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
        rehearse(made)
        self._first = made[0].name
        self.name = "lane/" + "+".join(stage.name for stage in made)  # names its snapshots
        self.topics: list[Topic] = list(dict.fromkeys(topic for stage in made for topic in stage.reads))
        self.parts: dict[int, _Part] = {}
        # agents that read several topics need the same partitions of each, which only the range assignor promises
        self._eager = len(self.topics) > 1
        self._stop = threading.Event()
        self._moved = 0.0  # when partitions last came or went
        self._pulse: Pulse
        self.output: Output
        self.consumer: Any = None

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`.

        Raises:
            KafkaException: the broker refuses, or will not take what follows from what was read.
            Stuck: there is something to read, but the client gives nothing: the partitions go to others.
            StateTooLarge, ValueError: the state cannot be written, or what was written cannot be read by this version.
        """
        self._pulse = Pulse(self.settings.session_s * AWAKE_SHARE)
        try:
            while not self._stop.is_set():
                self.output = Output(self.settings.producer, self._stop.is_set)
                self.consumer = self._consumer()
                try:
                    self._work(ready)
                    self._save(self.parts)
                except Slept as slept:
                    log.warning("everything is dropped and the group joined anew", cause=str(slept))
                    self.output.drop()
                finally:
                    self.parts.clear()  # before `close`, which asks for a last snapshot of what is still owned
                    self.consumer.close()
                self._pulse.wake()
        finally:
            self._pulse.stop()

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
        told, watchdog = False, Watchdog(self.settings.stuck_s, started)
        while not self._stop.is_set():
            first = self.consumer.poll(self.settings.poll_s)
            if first is not None:
                self._take([first, *self.consumer.consume(self.settings.batch - 1, 0)], started)
            self.output.poll()
            clock = time.monotonic()
            if first is not None or not self.parts:
                watchdog.fed(clock)
            elif clock - self._moved < WAKE_S:
                self._wake()
            watchdog.require(clock, self._behind)
            if clock - ticked >= self.settings.tick_s:
                ticked = clock
                self._tick()
            if clock >= save_at:
                self._save(self.parts)
                took = time.monotonic() - clock
                pause = min(PAUSE_FACTOR * took, LONGEST_PAUSE_S)
                save_at = time.monotonic() + max(self.settings.snapshot_s, pause)
            if self.parts and not told:
                told = True
                ready()

    def _wake(self) -> None:
        """Ask for what is kept: in a rebalance the client holds all, and wakes no connection when it goes on."""
        with contextlib.suppress(KafkaException):
            for place in [TopicPartition(topic.name, partition) for topic in self.topics for partition in self.parts]:
                self.consumer.get_watermark_offsets(place, timeout=0.2)

    def _behind(self) -> int:
        """Records that wait on topics without gaps at their end; a broker that does not answer has none to give."""
        owned = [TopicPartition(t.name, p) for t in self.topics if not t.compact for p in self.parts]
        try:
            ends = [self.consumer.get_watermark_offsets(tp, timeout=2.0) for tp in owned]
            asked = self.consumer.position(owned), self.consumer.committed(owned, timeout=2.0)
        except KafkaException:
            return 0
        places = [max(read.offset, kept.offset) for read, kept in zip(*asked, strict=True)]  # below 0: unknown
        return sum(max(0, high - max(place, low)) for place, (low, high) in zip(places, ends, strict=True))

    # --- records ------------------------------------------------------------------------------------------------------

    def _take(self, messages: Iterable[Message], started: float) -> None:
        chunks: dict[tuple[str, int], list[Message]] = defaultdict(list)
        for message in messages:
            error = message.error()
            if error is None:
                chunks[message.topic(), message.partition()].append(message)
            elif self._hopeless(error, started):
                raise KafkaException(error)
        self._pulse.require()
        gone_back: set[int] = set()  # what was fetched for these is read again
        for (topic, partition), found in chunks.items():
            part = self.parts.get(partition)
            if part is None or partition in gone_back:
                continue  # without a part: handed out before the partition was lost, and another worker has it
            part.began.setdefault(topic, found[0].offset())
            seen = part.applied.get(topic, 0)
            fresh = found if found[0].offset() >= seen else [m for m in found if m.offset() >= seen]
            if fresh and not self._applied(partition, part, Chunk(topic, partition, fresh)):
                gone_back.add(partition)

    def _hopeless(self, error: KafkaError, started: float) -> bool:
        """Errors of a consumer are news: it goes on by itself, but for few."""
        unknown = error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
        if unknown and not self.parts and time.monotonic() - started > UNKNOWN_S:
            return True
        return error.fatal() or error.code() in HOPELESS

    def _applied(self, partition: int, part: _Part, chunk: Chunk) -> bool:
        """Take a chunk into the state. False: a record broke a stage, and the partition starts anew, with care."""
        now, end = self.now(), chunk.messages[-1].offset() + 1
        try:
            if chunk.messages[0].offset() < part.careful.get(chunk.topic, 0):
                said = self._say(self._carefully(part, chunk, now))
            else:
                said = self._say(self._following(part, chunk, now))
        except POISON as error:
            log.error("a record broke a stage", lane=self.name, place=f"{chunk.topic}-{partition}", exc_info=error)
            self._go_back(partition, part, chunk.topic, end)
            return False
        part.applied[chunk.topic] = end
        part.dirty = True
        self.meter.stepped(part.stages[-1].name, len(chunk), said, chunk.messages[0].timestamp()[1], self.now())
        return True

    def _go_back(self, partition: int, part: _Part, topic: str, end: int) -> None:
        """Take the partition up at its snapshot again: what broke may have left the state half changed."""
        again = self._restored(partition)
        again.began, again.careful = part.began, part.careful | {topic: end}
        self.parts[partition] = again
        for name in part.applied.keys() | {topic}:
            offset = again.applied.get(name, part.began.get(name))
            if offset is not None:
                self.consumer.seek(TopicPartition(name, partition, offset))

    def _carefully(self, part: _Part, chunk: Chunk, now: Instant) -> list[Record | DeadLetter]:
        """What follows from a chunk with a record in it that breaks a stage: that one is refused alone."""
        before = part.state
        try:
            return list(self._following(part, chunk, now))
        except POISON as error:
            part.stages = self._made(before)
            if len(chunk) == 1:
                return [DeadLetter(chunk[0], Cause.HANDLER, repr(error))]
        middle = len(chunk) // 2
        return self._carefully(part, chunk[:middle], now) + self._carefully(part, chunk[middle:], now)

    def _following(self, part: _Part, chunk: Chunk, now: Instant) -> Iterator[Record | DeadLetter]:
        """What follows from a chunk; what does not decode is refused."""
        given: Sequence[Any] = chunk
        if not part.stages[0].raw:
            found = [_decoded(raw) for raw in chunk]
            yield from (each for each in found if isinstance(each, DeadLetter))
            given = [each for each in found if isinstance(each, Read)]
        yield from self._through(part.stages, given, now)

    def _through(self, stages: Sequence[Agent[Any]], given: Sequence[Any], now: Instant) -> Said:
        """Push `given` through the stages: what leaves them."""
        onward: list[Any] = []
        for output in stages[0].step(given, now):
            if isinstance(output, Record | DeadLetter):
                yield output
            else:
                onward.append(output)
        if onward:
            yield from self._through(stages[1:], onward, now)

    def _tick(self) -> None:
        for part in self.parts.values():
            for index, stage in enumerate(part.stages):
                if not stage.raw:
                    self._pulse.require()
                    part.dirty |= self._say(self._through(part.stages[index:], (), self.now())) > 0

    # --- output and state ---------------------------------------------------------------------------------------------

    def _say(self, outputs: Iterable[Record | DeadLetter]) -> int:
        return self.output.say(outputs, lambda cause: self.meter.refused(self._first, cause))

    def _save(self, parts: Mapping[int, _Part]) -> None:
        """Write what has changed: outputs first, then state with its offsets, then the group's offsets."""
        dirty = {partition: part for partition, part in parts.items() if part.dirty}
        if not dirty:
            return
        self.output.flush()
        self._pulse.require()
        for partition, part in dirty.items():
            for message in part.shelf.pack(part.applied, part.state):
                self.output.send(message, partition)
            part.dirty = False
        self.output.flush()
        offsets = [TopicPartition(t, partition, o) for partition, p in dirty.items() for t, o in p.applied.items()]
        try:
            self.consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:  # a rebalance is under way: the snapshots have the offsets
            log.info("commit left to the next owner", cause=str(error))

    # --- partitions ---------------------------------------------------------------------------------------------------

    def _assigned(self, consumer: Any, assigned: list[TopicPartition]) -> None:
        fresh = sorted({tp.partition for tp in assigned} - self.parts.keys())
        with ThreadPoolExecutor(RESTORERS) as pool:
            self.parts.update(zip(fresh, pool.map(self._restored, fresh), strict=True))
        for tp in assigned:
            known = self.parts[tp.partition].applied.get(tp.topic)
            if known is not None:
                tp.offset = known
        if self._eager:
            consumer.assign(assigned)
        else:
            consumer.incremental_assign(assigned)
        self._moved = time.monotonic()

    def _restored(self, partition: int) -> _Part:
        found = _snapshots.shelves(self.settings.client, LANE_STATE, partition)
        shelf = _snapshots.shelf_of(found, LANE_STATE, self.name, partition)
        state, shelf.state = shelf.state, b""
        return _Part(self._made(state), shelf, dict(shelf.applied or {}))

    def _made(self, state: bytes) -> list[Agent[Any]]:
        """New stages, as they were when `state` was taken. Raises ValueError when this version cannot read it."""
        stages = [make() for make in self.make]
        kept = _STATES.decode(state) if state else {}
        for stage in stages:
            if own := kept.get(stage.name):
                stage.restore(own)
        return stages

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
        self._moved = time.monotonic()


def _decoded(raw: Raw) -> Read[Record] | DeadLetter:
    try:
        return decode(raw)
    except DecodeError as error:
        return DeadLetter(raw, error.cause, error.detail)
