"""Faust's aiokafka transport with at-least-once commits and batches as events.

Stock faust-streaming 0.15.3 commits past messages in flight at the head of the log, acks in `finally`, and takes
60 µs per record. This transport commits the longest acked prefix of the *delivered* offsets, delivers a whole batch of
one partition as one event, and runs the conductor inline.
"""

from __future__ import annotations

import asyncio
import types
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import faust
from aiokafka.consumer import consumer, fetcher, group_coordinator
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as ClientPartition
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.tuples import ack_lock

from agents._snapshots import TopicPartition

BATCH_RECORDS: Final = 500
CHANNEL_BATCHES: Final = 64  # capacity of a channel; the fetcher waits while it is full
FOLLOWERS_FIRST_S: Final = 0.05
NOTHING_YET_S: Final = 0.05  # poll period of a worker without partitions
NEW_TOPICS_MS: Final = 5_000  # maximum delay until a new topic is found; upstream 5 min
# How long (ms) the broker may delay an empty fetch response. The in-memory cluster always delays it so long, even when
# records arrive meanwhile, and a busy consumer fetches no further before it has delivered everything. An idle consumer
# doubles the time, because the cost of a response grows with the number of partitions.
FETCH_MAX_WAIT_MS: Final = 25
IDLE_WAIT_MS: Final = 1_000


class RecordBatch(NamedTuple):
    """Records (aiokafka ConsumerRecord, not decoded) of one partition in offset order."""

    tp: TP
    records: list[Any]


class _Untouched(faust.Schema):  # type: ignore[misc]
    """Schema that does not decode: the loop does, so that a record that cannot be decoded does not stop a stream."""

    def loads_key(self, *_: Any, **__: Any) -> None:
        """Return None: a batch has no key."""
        return None

    def loads_value(self, _app: Any, message: Any, **_: Any) -> Any:
        """Return the batch unchanged."""
        return message.value


class _Resumed:
    """Awaitable that continues a coroutine after it yielded `future`."""

    __slots__ = ("coroutine", "future")

    def __init__(self, coroutine: Any, future: Any) -> None:
        self.coroutine = coroutine
        self.future = future

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, pending = self.coroutine, self.future
        while True:
            try:
                value = yield pending
            except BaseException as error:
                send, argument = coroutine.throw, error
            else:
                send, argument = coroutine.send, value
            try:
                pending = send(argument)
            except StopIteration as stop:
                return stop.value


async def _rest(coroutine: Any, future: Any) -> Any:
    return await _Resumed(coroutine, future)


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Consumer that commits the longest acked prefix of the delivered offsets. Gaps in the log need no special case."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._delivered: dict[TP, deque[int]] = defaultdict(deque)
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _wait_next_records(self, timeout: float) -> Any:
        """Wait for records. Upstream sleeps 1 s without an assignment, which delays a spare worker by as much."""
        if self.flow_active and not self._get_active_partitions():
            await asyncio.sleep(NOTHING_YET_S)
            return {}, set()
        return await super()._wait_next_records(timeout)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Mapping[TP, list[RecordBatch]]:
        found = await super()._getmany(active_partitions, timeout)
        batched = self.app.batched_topics
        return {tp: list(_cut(TP(*tp), records)) if tp.topic in batched else records for tp, records in found.items()}

    def _to_message(self, tp: TP, record: Any) -> Any:
        if isinstance(record, RecordBatch):
            last = record.records[-1]
            message = ConsumerMessage(
                last.topic, last.partition, last.offset, last.timestamp / 1000.0, last.timestamp_type, (), None, record,
                None, 0, 0, tp, generation_id=self.app.consumer_generation_id,
            )  # fmt: skip
        else:  # a record of a table's changelog
            message = super()._to_message(tp, record)
        if self.app.topics.acks_enabled_for(tp.topic):
            self._delivered[tp].append(message.offset)
        return message

    def ack(self, message: Any) -> bool:
        """Count an ack. Ignores acks of messages that were delivered before the last rebalance."""
        if message.generation_id != self.app.consumer_generation_id:
            return False
        acked: bool = super().ack(message)
        return acked

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Ignore a gap in the log: it was never delivered, so it does not hold a commit back."""

    def _new_offset(self, tp: TP) -> int | None:
        newest, delivered = None, self._delivered[tp]
        with ack_lock:
            acked = self._acked_index[tp]
            while delivered and delivered[0] in acked:
                newest = delivered.popleft()
                acked.discard(newest)
            self._acked[tp].clear()
        return None if newest is None else newest + 1

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._delivered) if topics is None or tp in topics or tp.topic in topics)

    def _forget(self, partitions: Iterable[TP]) -> None:
        for tp in partitions:
            for book in (self._delivered, self._acked, self._acked_index):
                book.pop(tp, None)

    async def perform_seek(self) -> None:
        """Forget delivered offsets, then seek all partitions to their committed offsets."""
        self._forget(list(self._delivered))
        await super().perform_seek()
        self._forget(list(self._delivered))

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget delivered offsets of the revoked partitions, then do as upstream does."""
        await super().on_partitions_revoked(revoked)
        self._forget(revoked)

    async def wait_first(self, *coroutines: Any, timeout: Any = None) -> Any:
        """Run the conductor's callback inline; create tasks only when it blocks (29 µs instead of 61)."""
        if len(coroutines) == 2 and all(type(c) is types.CoroutineType for c in coroutines):
            callback, suspended = coroutines
            try:
                future = callback.send(None)
            except StopIteration:
                suspended.close()
                return None
            except BaseException:
                suspended.close()
                raise
            coroutines = (_rest(callback, future), suspended)
        return await super().wait_first(*coroutines, timeout=timeout)


