"""A lane whose broker takes no output: it stops reading, what waits is bounded, and nothing is lost afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from processes import until

from agents._agent import Agent, Buffer
from agents._lane import Lane, LaneSettings
from app.client import Publisher
from app.clock import now_ms
from app.kafka.admin import ensure
from app.kafka.broker import consumer_config, producer_config, read_all
from app.kafka.local import LocalKafka
from tests.builders import Quiet
from topics.codec import decode
from topics.spec import Instant, Raw
from topics.telemetry import EVENTS, HEARTBEATS, Event

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]
COUNT, STOPS_AT, QUEUE = 20_000, 5_000, 500


class Echo(Agent[Raw]):
    """Says every number that it reads; calls `at_stop` when it has read `STOPS_AT`."""

    name = "echo"
    reads = (HEARTBEATS,)
    writes = (EVENTS,)
    raw = True

    def __init__(self, seen: list[int], at_stop: Callable[[], None]) -> None:
        self.seen, self.at_stop = seen, at_stop
        self.learned = 0

    def step(self, records: Sequence[Raw], now: Instant) -> Iterator[Event]:
        for raw in records:
            number = int(raw.value or b"")
            self.seen.append(number)
            self.learned += 1
            if len(self.seen) == STOPS_AT:
                self.at_stop()
            yield Event(entity="echo", ts=now, kind="log", text=str(number))

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.learned)

    def restore(self, state: Buffer) -> None:
        self.learned = msgspec.msgpack.decode(state, type=int)


def test_i13_a_worker_whose_output_nobody_takes_stops_reading_and_loses_nothing(tmp_path: Path) -> None:
    seen: list[int] = []
    with LocalKafka(tmp_path, heap_mb=384) as kafka:
        broker = kafka.broker
        ensure(broker)
        with Publisher(broker) as publisher:
            for number in range(COUNT):
                publisher.send_raw(HEARTBEATS.name, b"k", b"%d" % number, partition=0)
        process = kafka.nodes[0].process()
        assert process is not None
        config = consumer_config(broker, "echo")
        producer = producer_config(broker) | {"queue.buffering.max.messages": QUEUE}
        lane = Lane(LaneSettings(config, producer, config), [lambda: Echo(seen, process.suspend)], now_ms, Quiet())
        thread = threading.Thread(target=lane.run, daemon=True)
        thread.start()
        try:
            until(lambda: len(seen) >= STOPS_AT, 60)
            time.sleep(1.0)
            stood = len(seen)
            time.sleep(2.0)
            assert len(seen) == stood, "it does not go on"
            assert stood <= STOPS_AT + QUEUE + 1
            assert len(lane.output._producer) <= QUEUE
        finally:
            process.resume()
        until(lambda: len(set(seen)) == COUNT, 90, lambda: f"{len(seen)} of {COUNT}")
        lane.stop()
        thread.join(60)
        assert not thread.is_alive()
        events = (decode(raw).record for raw in read_all(broker, [EVENTS.name]))
        assert {event.text for event in events if isinstance(event, Event)} == {str(number) for number in range(COUNT)}
