from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from conftest import NewTopicFactory

from app.clock import now_ms
from app.errors import UserError
from app.kafka.admin import ANY_CLOCK, TopicStepKind, Wanted, apply, connected, ensure, plan, wanted
from app.kafka.broker import Broker, admin, producer_config
from app.kafka.embedded import Embedded
from app.kafka.families import LOOP, require_even
from app.kafka.local import LocalKafka
from app.kafka.settings import TopicsSettings
from topics.catalog import ALL
from topics.spec import DAY_MS
from topics.state import LANE_STATE

WANTED = Wanted("admin.a", 2, 1, {"cleanup.policy": "delete", "retention.ms": "1000"})


def test_every_topic_and_every_dead_letter_topic_is_wanted_once_and_state_has_none() -> None:
    names = [each.name for each in wanted(1)]
    assert len(names) == len(set(names))
    assert {topic.name for topic in ALL} <= set(names)
    assert {topic.dlq for topic in ALL} - set(names) == {LANE_STATE.dlq, "opsloop.state.loop.dlq"}


@pytest.mark.parametrize(("brokers", "replicas", "in_sync"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (5, 3, "2")])
def test_copies_follow_the_size_of_the_cluster(brokers: int, replicas: int, in_sync: str) -> None:
    assert {(each.replicas, each.config["min.insync.replicas"]) for each in wanted(brokers)} == {(replicas, in_sync)}


def test_no_topic_minds_how_wrong_a_worker_s_clock_is() -> None:
    assert {each.config["message.timestamp.after.max.ms"] for each in wanted(1)} == {str(2**63 - 1)}


@pytest.mark.kafka
def test_the_broker_takes_a_record_of_a_clock_far_ahead(broker: Broker, new_topic: NewTopicFactory) -> None:
    refused = []
    producer = Producer(producer_config(broker))
    for topic in (new_topic(), new_topic(1, ANY_CLOCK)):
        producer.produce(topic, timestamp=now_ms() + 30 * DAY_MS, on_delivery=lambda error, _: refused.append(error))
        assert producer.flush(20) == 0
    assert [error and error.code() for error in refused] == [KafkaError.INVALID_TIMESTAMP, None]


@pytest.mark.kafka
def test_the_catalogue_is_applied_once_and_then_there_is_nothing_to_do(broker: Broker) -> None:
    assert ensure(broker) == []


@pytest.mark.kafka
def test_what_somebody_changed_by_hand_is_put_back(broker: Broker) -> None:
    client = admin(broker)
    want = [replace(WANTED, name="admin.drift")]
    assert [step.kind for step in apply(client, want, plan(client, want))] == [TopicStepKind.CREATE]
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in (("retention.ms", "5"), ("segment.ms", "60000"))
    ]
    resource = ConfigResource(ResourceType.TOPIC, "admin.drift", incremental_configs=entries)
    client.incremental_alter_configs([resource])[resource].result(10)
    deadline = time.monotonic() + 10
    while not (steps := plan(client, want)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [(step.kind, step.detail) for step in steps] == [
        (TopicStepKind.CONFIG, {"retention.ms": ("5", "1000"), "segment.ms": ("60000", None)})
    ]
    apply(client, want, steps)
    assert plan(client, want) == []


@pytest.mark.kafka
def test_a_topic_grows_only_when_asked_and_never_shrinks(broker: Broker) -> None:
    client = admin(broker)
    small, large = replace(WANTED, name="admin.grow"), replace(WANTED, name="admin.grow", partitions=4)
    apply(client, [small], plan(client, [small]))
    steps = plan(client, [large])
    assert [(step.kind, step.safe, step.possible) for step in steps] == [(TopicStepKind.GROW, False, True)]
    assert apply(client, [large], steps) == []
    assert apply(client, [large], steps, grow=True) == steps
    assert plan(client, [large]) == []
    steps = plan(client, [small])
    assert [(step.kind, step.possible) for step in steps] == [(TopicStepKind.SHRINK, False)]
    assert apply(client, [small], steps, grow=True) == []


@pytest.mark.kafka
def test_a_setting_that_the_broker_refuses_changes_nothing_at_all(broker: Broker) -> None:
    client = admin(broker)
    want = [replace(WANTED, name="admin.good"), replace(WANTED, name="admin.bad", config={"retention.ms": "soon"})]
    with pytest.raises(UserError, match="refused"):
        apply(client, want, plan(client, want))
    assert not {"admin.good", "admin.bad"} & client.list_topics(timeout=10).topics.keys()


@pytest.mark.kafka
def test_two_who_apply_the_same_catalogue_do_not_hinder_each_other(broker: Broker) -> None:
    client = admin(broker)
    want = [replace(WANTED, name="admin.race")]
    steps = plan(client, want)
    client.create_topics([NewTopic("admin.race", 2, 1, config=WANTED.config)])["admin.race"].result(10)
    apply(client, want, steps)
    assert plan(client, want) == []


def test_the_in_memory_cluster_says_that_it_is_not_administered(embedded: Embedded) -> None:
    with pytest.raises(UserError, match="in-memory"), connected(embedded.broker):
        pass


@pytest.mark.kafka
def test_a_topic_that_a_new_version_brings_has_as_many_partitions_as_those_beside_it(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "kafka") as kafka:
        ensure(kafka.broker, LOOP.topics[:-1], TopicsSettings(loop_partitions=3))
        assert {step.kind for step in ensure(kafka.broker, [*LOOP.topics, LANE_STATE])} == {TopicStepKind.CREATE}
        require_even(kafka.broker)
        with connected(kafka.broker) as client:
            differs = plan(client, list(wanted(1, LOOP.topics)))
        assert {(step.kind, step.detail["partitions"]) for step in differs} == {(TopicStepKind.GROW, ("3", "6"))}