def _nothing() -> None:
    """Do nothing. Stands in for a fence that is not set, and for the creation of Faust's folders."""


class _Rebalance(group_coordinator.CoordinatorGroupRebalance):  # type: ignore[misc]
    """Works around the in-memory cluster: it refuses a follower's SyncGroup that arrives after the leader's.

    It answers INVALID_REQUEST, which aiokafka does not handle: the worker would stay without partitions.
    """

    async def _on_join_leader(self, response: Any) -> tuple[str, bytes] | None:
        await asyncio.sleep(FOLLOWERS_FIRST_S)
        synced: tuple[str, bytes] | None = await super()._on_join_leader(response)
        return synced

    async def perform_group_join(self) -> tuple[str, bytes] | None:
        """Join the group, unless the fence forbids it.

        Returns None, to join again later, when the broker answered INVALID_REQUEST.
        """
        try:
            getattr(self._coordinator, "require", _nothing)()
        except Exception:  # the worker ends: if it stayed a member, it would get partitions and block all others
            return None
        try:
            joined: tuple[str, bytes] | None = await super().perform_group_join()
        except KafkaError as error:
            if "InvalidRequestError" not in str(error):
                raise
            self._coordinator.request_rejoin()
            return None
        return joined


group_coordinator.CoordinatorGroupRebalance = _Rebalance


class _Fetcher(fetcher.Fetcher):  # type: ignore[misc]
    """Requests the positions of all partitions at once. Upstream requests one after the other before it fetches any.

    Doubles the delay of empty responses while no records arrive.
    """

    _fetch_max_wait_ms: int

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> Any:
        found = await super()._proc_fetch_request(assignment, node_id, request)
        if getattr(self._client, "long_polls", False):
            self._fetch_max_wait_ms = FETCH_MAX_WAIT_MS if found else min(2 * self._fetch_max_wait_ms, IDLE_WAIT_MS)
        return found

    async def _update_fetch_positions(self, assignment: Any, node_id: int, tps: Any) -> Any:
        if not getattr(self._client, "ours", False):
            return await super()._update_fetch_positions(assignment, node_id, tps)
        fresh = [state for state in map(assignment.state_value, tps) if _unplaced(state)]
        try:
            told = await asyncio.gather(*(state.fetch_committed() for state in fresh))
        except asyncio.CancelledError:
            return False
        for state, committed in zip(fresh, told, strict=True):
            if not _unplaced(state):
                continue  # a seek set the position meanwhile
            if committed.offset >= 0:
                state.reset_to(committed.offset)
            elif self._default_reset_strategy != fetcher.OffsetResetStrategy.NONE:
                state.await_reset(self._default_reset_strategy)
        return await super()._update_fetch_positions(assignment, node_id, tps)


def _unplaced(state: Any) -> bool:
    return not state.has_valid_position and not state.awaiting_reset


