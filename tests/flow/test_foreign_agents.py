"""Agents that are not ours, as real processes with the configuration of docs/ingest.md, through a real lane worker."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from processes import until, worker
from programs import binary, block, learned, port, running

from agents.decode import Decode, chunk_of
from app.client import Publisher
from app.clock import now_ms
from app.history.dead_letters import letters, replay
from app.history.records import records
from app.ingest.relay import make_relay
from app.ingest.settings import IngestSettings
from app.kafka.broker import Broker, admin, read_all
from app.settings import Settings
from app.system import Worker
from topics.batch import Batch
from topics.codec import decode
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Raw
from topics.telemetry import EVENTS, METRICS, Event, Sample

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]
_numbers = itertools.count()


def configuration(name: str, broker: Broker, topic: str) -> str:
    """A block of the page, for this broker and a topic of its own."""
    text = block(name)
    assert f'"{name}"' in text
    assert "127.0.0.1:9092" in text
    return text.replace(f'"{name}"', f'"{topic}"', 1).replace("127.0.0.1:9092", broker.bootstrap)


@contextlib.contextmanager
def taking(broker: Broker, topics: dict[str, str]) -> Iterator[None]:
    """A lane worker that takes these topics too."""
    with worker("lane", broker, env={"OPSLOOP_INGEST__TOPICS": json.dumps(topics)}):
        yield


def samples(broker: Broker, host: str) -> list[tuple[Raw, Sample]]:
    found = ((raw, decode(raw).record) for raw in read_all(broker, [METRICS.name], key=host.encode()))
    return [(raw, record) for raw, record in found if isinstance(record, Sample)]


def metrics(broker: Broker, host: str) -> dict[str, float]:
    """Every metric of a host with its last value."""
    return {name: value for _, sample in samples(broker, host) for name, value in sample.metrics.items()}


@pytest.fixture
def host() -> str:
    return f"foreign{next(_numbers)}-{now_ms() % 1_000_000}"


NewTopic = Callable[..., str]


def test_collectd_is_read_as_it_comes_under_the_key_of_its_host(
    broker: Broker, new_topic: NewTopic, tmp_path: Path, host: str
) -> None:
    program, topic = binary("collectd"), new_topic(3)
    (tmp_path / "c.conf").write_text(
        f'FQDNLookup false\nHostname "{host}"\nBaseDir "{tmp_path}"\nPIDFile "{tmp_path}/pid"\nInterval 1\n'
        'PluginDir "/usr/lib/collectd"\nTypesDB "/usr/share/collectd/types.db"\n'
        "LoadPlugin load\nLoadPlugin memory\nLoadPlugin cpu\nLoadPlugin interface\n"
        + configuration("collectd", broker, topic)
    )  # fmt: skip
    wanted = {"system.cpu.load_average.1m", "system.memory.usage"}
    with taking(broker, {topic: "collectd"}), running(tmp_path, program, "-f", "-C", str(tmp_path / "c.conf")) as said:
        until(lambda: wanted <= metrics(broker, host).keys(), 60, said.read_text)
        last = samples(broker, host)[-1][0]
        until(learned(broker, last), 40)
        sent = list(read_all(broker, [topic]))
    assert len({raw.key for raw in sent}) > 1, "its keys are drawn"
    assert metrics(broker, host)["system.memory.usage"] > 2**20
    assert not [x for x in letters(broker, [METRICS]) if x.topic == topic]


def test_rsyslog_becomes_events_where_it_is_loud(
    broker: Broker, new_topic: NewTopic, tmp_path: Path, host: str
) -> None:
    program, topic, udp = binary("rsyslogd"), new_topic(1), port()
    (tmp_path / "r.conf").write_text(
        f'global(workDirectory="{tmp_path}")\nmodule(load="imudp")\n'
        f'input(type="imudp" address="127.0.0.1" port="{udp}")\n' + configuration("rsyslog", broker, topic)
    )
    command = (program, "-n", "-f", str(tmp_path / "r.conf"), "-i", str(tmp_path / "pid"))
    with (
        taking(broker, {topic: "auto"}),
        running(tmp_path, *command) as said,
        socket.socket(type=socket.SOCK_DGRAM) as s,
    ):

        def told() -> list[Event]:
            for severity, text in ((3, 'disk "sda" \u2014 full'), (6, "all is well")):  # err, info
                s.sendto(f"<{8 + severity}>Jan  1 00:00:00 {host} kernel: {text}".encode(), ("127.0.0.1", udp))
            time.sleep(0.2)
            found = [decode(raw).record for raw in read_all(broker, [EVENTS.name], key=host.encode())]
            return [event for event in found if isinstance(event, Event)]

        events = until(told, 60, said.read_text)
    assert {(e.entity, e.kind, e.text) for e in events} == {(host, "log", 'err: kernel: disk "sda" — full')}


def test_telegraf_is_read_as_it_comes(broker: Broker, new_topic: NewTopic, tmp_path: Path, host: str) -> None:
    program, topic = binary("telegraf"), new_topic(1)
    (tmp_path / "t.conf").write_text(
        f'[agent]\n  interval = "1s"\n  flush_interval = "1s"\n  hostname = "{host}"\n'
        "  skip_processors_after_aggregators = true\n[[inputs.mem]]\n[[inputs.cpu]]\n  percpu = false\n"
        "  report_active = true\n" + configuration("telegraf", broker, topic)
    )
    wanted = {"system.cpu.utilization", "system.memory.usage", "system.memory.utilization"}
    with taking(broker, {topic: "auto"}), running(tmp_path, program, "--config", str(tmp_path / "t.conf")) as said:
        until(lambda: wanted <= metrics(broker, host).keys(), 60, said.read_text)
    assert 0 <= metrics(broker, host)["system.cpu.utilization"] <= 1


def test_two_workers_share_foreign_topics_and_one_of_them_owns_an_entity(
    broker: Broker, new_topic: NewTopic, host: str
) -> None:
    topic = new_topic(4)
    hosts = [f"{host}-{n}" for n in range(6)]
    began = now_ms() - 900_000

    def publish(moments: range, level: float) -> None:
        with Publisher(broker) as publisher:
            for moment, name in itertools.product(moments, hosts):
                value = {"name": "app", "tags": {"host": name}, "timestamp": began + 1_000 * moment, "fields": {
                    f"m{m}": (100 + (moment * 7 + m) % 5) * level for m in range(4)
                }}  # fmt: skip
                publisher.send_raw(topic, os.urandom(8), orjson.dumps(value))

    def arrived() -> int:
        return sum(len(samples(broker, name)) for name in hosts)

    pattern = {topic.replace("test.", "test?"): "auto"}
    with taking(broker, pattern), taking(broker, pattern):
        until(lambda: shared(broker, topic) == [2, 2], 60, lambda: str(shared(broker, topic)))
        publish(range(400), 1)
        with Publisher(broker) as publisher:
            publisher.send_raw(topic, b"k", b'{"name":"app","tags":{},"timestamp":"x","fields":{"m0":1}}')
        until(lambda: arrived() >= 400 * len(hosts), 60, lambda: str(arrived()))
        publish(range(400, 460), 50)
        until(lambda: anomalies(broker) >= set(hosts), 60, lambda: str(anomalies(broker)))
    assert arrived() == 460 * len(hosts), "a rebalance before the first message says nothing again"
    for name in hosts:
        assert {sample.entity for _, sample in samples(broker, name)} >= {name}
    (letter,) = [x for x in letters(broker, [METRICS]) if x.topic == topic]
    assert letter.cause == "malformed"
    assert [x.topic for x in replay(broker, [letter]).sent] == [topic]


def test_i1_what_stood_on_a_foreign_topic_arrives_though_a_worker_is_killed_over_it(
    broker: Broker, new_topic: NewTopic, host: str
) -> None:
    topic, count, began = new_topic(2), 20_000, now_ms() - 100_000
    with Publisher(broker) as publisher:
        for moment in range(count):
            value = f"app,host={host} x={moment} {(began + moment) * 1_000_000}".encode()
            publisher.send_raw(topic, os.urandom(8), value)

    def arrived() -> set[int]:
        return {sample.ts - began for _, sample in samples(broker, host)}

    env = {"OPSLOOP_INGEST__TOPICS": json.dumps({topic: "influx"})}
    with worker("lane", broker, env=env) as first:
        until(arrived, 60)
        first.process.kill()
    before = len(arrived())
    with worker("lane", broker, env=env):
        until(lambda: len(arrived()) == count, 120, lambda: f"{len(arrived())} of {count}")
    assert before > 0
    assert arrived() == set(range(count))
    assert sorted(taken_once(broker, host)) == list(range(began, began + count)), "what was said again is not learned"
    assert not [x for x in letters(broker, [METRICS]) if x.topic == topic]


def test_i2_what_a_relay_said_and_did_not_commit_is_said_again_and_taken_once(
    broker: Broker, new_topic: NewTopic, host: str
) -> None:
    topic, count, began = new_topic(3), 900, now_ms() - 100_000

    def publish(moments: range) -> None:
        with Publisher(broker) as publisher:
            for moment in moments:
                publisher.send_raw(topic, os.urandom(8), f"app,host={host} x=1 {(began + moment) * 1_000_000}".encode())

    def relayed(dies: bool, until_count: int) -> None:
        relay = make_relay(Worker(broker, Settings(ingest=IngestSettings(topics={topic: "influx"}))))
        if dies:
            relay.settings = dataclasses.replace(relay.settings, commit_s=1e9)
            relay._commit = lambda: None  # type: ignore[method-assign]
        thread = threading.Thread(target=relay.run)
        thread.start()
        until(lambda: len(samples(broker, host)) >= until_count, 60)
        relay.stop()
        thread.join(30)
        assert not thread.is_alive()

    publish(range(count))
    relayed(True, count)
    publish(range(count, count + 100))
    relayed(True, 2 * count + 100)
    relayed(False, 3 * (count + 100) - 100)
    assert len(samples(broker, host)) == 3 * (count + 100) - 100, "all of it was said three times"
    assert sorted(taken_once(broker, host)) == list(range(began, began + count + 100))


def taken_once(broker: Broker, host: str) -> list[int]:
    """The stamps of what the lane takes of a host's partition, from its start."""
    log = list(read_all(broker, [METRICS.name], key=host.encode()))
    found = Decode().step(chunk_of(log), now_ms())
    batches = [batch for batch in found if isinstance(batch, Batch)]
    return [
        ts
        for batch in batches
        for ts, entity in zip(batch.ts.tolist(), batch.entity.tolist(), strict=True)
        if batch.names.entities[entity] == host
    ]


