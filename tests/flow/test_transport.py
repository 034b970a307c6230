"""Our transport of Faust, beside stock: the five ways in which that loses messages, and what else must go right.

Each of the five is shown on stock, so that an upgrade tells us, and absent with ours. What is lost is what no agent
finished although the group's offset is past it: after a crash now, nobody would read it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import KafkaError
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic
from conftest import NewTopicFactory

from agents._transport import batches, fence, install
from app.clock import now_ms
from app.kafka.broker import Broker, admin, consumer_config, producer_config, read_all
from app.kafka.embedded import Embedded

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
_numbers = itertools.count()

Handle = Callable[[int], Awaitable[None]]


@dataclass
class Trial:
    """One topic with one partition, one group, and what became of each message."""

    broker: Broker
    topic: str
    ours: bool
    folder: Path
    group: str = field(default_factory=lambda: f"loss-{next(_numbers)}")
    done: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    published: int = 0

    def publish(self, count: int) -> None:
        producer = Producer(producer_config(self.broker))
        for number in range(self.published, self.published + count):
            producer.produce(self.topic, b"%d" % number, b"k")
        assert producer.flush(10) == 0
        self.published += count

    def app(self, **settings: Any) -> Any:
        made = faust.App(
            self.group, broker=f"kafka://{self.broker.bootstrap}", store="memory://", web_enabled=False,
            datadir=self.folder / self.group, consumer_auto_offset_reset="earliest", broker_commit_interval=0.2,
            topic_disable_leader=True, stream_wait_empty=False, key_serializer="raw", value_serializer="raw",
            worker_redirect_stdouts=False, **({"topic_allow_declare": False} | settings),
        )  # fmt: skip
        if self.ours:
            install(made)
        return made

    def reads(self, app: Any, handle: Handle) -> None:
        """An agent as Faust's own documents write it, or as the loop does."""
        channel = batches(app, self.topic) if self.ours else app.topic(self.topic)

        async def stock(stream: Any) -> None:
            async for value in stream:
                await self._handled(int(value), handle)

        async def ours(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    for record in event.message.value.records:
                        await self._handled(int(record.value), handle)
                except Exception:
                    return  # the worker stops, and the ack stays held
                event.ack()

        app.agent(channel, name="read")(ours if self.ours else stock)

    async def _handled(self, number: int, handle: Handle) -> None:
        self.begun.add(number)
        await handle(number)
        self.done.add(number)

    def lost(self) -> set[int]:
        reader = Consumer(consumer_config(self.broker, self.group))
        offset = reader.committed([TopicPartition(self.topic, 0)], timeout=10)[0].offset
        reader.close()
        return set(range(max(0, offset))) - self.done


@pytest.fixture(params=[False, True], ids=["stock", "ours"])
def trial(request: pytest.FixtureRequest, broker: Broker, new_topic: NewTopicFactory, tmp_path: Path) -> Trial:
    return Trial(broker, new_topic(), request.param, tmp_path)


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    await app.start()
    try:
        yield
    finally:
        await app.stop()


async def until(condition: Callable[[], Any], limit_s: float = 15) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.02)


async def quiet(count: Callable[[], int], still_s: float = 2.0) -> None:
    """Return when nothing has happened for a while."""
    before = -1
    while count() != before:
        before = count()
        await asyncio.sleep(still_s)


