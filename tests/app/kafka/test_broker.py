from __future__ import annotations

import logging
import socket
import time
from dataclasses import replace

import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import Consumer, Producer
from hypothesis import given
from hypothesis import strategies as st

from app.connection import DEFAULT, Broker
from app.errors import UserError
from app.kafka.broker import consumer_config, partition_of, probe, producer_config, read_all, require
from app.kafka.embedded import Embedded
from topics.spec import Raw

PARTITIONS = list(range(6))


@given(st.binary(max_size=64), st.integers(1, 64))
def test_a_key_has_the_partition_that_aiokafka_gives_it(key: bytes, partitions: int) -> None:
    places = list(range(partitions))
    assert partition_of(key, partitions) == DefaultPartitioner()(key, places, places)


def test_librdkafka_puts_equal_keys_where_aiokafka_does(embedded: Embedded) -> None:
    keys = [f"shop/service-{i}/{i % 7}".encode() for i in range(500)]
    embedded.create("keys", len(PARTITIONS))
    producer, placed = Producer(producer_config(embedded.broker)), {}
    for key in keys:
        producer.produce("keys", b"", key, on_delivery=lambda _, m: placed.update({m.key(): m.partition()}))
    producer.flush(10)
    assert placed == {key: DefaultPartitioner()(key, PARTITIONS, PARTITIONS) for key in keys}


def test_the_environment_says_where_the_broker_is_and_how_it_is_spoken_to() -> None:
    environment = {
        "OPSLOOP_BROKER": "kafka-1:9092",
        "OPSLOOP_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "OPSLOOP_KAFKA_SASL_USERNAME": "worker",
        "OPSLOOP_KAFKA_GROUP_PROTOCOL": "consumer",
        "OTHER": "x",
    }
    broker = Broker.from_environment("", environment)
    assert broker.bootstrap == "kafka-1:9092"
    assert broker.group_protocol == "consumer"
    assert broker.security == {"security.protocol": "SASL_SSL", "sasl.username": "worker"}
    assert Broker.from_environment("here:1", environment).bootstrap == "here:1"
    assert Broker.from_environment("", {}).bootstrap == DEFAULT
    for config in (producer_config(broker), consumer_config(broker, "g")):
        assert config["security.protocol"] == "SASL_SSL"
        assert config["bootstrap.servers"] == "kafka-1:9092"


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_the_client_takes_every_setting_we_give_it(protocol: str) -> None:
    broker = Broker("127.0.0.1:1", group_protocol=protocol)
    Producer(producer_config(broker, compression="lz4"))
    Consumer(consumer_config(broker, "g")).close()


def test_nobody_listening_is_refused_at_once_with_what_to_type_next() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(UserError) as failure:
        require(Broker(address), 1)
    assert str(failure.value) == (
        f"no broker at {address} (connection refused). Start one with `opsloop kafka up`, or point --broker at yours."
    )


@pytest.mark.parametrize(
    ("address", "cause"),
    [("no.such.host.invalid:9092", "not known"), ("nonsense", "is not host:port"), ("", "is not host:port")],
)
def test_an_address_that_cannot_be_is_named(address: str, cause: str) -> None:
    assert cause in (probe(Broker(address), 1) or "")


def test_a_listener_that_is_no_broker_is_told_from_a_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "no answer within" in (probe(Broker(f"127.0.0.1:{server.getsockname()[1]}"), 0.5) or "")


def test_a_setting_that_the_client_does_not_know_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=r"sasl\.nonsense.*OPSLOOP_KAFKA_"):
            require(Broker(address, security={"sasl.nonsense": "x"}))


@pytest.mark.kafka
@pytest.mark.parametrize(
    "security",
    [
        {"security.protocol": "ssl"},
        {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "p"},
    ],
)
def test_the_wrong_protocol_for_a_listener_is_a_cause_in_seconds(broker: Broker, security: dict[str, str]) -> None:
    began = time.monotonic()
    cause = probe(replace(broker, security=security), 10)
    print(f"{security['security.protocol']}: {cause} after {time.monotonic() - began:.2f} s")
    assert cause is not None
    assert "no answer" not in cause
    assert time.monotonic() - began < 8


def test_a_broker_that_answers_is_no_cause(embedded: Embedded) -> None:
    assert probe(embedded.broker) is None


def test_a_broker_that_is_away_is_logged_and_never_printed(
    embedded: Embedded, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    embedded.down()
    producer = Producer(producer_config(embedded.broker) | {"message.timeout.ms": 300})
    with caplog.at_level(logging.WARNING, "opsloop.kafka"):
        producer.produce("keys", b"")
        producer.flush(5)
    assert "_TRANSPORT" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_headers_without_a_value_become_empty(embedded: Embedded) -> None:
    embedded.create("one", 1)
    producer = Producer(producer_config(embedded.broker))
    producer.produce("one", b"v", b"k", headers=[("empty", None), ("full", b"x")])
    producer.flush(5)
    reader = Consumer(consumer_config(embedded.broker, "g"))
    reader.subscribe(["one"])
    message = None
    while message is None:
        message = reader.poll(0.2)
    reader.close()
    assert Raw.of(message).headers == (("empty", b""), ("full", b"x"))


def test_what_came_since_a_moment_is_read_from_the_in_memory_cluster_of_another_process_too(embedded: Embedded) -> None:
    """Who has only its address does not know what it is; it cannot look up times, and seems to have nothing."""
    embedded.create("since", 1)
    producer = Producer(producer_config(embedded.broker))
    for ts in (1_000, 2_000, 3_000):
        producer.produce("since", b"%d" % ts, timestamp=ts)
    producer.flush(10)
    stranger = Broker(embedded.bootstrap)
    assert [raw.value for raw in read_all(stranger, ["since"], since_ms=2_000)] == [b"2000", b"3000"]
