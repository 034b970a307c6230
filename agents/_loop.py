"""The loop: runs event-rate agents on Faust.

Each verb has one `Agent` instance per partition. For each batch the loop decodes the records, runs `step`, waits until
the broker has the outputs, waits until it has the state's delta, then acks the batch. A worker that dies in between
repeats the batch and derives the same ids, so readers drop the repeats. `Deadlines` holds when each unit must be
stepped without a record.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import faust
import structlog
from faust.types import TP

from agents import _changelog
from agents._agent import Agent, Meter, warm_up
from agents._changelog import ChangeLog
from agents._deadlines import Deadlines
from agents._inbox import Inbox
from agents._snapshots import TopicPartition
from agents._suspension import SuspensionDetector
from agents._transport import RecordBatch, batches, ends, fence, install
from agents._unit import Unit, restored_unit
from agents._watchdog import Watchdog, behind, waiting
from agents._writer import Revoked, Writer
from topics.codec import DeadLetter, DecodeError, decode, misplaced
from topics.spec import Instant, Raw, Read, Record
from topics.state import LOOP_STATE

log = structlog.get_logger()

HEARTBEAT_S = 0.25  # heartbeat period: maximum delay until a worker learns of a rebalance
HAND_OVER_S = 2.0  # maximum time that a rebalance waits for batches in progress
AWAKE_SHARE = 0.8  # share of the group's session: after a longer suspension other workers may own the partitions
SPARE_S = 3.0  # a worker without partitions for this long counts as a spare
WATCH_S = 2.0  # period of the stall check


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Connection and timeouts of the loop."""

    bootstrap: str
    client: Mapping[str, Any]  # configuration of confluent-kafka clients that read states
    credentials: Any = None  # Faust credentials that match the security settings of `client`
    group: str = "opsloop-loop"
    session_timeout_s: float = 6.0
    start_deadline_s: float = 45.0
    long_polls: bool = True  # whether the broker answers a fetch as soon as a record arrives
    stuck_s: float = 30.0  # maximum time without progress on a partition that has unread records
    first_readers: Mapping[str, str] = field(default_factory=dict)
    """Topic → verb that writes its dead letters, if verbs of other groups read it too. Default: the first verb here."""


_Units = dict[tuple[str, int], Unit]  # by verb and partition