async def test_l1_a_rebalance_of_an_app_with_tables_and_a_backlog(trial: Trial) -> None:
    """Stock resumes its sources before it has found all offsets again, and then clears their queues.

    The offsets of many partitions take a while; here the last of them takes half a second.
    """

    def member() -> Any:
        async def handle(number: int) -> None:
            counts[number % 50] += 1
            await asyncio.sleep(0.001)  # there is still a backlog when the other one joins

        app = trial.app(topic_allow_declare=True, stream_buffer_maxsize=65536)
        counts = app.Table("counts", default=int, partitions=1, key_type=int, value_type=int)
        trial.reads(app, handle)
        found = app.consumer.perform_seek

        async def perform_seek() -> None:
            await found()
            await asyncio.sleep(0.5)

        app.consumer.perform_seek = perform_seek
        return app

    trial.publish(6_000)
    async with running(member()):
        for _ in range(1 if trial.ours else 4):  # stock loses in five of six
            before = len(trial.done)
            await until(lambda before=before: len(trial.done) > before + 100)
            async with running(member()):
                await asyncio.sleep(2)
            await quiet(lambda: len(trial.done))
            trial.publish(5)
            await quiet(lambda: len(trial.done))
            if lost := set(range(trial.published)) - trial.done:
                break
            trial.publish(6_000)
    assert bool(lost) is not trial.ours, "nobody reads on, however long one waits"


async def test_l2_a_message_in_flight_at_the_head_of_the_log(trial: Trial) -> None:
    """Stock commits past it as soon as one behind it is done."""
    app, held = trial.app(), asyncio.Event()

    async def read(stream: Any) -> None:
        async for event in stream.noack().events():
            values = [int(r.value) for r in event.message.value.records] if trial.ours else [int(event.value)]
            trial.begun.update(values)
            if 0 not in values:
                trial.done.update(values)
                event.ack()
            else:
                held.set()

    app.agent(batches(app, trial.topic) if trial.ours else app.topic(trial.topic), name="read")(read)
    trial.publish(1)
    async with running(app):
        await until(held.is_set)
        trial.publish(9)
        await until(lambda: len(trial.begun) == 10)
        await asyncio.sleep(0.6)
    assert trial.lost() == (set() if trial.ours else {0})


async def test_l3_an_exception_in_an_agent(trial: Trial) -> None:
    """Stock acks in `finally` what its agent raised on."""

    async def handle(number: int) -> None:
        if number == 3:
            raise ValueError("no")

    app = trial.app()
    trial.reads(app, handle)
    trial.publish(10)
    async with running(app):
        await until(lambda: 3 in trial.begun if trial.ours else len(trial.done) == 9)
        await asyncio.sleep(0.6)
    assert trial.lost() == (set() if trial.ours else {3})


async def test_l4_an_exception_in_a_batch(trial: Trial) -> None:
    """Stock's `take` goes on acking behind an agent that is gone: everything after is swallowed."""

    async def handle(number: int) -> None:
        if number == 3:
            raise ValueError("no")

    async def take(stream: Any) -> None:
        async for values in stream.take(5, within=0.1):
            for value in values:
                await trial._handled(int(value), handle)

    app = trial.app()
    if trial.ours:
        trial.reads(app, handle)
    else:
        app.agent(app.topic(trial.topic), name="read")(take)
    trial.publish(10)
    async with running(app):
        await until(lambda: 3 in trial.begun)
        trial.publish(20)
        await asyncio.sleep(1.5)
    assert trial.ours or 3 in trial.lost()
    assert bool(trial.lost()) is not trial.ours


async def test_l5_a_shutdown_in_the_middle_of_a_message(trial: Trial) -> None:
    """Stock acks in `finally` what the shutdown cancelled."""

    async def handle(number: int) -> None:
        if number == 3:
            await asyncio.sleep(60)

    app = trial.app()
    trial.reads(app, handle)
    trial.publish(10)
    async with running(app):
        await until(lambda: 3 in trial.begun)
    assert trial.lost() == (set() if trial.ours else {3})


async def test_what_was_handed_out_and_dropped_before_anything_was_committed_comes_again(
    broker: Broker, new_topic: NewTopicFactory, tmp_path: Path
) -> None:
    """A rebalance drops what waits in queues, and then goes back to what is committed: here there is nothing yet."""
    trial = Trial(broker, new_topic(), True, tmp_path)
    app, seen = trial.app(), []

    async def read(stream: Any) -> None:
        async for event in stream.noack().events():  # never acked
            seen.extend(int(record.value) for record in event.message.value.records)

    app.agent(batches(app, trial.topic), name="read")(read)
    trial.publish(3)
    async with running(app):
        await until(lambda: len(seen) == 3)
        await app.consumer.perform_seek()
        await until(lambda: len(seen) == 6)
    assert seen == [0, 1, 2, 0, 1, 2]


