"""What both brokers do for us: the in-memory cluster and a real Kafka give the same answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from app.client import Publisher
from app.errors import UserError
from app.kafka.admin import ensure
from app.kafka.broker import Broker, consumer_config, last_message, partition_of, probe, read_all, tail
from app.kafka.embedded import Embedded
from app.kafka.local import LocalKafka
from topics.settings import SETTINGS, Setting
from topics.telemetry import EVENTS, METRICS

KEYS = [f"shop/service-{i}/{i % 3}".encode() for i in range(200)]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def either(request: pytest.FixtureRequest) -> Broker:
    """Each of the two brokers in turn."""
    if request.param == "kafka":
        return request.getfixturevalue("broker")
    return request.getfixturevalue("embedded").broker


def publish(broker: Broker, count: int, tag: str, topic: str = METRICS.name) -> None:
    with Publisher(broker) as publisher:
        for i in range(count):
            publisher.send_raw(topic, KEYS[i % len(KEYS)], f"{tag} {i}".encode(), [("n", b"1")], timestamp=1_000 + i)


def mine(broker: Broker, tag: str, topic: str = METRICS.name, **where: object) -> list[str]:
    messages = read_all(broker, [topic], **where)  # type: ignore[arg-type]
    return [value for m in messages if (value := (m.value or b"").decode()).startswith(f"{tag} ")]


def test_what_was_published_is_read_once_with_key_headers_and_time(either: Broker) -> None:
    publish(either, 1_000, "once", EVENTS.name)  # which keep the time of their sender
    seen = [m for m in read_all(either, [EVENTS.name]) if (m.value or b"").startswith(b"once ")]
    assert sorted(int(m.value.split()[1]) for m in seen if m.value) == list(range(1_000))
    assert all(m.headers == (("n", b"1"),) and m.arrived == 1_000 + int(m.value.split()[1]) for m in seen if m.value)


def test_each_key_is_where_we_say_it_is_and_is_read_from_there(either: Broker) -> None:
    publish(either, len(KEYS), "place")
    seen = [m for m in read_all(either, [METRICS.name]) if (m.value or b"").startswith(b"place ")]
    assert [m.partition for m in seen] == [partition_of(m.key or b"", METRICS.partitions) for m in seen]
    assert mine(either, "place", key=KEYS[7]) == ["place 7"]


def test_reading_since_a_time_leaves_out_what_came_before(either: Broker) -> None:
    publish(either, 100, "since", EVENTS.name)
    assert len(mine(either, "since", EVENTS.name, since_ms=1_060)) == 40


def test_the_last_message_is_found_and_an_empty_partition_has_none(either: Broker) -> None:
    publish(either, 50, "last")
    partition = partition_of(KEYS[49], METRICS.partitions)
    newest = last_message(either, METRICS.name, partition)
    assert newest is not None
    assert newest.key is not None
    assert partition_of(newest.key, METRICS.partitions) == partition
    assert last_message(either, "opsloop.proposals.dlq", 0) is None


def test_a_tail_sees_what_is_written_after_it_was_opened_and_stops_when_told(either: Broker) -> None:
    publish(either, 10, "before")
    enough = threading.Event()
    messages = tail(either, [METRICS.name], stop=enough.is_set)
    publish(either, 3, "after")
    assert sorted((next(messages).value or b"").decode() for _ in range(3)) == ["after 0", "after 1", "after 2"]
    enough.set()
    assert list(messages) == []


def test_a_broadcast_is_on_every_partition(either: Broker) -> None:
    with Publisher(either) as publisher:
        publisher.send(Setting(name="broadcast", value="x", ts=1, by="me"))
    seen = [m.partition for m in read_all(either, [SETTINGS.name]) if m.key == b"broadcast"]
    assert sorted(seen) == list(range(SETTINGS.partitions))


def test_a_missing_topic_is_named_to_readers(either: Broker) -> None:
    with pytest.raises(UserError, match=r"no topic opsloop\.nothing"):
        list(read_all(either, ["opsloop.nothing"]))


@pytest.mark.kafka
def test_a_missing_topic_is_named_to_writers(broker: Broker) -> None:
    publisher = Publisher(broker, settings={"message.timeout.ms": 3_000})
    publisher.send_raw("opsloop.nothing", b"k", b"v")
    with pytest.raises(UserError, match=r"opsloop\.nothing not delivered"):
        publisher.flush(10)


MEMBER = """
import sys
from confluent_kafka import Consumer
from app.kafka.admin import ensure
from app.kafka.broker import Broker, consumer_config
bootstrap, protocol, group = sys.argv[1:]
consumer = Consumer(consumer_config(Broker(bootstrap, group_protocol=protocol), group))
consumer.subscribe(["opsloop.telemetry.metrics"], on_assign=lambda _, places: print(len(places), flush=True))
while True:
    consumer.poll(0.1)
"""


@pytest.mark.kafka
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_killed_members_partitions_move_on_after_its_session(broker: Broker, protocol: str) -> None:
    assert _takeover_s(broker, protocol) < 15


def test_a_killed_members_partitions_move_on_in_memory_too(embedded: Embedded) -> None:
    assert _takeover_s(embedded.broker, "classic") < 20


def _takeover_s(broker: Broker, protocol: str) -> float:
    """Seconds from the kill of a group's only member until a new one owns all its partitions."""
    group = f"takeover-{protocol}-{os.getpid()}"
    member = subprocess.Popen(
        [sys.executable, "-c", MEMBER, broker.bootstrap, protocol, group], stdout=subprocess.PIPE, text=True
    )
    with member:
        assert member.stdout is not None
        assert member.stdout.readline().strip() == str(METRICS.partitions)
        member.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    owned: set[int] = set()
    consumer = Consumer(consumer_config(Broker(broker.bootstrap, group_protocol=protocol), group))
    consumer.subscribe([METRICS.name], on_assign=lambda _, places: owned.update(p.partition for p in places))
    while len(owned) < METRICS.partitions and time.monotonic() < killed + 30:
        consumer.poll(0.1)
    took = time.monotonic() - killed
    consumer.close()
    print(f"{protocol}: a new member owned everything {took:.1f} s after the kill")
    return took


@pytest.mark.kafka
def test_a_killed_node_comes_back_with_everything_it_acknowledged(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as kafka:
        ensure(kafka.broker)
        publish(kafka.broker, 500, "kept")
        kafka.kill(1)
        assert "refused" in (probe(kafka.broker, 1) or "")
        kafka.start()
        assert len(mine(kafka.broker, "kept")) == 500


@pytest.mark.kafka
def test_no_broker_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from app.kafka.local import LocalKafka;"
        "kafka = LocalKafka(Path(sys.argv[1])); kafka.start(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    left = LocalKafka(tmp_path)
    deadline = time.monotonic() + 5
    while left.nodes[0].process() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left.nodes[0].process() is None