class Loop:
    """A Faust worker that runs `verbs`. Each verb is a factory; the loop calls it once per partition."""

    def __init__(
        self,
        settings: LoopSettings,
        verbs: Sequence[Callable[[], Agent[Any]]],
        now: Callable[[], Instant],
        meter: Meter,
    ) -> None:
        self.settings = settings
        self.verbs = {made.name: (make, made) for make in verbs for made in (make(),)}
        warm_up(make() for make in verbs)
        self.now = now
        self.meter = meter
        self.units: _Units = {}
        self.deadlines = Deadlines()
        self._inboxes: dict[tuple[str, int], Inbox] = {}
        self._working: list[asyncio.Task[None]] = []
        self._kept: _Units = {}  # units from before the rebalance in progress
        self.loading: dict[int, asyncio.Task[_Units]] = {}
        self.failure: BaseException | None = None
        self.stopped = asyncio.Event()
        self._lost_generation = -1
        self._suspension: SuspensionDetector
        self._first_reader: dict[str, str] = dict(settings.first_readers)
        self._readers: dict[str, list[str]] = defaultdict(list)  # topic → verbs of this worker that read it
        self._chains = {agent.chain for _, agent in self.verbs.values() if agent.chain is not None}
        self.app = self._app()
        self.writer = Writer(self.app, self._require_awake, self._chains, self._fail)

    def _app(self) -> Any:
        settings = self.settings
        app = faust.App(
            settings.group,
            broker=";".join(f"kafka://{address}" for address in settings.bootstrap.split(",")),
            broker_credentials=settings.credentials,
            store="memory://", web_enabled=False, topic_allow_declare=False,
            topic_disable_leader=True, consumer_auto_offset_reset="earliest", broker_commit_interval=1.0,
            broker_session_timeout=settings.session_timeout_s, broker_heartbeat_interval=HEARTBEAT_S,
            broker_request_timeout=30.0, stream_wait_empty=False, stream_buffer_maxsize=65536,
            producer_linger=0.002, producer_acks=-1, worker_redirect_stdouts=False,
            key_serializer="raw", value_serializer="raw",
        )  # fmt: skip
        install(app, long_polls=settings.long_polls)
        channels = {topic.name: batches(app, topic.name) for _, agent in self.verbs.values() for topic in agent.reads}
        for name, (_, agent) in self.verbs.items():
            for topic in agent.reads:
                self._first_reader.setdefault(topic.name, name)
                self._readers[topic.name].append(name)
                app.agent(channels[topic.name], name=f"{name}<{topic.name}")(self._reader(name))
        app.on_partitions_revoked.connect(self._revoked, weak=False)
        app.on_partitions_assigned.connect(self._assigned, weak=False)
        return app

    def _reader(self, verb: str) -> Callable[[Any], Any]:
        async def read(stream: Any) -> None:
            async for event in stream.noack().events():
                if self._is_ours(event.message):
                    await self._inbox((verb, event.message.value.tp.partition)).put(event)

        return read

    def _inbox(self, key: tuple[str, int]) -> Inbox:
        """Return the inbox of a unit. Each unit has its own task, so a slow write of one delays no other."""
        inbox = self._inboxes.get(key)
        if inbox is None:
            inbox = self._inboxes[key] = Inbox()
            self._working.append(asyncio.create_task(self._work(key, inbox)))
        return inbox

    async def _work(self, key: tuple[str, int], inbox: Inbox) -> None:
        while True:
            events = [event for event in await inbox.take() if self._is_ours(event.message)]
            if not events:
                continue
            try:
                await self._apply(key, [event.message.value for event in events])
            except Revoked:
                continue  # not acked: the next owner reads the batches
            except Exception as error:
                self._fail(error)  # not acked: the batches are read again after a restart
                return
            for event in events:
                if self._is_ours(event.message):
                    event.ack()

    def _fail(self, error: BaseException) -> None:
        log.error("the loop stops: it cannot keep its promises", error=repr(error), exc_info=error)
        self.failure = self.failure or error
        self.stopped.set()

    def _require_awake(self) -> None:
        self._suspension.require()

    def _is_ours(self, message: Any) -> bool:
        """Whether a message was read in the current generation of the group."""
        generation = message.generation_id
        return bool(generation != self._lost_generation and generation == self.app.consumer_generation_id)

    async def _revoked(self, _app: Any, _revoked: Iterable[TP], **_: Any) -> None:
        """Finish batches in progress within `HAND_OVER_S`, then send nothing: a rebalance revokes all partitions."""
        self._lost_generation = self.app.consumer_generation_id
        going, self._kept = dict(self.units), {}
        self.units.clear()
        self.deadlines.clear()
        self.loading.clear()
        ended = {key: asyncio.create_task(unit.lock.acquire()) for key, unit in going.items()}
        if ended:
            await asyncio.wait(ended.values(), timeout=HAND_OVER_S)
        for key, unit in going.items():
            unit.revoked = True
            if ended[key].done() and unit.durable:
                self._kept[key] = unit.kept()

    async def _assigned(self, _app: Any, assigned: Iterable[TP], **_: Any) -> None:
        """Reuse the units of partitions that stayed here, and begin to restore the others before their first record.

        Reuse is safe: when this worker owns a partition in two consecutive generations, no other owned it in between.
        """
        owned = sorted({tp.partition for tp in assigned})
        if self.app.consumer_generation_id == self._lost_generation + 1:
            for key, unit in self._kept.items():
                if key[1] in owned:
                    self._own(key, unit)
        self._kept = {}
        missing = [p for p in owned if any((verb, p) not in self.units for verb in self.verbs)]
        if missing:
            loading = asyncio.create_task(self._load(missing))
            self.loading.update(dict.fromkeys(missing, loading))
            running = [task for task in self._working if not task.done()]
            self._working = [*running, asyncio.create_task(self._take_up(loading))]

    async def _take_up(self, loading: asyncio.Task[_Units]) -> None:
        """Own units as soon as they are restored, so that their deadlines wait for no record."""
        try:
            for key, unit in (await asyncio.shield(loading)).items():
                if self.loading.get(key[1]) is loading and key not in self.units:
                    self._own(key, unit)
        except Exception as error:
            self._fail(error)

    async def _unit(self, verb: str, partition: int) -> Unit:
        """Return the unit of a verb and partition, restored. Raises Revoked when the partition was lost meanwhile."""
        unit = self.units.get((verb, partition))
        if unit is None:
            task = self.loading.get(partition)
            if task is None:
                task = self.loading[partition] = asyncio.create_task(self._load([partition]))
            restored = await asyncio.shield(task)
            if self.loading.get(partition) is not task:
                raise Revoked
            unit = self.units.get((verb, partition)) or self._own((verb, partition), restored[verb, partition])
        return unit

    def _own(self, key: tuple[str, int], unit: Unit) -> Unit:
        self.units[key] = unit
        self._schedule(key, unit)
        return unit

    def _schedule(self, key: tuple[str, int], unit: Unit) -> None:
        """Set when a unit is asked next; one that was revoked meanwhile does not move its successor's deadline."""
        if self.units.get(key) is unit:
            self.deadlines.schedule(key, unit.next_deadline())

    async def _load(self, partitions: Sequence[int]) -> _Units:
        return await asyncio.to_thread(self._restore, partitions)

    def _restore(self, partitions: Sequence[int]) -> _Units:
        """Restore every verb's unit of the partitions from its change log, or from the chain that it writes."""
        chains = {chain.name for chain in self._chains}
        logs, last = _changelog.restored(self.settings.client, LOOP_STATE, partitions, chains)
        units = {}
        for partition, (name, (make, made)) in itertools.product(partitions, self.verbs.items()):
            found = logs.get(partition, {}).get(name) or ChangeLog(LOOP_STATE, name, partition)
            link = last.get((made.chain.name, partition)) if made.chain is not None else None
            units[name, partition] = restored_unit(make, found, link)
        return units

    async def _apply(self, key: tuple[str, int], batches: Sequence[RecordBatch]) -> None:
        """Process batches in one step. Raises Revoked when the partition was lost meanwhile."""
        verb, partition = key
        unit = await self._unit(verb, partition)
        async with unit.lock:
            if self.units.get(key) is not unit:
                raise Revoked
            taken = [record for batch in batches for record in batch.records]
            raws = [_raw(record) for record in taken if record.offset >= unit.applied.get(record.topic, -1)]
            if not raws:
                return
            reads, refused = self._decode(verb, raws)
            unit.durable = False
            outputs = [*refused, *unit.step(reads, self.now())]
            for raw in raws:
                unit.applied[raw.topic] = raw.offset + 1
            self.meter.stepped(verb, len(raws), len(outputs), min(raw.arrived for raw in raws), self.now())
            await self.writer.keep(partition, unit, outputs)
            at = unit.next_deadline()
            if at is not None and at <= self.now():  # while batches wait, nobody else gets the lock
                await self._ask(key, unit)
            self._schedule(key, unit)

    def _decode(self, verb: str, raws: Iterable[Raw]) -> tuple[list[Read[Record]], list[DeadLetter]]:
        reads: list[Read[Record]] = []
        refused: list[DeadLetter] = []
        for raw in raws:
            try:
                reads.append(read := decode(raw))
                if self._first_reader[raw.topic] == verb and (cause := misplaced(raw, read.record)):
                    self.meter.misplaced(raw.topic, cause)
            except DecodeError as error:
                if self._first_reader[raw.topic] == verb:  # one verb per topic writes dead letters
                    refused.append(DeadLetter(raw, error.cause, error.detail))
                self.meter.refused(verb, error.cause)
        return reads, refused

    async def _keep_deadlines(self) -> None:
        """Step each unit whose deadline has passed. Runs until the loop stops."""
        while not self.stopped.is_set():
            try:
                self._suspension.require()
                for key in self.deadlines.due(self.now()):
                    await self._wake(key)
            except Revoked:
                continue
            except Exception as error:
                self._fail(error)
                return
            await self.deadlines.wait(self.now())

    async def _wake(self, key: tuple[str, int]) -> None:
        unit = self.units.get(key)
        if unit is None or unit.lock.locked() or not unit.durable:
            return  # the task that holds the lock schedules it again
        async with unit.lock:
            await self._ask(key, unit)
            self._schedule(key, unit)

    async def _ask(self, key: tuple[str, int], unit: Unit) -> None:
        """Deal with the deadlines of a unit that have come. Call it with the unit's lock held."""
        unit.durable = False
        outputs = unit.wake(self.now())
        if outputs and self.units.get(key) is unit:
            await self.writer.keep(key[1], unit, outputs)
        unit.durable = unit.durable or not outputs

    def _owned(self) -> list[int]:
        topics: dict[int, int] = defaultdict(int)
        if self.app.rebalancing or not self.app.consumer.flow_active:
            return []
        for tp in self.app.consumer.assignment():
            topics[tp.partition] += 1
        return sorted(topics)

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`. Raises the error that ended the work; TimeoutError when it could not join its group."""
        self._suspension = SuspensionDetector(self.settings.session_timeout_s * AWAKE_SHARE)
        try:
            async with asyncio.timeout(self.settings.start_deadline_s):
                await self.app.start()
                fence(self.app, self._suspension.require)
                while not (await self._restored() or await self._spare()):
                    await asyncio.sleep(0.02)
            ready()
            deadlines = asyncio.create_task(self._keep_deadlines())
            watching = [asyncio.create_task(self._watch()), asyncio.create_task(self._watch_stalls())]
            await self.stopped.wait()
            await self._revoked(self.app, ())  # finish batches in progress and begin no others
            for task in (*watching, *self._working):
                task.cancel()
            await asyncio.gather(deadlines, *watching, *self._working, *self.writer.renewals, return_exceptions=True)
        finally:
            await self.app.stop()
            self._suspension.stop()
        if self.failure is not None:
            raise self.failure

    async def _spare(self) -> bool:
        """Whether this worker is a spare: it has had no partition for `SPARE_S`, because there are more workers."""
        end = asyncio.get_running_loop().time() + SPARE_S
        while self.app.unassigned and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        return bool(self.app.unassigned)

    async def _restored(self) -> bool:
        """Whether this worker owns partitions and has restored all of them."""
        owned = self._owned()
        try:
            await asyncio.gather(*(self._unit(verb, partition) for partition in owned for verb in self.verbs))
        except Revoked:
            return False
        return bool(owned)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if self.app.crashed:
                self._fail(self.app.crash_reason or RuntimeError("Faust stopped"))

    async def _watch_stalls(self) -> None:
        """Fail the worker when a partition has unread records and makes no progress for `stuck_s`."""
        clock, watchdog = asyncio.get_running_loop().time, Watchdog(self.settings.stuck_s)
        try:
            while True:
                await asyncio.sleep(WATCH_S)
                done = all(message.acked for message in self.app.consumer.unacked)  # of the delivered messages
                late = watchdog.late(clock(), self._places(), dry=done)
                if late and (there := behind(late, await ends(self.app, late))):
                    place = await asyncio.to_thread(waiting, self.settings.client, there)
                    if place is not None:
                        watchdog.waits(clock(), place, late[place])
        except Exception as error:
            self._fail(error)

    def _places(self) -> dict[TopicPartition, int]:
        """Next offset to process of each owned partition. Of several verbs that read it, the slowest one's counts."""
        places: dict[TopicPartition, int] = {}
        for topic, number in self.app.consumer.assignment() if self._owned() else ():
            found = [self.units.get((verb, number)) for verb in self._readers.get(topic, ())]
            if offsets := [unit.applied.get(topic, 0) for unit in found if unit]:
                places[topic, number] = min(offsets)
        return places

    def stop(self) -> None:
        """Ask `run` to return."""
        self.stopped.set()


def _raw(record: Any) -> Raw:
    return Raw(
        record.topic, record.partition, record.offset, record.key, record.value, tuple(record.headers),
        record.timestamp,
    )  # fmt: skip