async def test_a_partition_whose_position_is_not_known_ends_no_worker(trial: Trial) -> None:
    """It has none while it is sought; stock's check of what is slow, every few seconds, fails then."""
    app = trial.app()

    async def handle(_: int) -> None: ...

    trial.reads(app, handle)
    trial.publish(1)
    async with running(app):
        await until(lambda: trial.done)
        [place] = app.consumer.assignment()
        state = app.consumer._thread._consumer._subscription.subscription.assignment.state_value(place)
        state.await_reset(OffsetResetStrategy.EARLIEST)
        if trial.ours:
            app.consumer.verify_event_path(0.0, place)
        else:
            with pytest.raises(AssertionError):
                app.consumer.verify_event_path(0.0, place)


async def test_a_topic_that_was_not_there_when_a_worker_joined_is_found_soon(broker: Broker, tmp_path: Path) -> None:
    """A broker does not know one that was just made at once; stock looks again after five minutes."""
    trial, client = Trial(broker, f"late-{now_ms()}", True, tmp_path), admin(broker)
    app = trial.app()

    async def handle(_: int) -> None: ...

    trial.reads(app, handle)
    async with running(app):
        await until(lambda: app.unassigned)
        client.create_topics([NewTopic(trial.topic, 1, 1)])[trial.topic].result(15)
        trial.publish(1)
        await until(lambda: trial.done, 20)


async def test_the_end_of_an_app_whose_consumer_crashed_has_no_error_of_its_own(
    trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    app = trial.app()

    async def handle(_: int) -> None: ...

    async def crash() -> None:
        raise ArithmeticError

    trial.reads(app, handle)
    trial.publish(1)
    async with running(app):
        await until(lambda: trial.done)
        thread = app.consumer._thread
        thread.thread_loop.call_soon_threadsafe(lambda: thread.add_future(crash()))
        await until(thread.thread_loop.is_closed)
    assert "ArithmeticError" in caplog.text
    assert ("Event loop is closed" in caplog.text) != trial.ours


async def test_members_join_one_after_the_other_on_the_in_memory_cluster() -> None:
    """It refuses a follower that syncs after the leader, which stock aiokafka takes for the end."""

    async def start(member: AIOKafkaConsumer, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await member.start()

    with Embedded.start({"joined": 6}) as cluster:
        members = [
            AIOKafkaConsumer("joined", bootstrap_servers=cluster.broker.bootstrap, group_id="joined") for _ in range(3)
        ]
        await asyncio.gather(*(start(member, number * 0.05) for number, member in enumerate(members)))
        await until(lambda: [len(member.assignment()) for member in members] == [2, 2, 2])
        await asyncio.gather(*(member.stop() for member in members))


async def test_what_waits_in_the_producer_is_not_written_once_the_worker_may_not(tmp_path: Path) -> None:
    asked: list[str] = []

    def require() -> None:
        if asked:
            raise RuntimeError(asked[0])

    with Embedded.start({"fenced": 1}) as cluster:
        app = Trial(cluster.broker, "fenced", ours=True, folder=tmp_path).app()
        async with running(app):
            fence(app, require)
            await (await app.producer.send("fenced", b"k", b"before", None, None, {}))
            late = await app.producer.send("fenced", b"k", b"late", None, None, {})
            asked.append("this process did not run for 9 s")
            with pytest.raises(KafkaError, match="did not run"):
                await late
        assert [raw.value for raw in read_all(cluster.broker, ["fenced"])] == [b"before"]