POISON = {
    "empty": (b"", "empty"), "random bytes": (b"\x8f\x00\x13\xff" * 9, "malformed"),
    "truncated": (b'{"entity":', "malformed"),
    "deep": (b"[" * 1_500, "malformed"), "10 MB": (b"x" * 10_000_000, "oversized"),
    "NaN": (b'{"entity":"e","ts":1,"metrics":{"x":NaN}}', "not_finite"),
    "Infinity": (b'{"entity":"e","ts":1,"metrics":{"x":Infinity}}', "not_finite"),
    "1e308": (b"m,host=e x=1e308 %d", "not_finite"), "not a number": (b"m,host=e x=nan %d", "not_finite"),
    "over 64 bits": (b"m,host=e x=1 " + b"9" * 40, "timestamp"),
    "text for a number": (b'{"entity":"e","ts":1,"metrics":{"x":"7"}}', "wrong_type"),
    "a newer version": (b'{"v":9,"entity":"e","ts":1,"metrics":{"x":7}}', "version"),
    "the future": (b"m,host=e x=1 1999999999999999999", "timestamp"),
    "a long name": (b"m,host=" + b"e" * 999 + b" x=1 %d", "wrong_type"),
    "a control": (b'{"entity":"e","ts":1,"learning":"open","incident":"i"}', "wrong_type"),
}  # fmt: skip


