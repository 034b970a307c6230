"""The lane on a real Kafka: records that break a stage, workers that slept, states that cannot be read."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
from confluent_kafka import Producer
from processes import until

from agents import _snapshots
from agents._agent import Agent, Buffer
from agents._lane import Lane, LaneSettings
from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import Broker, consumer_config, producer_config, read_all
from tests.builders import Deaf, Quiet
from topics.spec import Instant, Raw
from topics.state import LANE_STATE
from topics.telemetry import HEARTBEATS

pytestmark = pytest.mark.kafka
_numbers = itertools.count()
PARTITION = 4


class Book(Agent[Raw]):
    """Learns every number of its own test, in order; breaks half-way through a batch with b"…break" in it."""

    reads = (HEARTBEATS,)
    writes = ()
    raw = True

    def __init__(self, name: str, pause_s: float = 0.0) -> None:
        self.name = name  # type: ignore[misc]
        self.pause_s = pause_s
        self.learned: list[int] = []

    def step(self, records: Sequence[Raw], now: Instant) -> Iterator[Raw]:
        for raw in records:
            own, _, said = (raw.value or b"").decode(errors="replace").partition(" ")
            if own != self.name:
                continue
            if said == "break":
                raise ValueError("cannot be learned")
            time.sleep(self.pause_s)
            self.learned.append(int(said))
        yield from ()

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.learned)

    def restore(self, state: Buffer) -> None:
        self.learned = msgspec.msgpack.decode(state, type=list[int])


class Running:
    """A lane in a thread of its own."""

    def __init__(self, broker: Broker, name: str, stuck_s: float, pause_s: float, batch: int) -> None:
        config = consumer_config(broker, f"lane-{name}")
        settings = LaneSettings(config, producer_config(broker), config, batch, snapshot_s=0.2, stuck_s=stuck_s)
        self.failure: BaseException | None = None
        self.lane = Lane(settings, [lambda: Book(name, pause_s)], now_ms, Quiet())
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.lane.run()
        except Exception as error:
            self.failure = error


@contextlib.contextmanager
def running(
    broker: Broker, name: str, stuck_s: float = 30.0, pause_s: float = 0.0, batch: int = 1000
) -> Iterator[Running]:
    started = Running(broker, name, stuck_s, pause_s, batch)
    started.thread.start()
    try:
        yield started
    finally:
        started.lane.stop()
        started.thread.join(30)
        assert not started.thread.is_alive()


@pytest.fixture
def name() -> str:
    return f"book{next(_numbers)}-{now_ms()}"


def publish(broker: Broker, name: str, *said: object) -> None:
    with Publisher(broker) as publisher:
        for each in said:
            publisher.send_raw(HEARTBEATS.name, b"k", f"{name} {each}".encode(), partition=PARTITION)


def kept(broker: Broker, name: str) -> list[int]:
    """What the newest snapshot has learned."""
    found = _snapshots.stores(consumer_config(broker, ""), LANE_STATE, PARTITION).get(f"lane/{name}")
    if found is None or not found.state:
        return []
    stages = msgspec.msgpack.decode(found.state, type=dict[str, bytes])
    return msgspec.msgpack.decode(stages[name], type=list[int])


def learns(broker: Broker, name: str, wanted: list[int]) -> Callable[[], bool]:
    return lambda: kept(broker, name) == wanted


def test_i14_records_that_break_a_stage_are_refused_alone_and_nothing_is_learned_twice(
    broker: Broker, name: str
) -> None:
    publish(broker, name, *range(40))
    with running(broker, name):
        until(learns(broker, name, list(range(40))), 20)
        publish(broker, name, *range(40, 60), "break", *range(60, 90), "break", *range(90, 100))
        until(learns(broker, name, list(range(100))), 20)
        publish(broker, name, 100)
        until(learns(broker, name, list(range(101))), 20)
    letters = [raw for raw in read_all(broker, [HEARTBEATS.dlq]) if raw.value == f"{name} break".encode()]
    assert len(letters) == 2
    assert {dict(raw.headers)["dlq_cause"] for raw in letters} == {b"handler"}


def test_i14_so_it_is_when_nothing_was_kept_yet(broker: Broker, name: str) -> None:
    publish(broker, name, 0, 1, "break", 2)
    with running(broker, name):
        until(learns(broker, name, [0, 1, 2]), 20)


def test_i12_a_worker_that_slept_drops_what_it_had_and_goes_on_from_what_was_kept(broker: Broker, name: str) -> None:
    publish(broker, name, *range(50))
    with running(broker, name) as worker:
        until(learns(broker, name, list(range(50))), 20)
        before = worker.lane.consumer
        worker.lane._suspension._slept = 60.0
        publish(broker, name, *range(50, 80))
        until(learns(broker, name, list(range(80))), 30)
        assert worker.lane.consumer is not before, "it has joined anew"
    assert worker.failure is None


def test_a_second_worker_takes_over_what_was_handed_over(broker: Broker, name: str) -> None:
    publish(broker, name, *range(10))
    with running(broker, name):
        until(learns(broker, name, list(range(10))), 20)
        publish(broker, name, *range(10, 20))
    with running(broker, name):
        publish(broker, name, 20)
        until(learns(broker, name, list(range(21))), 20)


def test_a_state_that_this_version_cannot_read_stops_the_worker_and_is_not_overwritten(
    broker: Broker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(broker, name, 1)
    with running(broker, name):
        until(learns(broker, name, [1]), 20)

    def restore(_: Book, state: Buffer) -> None:
        if msgspec.msgpack.decode(state):  # not the fresh one that a start rehearses with
            int("version 9")  # an error of C code, as a decoder's: the client loses one that nobody has caught

    with monkeypatch.context() as patched:
        patched.setattr(Book, "restore", restore)
        with running(broker, name) as worker:
            until(lambda: worker.failure, 20)
    assert "version 9" in str(worker.failure)
    assert kept(broker, name) == [1]


def test_a_partition_of_which_nothing_is_given_goes_to_another_worker_though_others_are_busy(
    broker: Broker, name: str
) -> None:
    publish(broker, name, 1)
    with running(broker, name, stuck_s=5.0) as stuck:
        until(learns(broker, name, [1]), 20)
        stuck.lane.consumer = Deaf(stuck.lane.consumer, PARTITION)
        time.sleep(2 * stuck.lane.settings.poll_s)  # what it was asked before
        publish(broker, name, *range(2, 12))
        with Publisher(broker) as publisher:
            until(lambda: publisher.send_raw(HEARTBEATS.name, b"k", b"other 1", partition=0) or stuck.failure, 20)
        assert f"of {HEARTBEATS.name}-{PARTITION} on, and nothing of it was taken for 5 s" in str(stuck.failure)
        with running(broker, name):
            until(learns(broker, name, list(range(1, 12))), 20)


def test_a_worker_stays_that_has_a_backlog_in_which_a_partition_waits_for_its_turn(broker: Broker, name: str) -> None:
    with Publisher(broker) as publisher:
        for number, partition in itertools.product(range(200), (PARTITION, 0)):
            publisher.send_raw(HEARTBEATS.name, b"k", f"{name} {number}".encode(), partition=partition)
    with running(broker, name, stuck_s=1.0, pause_s=0.02, batch=10) as busy:
        until(lambda: busy.failure or learns(broker, name, list(range(200)))(), 60)
        until(lambda: busy.failure or len(busy.lane.parts[0].stages[0].learned) == 200, 60)  # type: ignore[attr-defined]
    assert busy.failure is None


def test_a_worker_with_nothing_to_read_stays_also_behind_the_mark_of_a_transaction(broker: Broker, name: str) -> None:
    producer = Producer(producer_config(broker) | {"transactional.id": name})
    producer.init_transactions(20)
    with running(broker, name, stuck_s=8.0) as idle:
        producer.begin_transaction()
        producer.produce(HEARTBEATS.name, f"{name} 1".encode(), b"k", partition=PARTITION)
        producer.commit_transaction(20)
        until(lambda: idle.failure or learns(broker, name, [1])(), 60)
        assert idle.failure is None
        time.sleep(18.0)
        publish(broker, name, 2)
        until(learns(broker, name, [1, 2]), 20)
    assert idle.failure is None