consumer.Fetcher = _Fetcher


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _stopped_set(self) -> None:
        """Ignore the closed event loop of a crashed thread, on which upstream's version raises."""
        if self.thread_loop.is_closed():
            self._stopped.set()
        else:
            super()._stopped_set()

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets. False when the thread has crashed."""
        return not self.thread_loop.is_closed() and bool(await super().commit(offsets))

    def _create_worker_consumer(self, transport: Any) -> Any:
        made = super()._create_worker_consumer(transport)
        made._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # hard-coded upstream: there is no setting
        made._client.ours = True  # marks the client, so that other consumers of this process stay unchanged
        made._client.long_polls = transport.app.long_polls
        return made

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Seek all partitions to their committed offsets, or to their starts where nothing is committed.

        Upstream asks for one partition after the other, and does not seek those without a commit: messages of these
        that were delivered and then dropped in a rebalance would be lost.
        """
        found: Mapping[TP, int | None] = await self.call_thread(self._seek_to_committed)
        return found

    async def _seek_to_committed(self) -> Mapping[TP, int | None]:
        ours = self._ensure_consumer()
        told = await ours._coordinator.fetch_committed_offsets(list(ours.assignment()))
        offsets: dict[TP, int | None] = {}
        for partition in ours.assignment():  # the assignment may have changed meanwhile
            place = told.get(partition)
            offsets[TP(*partition)] = offset = None if place is None or place.offset < 0 else place.offset
            if offset is not None:
                ours.seek(partition, offset)
        if fresh := [partition for partition in ours.assignment() if offsets[TP(*partition)] is None]:
            await ours.seek_to_beginning(*fresh)
        return offsets

    async def ends(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        ours, partitions = self._ensure_consumer(), [ClientPartition(*place) for place in places]
        try:
            told = await ours._coordinator.fetch_committed_offsets(partitions)
            low, high = await ours.beginning_offsets(partitions), await ours.end_offsets(partitions)
        except KafkaError:
            return dict.fromkeys(map(tuple, partitions), (0, 0))
        first = {place: max(low[place], told[place].offset) if place in told else low[place] for place in partitions}
        return {tuple(place): (first[place], high[place]) for place in partitions}

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: upstream only logs, and raises for partitions without a position. See `Watchdog`."""


class _Tables(TableManager):  # type: ignore[misc]
    """Starts without tables. Upstream sleeps 1 s first, which delays joining the group."""

    async def on_start(self) -> None:
        """Return at once: there are no tables to recover."""
        await self._update_channels()
        await self.recovery.start()


def _cut(tp: TP, records: list[Any]) -> Iterator[RecordBatch]:
    return (RecordBatch(tp, records[i : i + BATCH_RECORDS]) for i in range(0, len(records), BATCH_RECORDS))


class Transport(driver.Transport):  # type: ignore[misc]
    """Transport of a Faust app. Set it before the app starts."""

    Consumer = Consumer


def install(app: Any, *, long_polls: bool = True) -> None:
    """Set this transport on `app`. No records are delivered before each partition is at its committed offset.

    long_polls: whether the broker answers a fetch as soon as a record arrives.
    """
    app.long_polls = long_polls
    app.conf.TableManager = _Tables
    app.conf.consumer_metadata_max_age_ms = NEW_TOPICS_MS
    app._create_directories = _nothing  # all state is on topics: Faust needs no folder
    app.transport = Transport(app.conf.broker_consumer, app)
    app.batched_topics = set()

    async def hold(_app: Any, **_: Any) -> None:
        app.consumer.stop_flow()
        app.flow_control.suspend()

    app.on_rebalance_complete.connect(hold, weak=False)


def batches(app: Any, topic: str) -> Any:
    """Return the channel of `topic`, whose events each carry a `Batch`."""
    app.batched_topics.add(topic)
    return app.topic(topic, schema=_Untouched(key_type=bytes, value_type=bytes), maxsize=CHANNEL_BATCHES)


async def ends(app: Any, places: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Return by partition the first offset that its group has to read, and the next one that will be written.

    A partition whose broker does not answer counts as having nothing to read.
    """
    thread = app.consumer._thread
    found: dict[TopicPartition, tuple[int, int]] = await thread.call_thread(thread.ends, places)
    return found


def fence(app: Any, require: Callable[[], None]) -> None:
    """Call `require` right before each request to the broker is written; when it raises, the request fails.

    A message may wait for milliseconds in the producer. A process that is suspended there would write it when it
    resumes, after others have taken its partitions. The fence also keeps it from joining the group again.
    """
    app.consumer._thread._consumer._coordinator.require = require
    client = app.producer._producer.client
    write = client.send

    async def send(node: int, request: Any, **how: Any) -> Any:
        await client.ready(node, **how)  # connect first, so that no wait lies between the check and the write
        try:
            require()
        except Exception as error:
            raise KafkaError(str(error)) from error
        return await write(node, request, **how)

    client.send = send
