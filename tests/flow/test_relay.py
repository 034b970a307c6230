"""The relay on a real Kafka: partitions of which nothing is taken."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from confluent_kafka import Producer, TopicPartition
from processes import until

from agents._agent import Agent
from agents._relay import Relay, RelaySettings
from agents._watchdog import Stuck
from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import Broker, consumer_config, producer_config
from tests.builders import Deaf, Quiet
from topics.spec import Instant, Raw

pytestmark = pytest.mark.kafka
NewTopic = Callable[..., str]


class Hear(Agent[Raw]):
    """Remembers what it was told, of which nothing follows."""

    name, reads, writes, raw = "hear", (), (), True

    def __init__(self, pause_s: float = 0.0) -> None:
        self.heard: list[bytes | None] = []
        self.pause_s = pause_s

    def step(self, records: Sequence[Raw], now: Instant) -> tuple[()]:
        time.sleep(self.pause_s)
        self.heard += [raw.value for raw in records]
        return ()


class Running:
    """A relay in a thread of its own."""

    def __init__(self, broker: Broker, topic: str, stuck_s: float, pause_s: float, batch: int) -> None:
        config = consumer_config(broker, f"relay-{topic}")
        settings = RelaySettings(
            [topic], config, producer_config(broker), config, lambda _: "", batch, commit_s=0.2, stuck_s=stuck_s
        )
        self.failure: BaseException | None = None
        self.agent = Hear(pause_s)
        self.relay = Relay(settings, self.agent, now_ms, Quiet())
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.relay.run()
        except Exception as error:
            self.failure = error

    def has(self, *values: bytes) -> Callable[[], bool]:
        return lambda: set(values) <= set(self.agent.heard)


@contextlib.contextmanager
def running(
    broker: Broker, topic: str, stuck_s: float = 30.0, pause_s: float = 0.0, batch: int = 1000
) -> Iterator[Running]:
    started = Running(broker, topic, stuck_s, pause_s, batch)
    started.thread.start()
    try:
        yield started
    finally:
        started.relay.stop()
        started.thread.join(30)
        assert not started.thread.is_alive()


def publish(broker: Broker, topic: str, partition: int, *values: bytes) -> None:
    with Publisher(broker) as publisher:
        for value in values:
            publisher.send_raw(topic, b"k", value, partition=partition)


def test_a_partition_of_which_nothing_is_given_goes_to_another_worker_though_others_are_busy(
    broker: Broker, new_topic: NewTopic
) -> None:
    topic = new_topic(2)
    publish(broker, topic, 1, b"before")
    with running(broker, topic, stuck_s=5.0) as stuck:
        until(stuck.has(b"before"), 20)
        stuck.relay._consumer = Deaf(stuck.relay._consumer, 1)
        time.sleep(2 * stuck.relay.settings.poll_s)  # what it was asked before
        publish(broker, topic, 1, b"unheard")
        until(lambda: publish(broker, topic, 0, b"other") or stuck.failure, 30)
        assert isinstance(stuck.failure, Stuck)
        assert str(stuck.failure).startswith(f"something waits from 1 of {topic}-1 on, and nothing of it was taken")
        assert stuck.has(b"other")()
        with running(broker, topic) as other:
            until(other.has(b"unheard"), 20)


def test_a_partition_of_which_nothing_was_ever_given_is_missed_from_its_first_record_on(
    broker: Broker, new_topic: NewTopic
) -> None:
    topic = new_topic(1)
    with running(broker, topic, stuck_s=3.0) as stuck:
        until(lambda: stuck.relay._consumer and stuck.relay._consumer.assignment(), 20)
        stuck.relay._consumer = Deaf(stuck.relay._consumer, 0)
        time.sleep(2 * stuck.relay.settings.poll_s)
        publish(broker, topic, 0, b"first")
        until(lambda: stuck.failure, 30)
        assert f"something waits from 0 of {topic}-0 on" in str(stuck.failure)


def test_a_worker_with_nothing_to_read_stays_also_behind_the_mark_of_a_transaction(
    broker: Broker, new_topic: NewTopic
) -> None:
    topic = new_topic(2)
    producer = Producer(producer_config(broker) | {"transactional.id": topic})
    producer.init_transactions(20)
    with running(broker, topic, stuck_s=3.0) as idle:
        producer.begin_transaction()
        producer.produce(topic, b"1", b"k", partition=0)
        producer.commit_transaction(20)
        until(idle.has(b"1"), 20)
        time.sleep(8.0)
        publish(broker, topic, 0, b"2")
        until(idle.has(b"2"), 20)
    assert idle.failure is None


def test_a_worker_stays_that_has_a_backlog_in_which_a_partition_waits_for_its_turn(
    broker: Broker, new_topic: NewTopic
) -> None:
    topic = new_topic(2)
    for partition in range(2):
        publish(broker, topic, partition, *[b"%d %d" % (partition, number) for number in range(400)])
    with running(broker, topic, stuck_s=2.0, pause_s=0.02, batch=10) as busy:
        until(lambda: len(busy.agent.heard) == 800, 60)
    assert busy.failure is None
    turns = [int(value[:1]) for value in busy.agent.heard if value]
    assert turns == sorted(turns) or turns == sorted(turns, reverse=True), "one waited until the other was through"


def test_what_stays_in_a_rebalance_is_not_missed_where_it_was_taken_and_its_commit_failed(
    broker: Broker, new_topic: NewTopic
) -> None:
    topic = new_topic(2)
    with running(broker, topic, stuck_s=3.0) as worker:
        worker.relay._commit = worker.relay._next.clear  # type: ignore[method-assign]
        publish(broker, topic, 0, b"taken")
        until(worker.has(b"taken"), 20)
        worker.relay._revoked(None, [TopicPartition(topic, 1)])
        time.sleep(8.0)
    assert worker.failure is None