def test_i14_poison_of_every_class_on_a_foreign_topic_is_a_letter_and_the_rest_goes_on(
    broker: Broker, new_topic: NewTopic, host: str
) -> None:
    topic, at = new_topic(1, {"max.message.bytes": "11000000"}), now_ms() * 1_000_000
    with Publisher(broker) as publisher:
        for number, (value, _) in enumerate(POISON.values()):
            publisher.send_raw(topic, None, b"m,host=%s good=%d %d" % (host.encode(), number, at))
            publisher.send_raw(topic, None, value.replace(b"%d", b"%d" % at))
        publisher.send_raw(topic, None, b'{"a":1,"a":2,"@timestamp":%d}' % (at // 10**9))  # no key, a name twice
        publisher.send_raw(topic, None, b"m,host=%s spike=1e12 %d" % (host.encode(), at))  # large, and no poison
    with taking(broker, {topic: "mixed"}):
        until(lambda: "m.spike" in metrics(broker, host), 60)
        until(learned(broker, samples(broker, host)[-1][0]), 60)
    found = {letter.origin: letter.cause for letter in letters(broker, [METRICS]) if letter.topic == topic}
    causes = [cause for _, cause in POISON.values()]
    assert found == {f"{topic}-0-{2 * number + 1}": cause for number, cause in enumerate(causes)}
    assert len(samples(broker, host)) == len(POISON) + 1


def shared(broker: Broker, topic: str) -> list[int]:
    """How many partitions of a topic each worker has."""
    client = admin(broker)
    (asked,) = client.describe_consumer_groups(["opsloop-rekey"]).values()
    owned = [[p for p in m.assignment.topic_partitions if p.topic == topic] for m in asked.result(10).members]
    return sorted(len(places) for places in owned)


def anomalies(broker: Broker) -> set[str]:
    return {read.record.entity for read in records(broker, [ANOMALIES]) if isinstance(read.record, Anomaly)}
