"""What must hold of every topic there is, so that a new one costs no new test."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tests.builders import SAMPLES
from topics.catalog import ALL, BY_NAME, named, topic_of
from topics.codec import decode, encode
from topics.learning import Learning
from topics.spec import DAY_MS, MAIN, PARTITIONS, Raw, Read, Topic
from topics.state import LANE_STATE, LOOP_STATE

GOLDEN = Path(__file__).parent / "golden"
every_topic = pytest.mark.parametrize("topic", ALL, ids=lambda topic: topic.name)


@every_topic
def test_a_record_comes_back_from_its_message_as_it_was(topic: Topic) -> None:
    record = SAMPLES[topic.name]
    message = encode(record, topic)
    raw = Raw(topic.name, 2, 41, message.key, message.value, tuple(message.headers), 1_700_000_000_123)
    assert decode(raw) == Read(record, raw.origin, raw.arrived)


@every_topic
def test_bytes_of_version_1_are_still_read(topic: Topic) -> None:
    value = (GOLDEN / f"{topic.name}.json").read_bytes()
    assert decode(Raw(topic.name, 0, 0, None, value)).record == SAMPLES[topic.name]


@pytest.mark.parametrize("topic", [topic for topic in ALL if topic.packed], ids=lambda topic: topic.name)
def test_packed_bytes_of_version_1_are_still_read(topic: Topic) -> None:
    value = (GOLDEN / f"{topic.name}.msgpack").read_bytes()
    assert decode(Raw(topic.name, 0, 0, None, value)).record == SAMPLES[topic.name]


@every_topic
def test_the_key_of_a_record_is_a_text_that_owns_it(topic: Topic) -> None:
    key = topic.key(SAMPLES[topic.name])
    assert key
    keys = {"opsloop.telemetry.metrics": "shop/catalog/0",
            "opsloop.settings": "kill_switch", "opsloop.policies": "frozen/1",
            "opsloop.packs": "garden/1", "opsloop.entities": "shop/catalog/0",
            "opsloop.refusals": "shop", "opsloop.audit": "shop", "opsloop.audit.checkpoints": "shop",
            LANE_STATE.name: "gate/0/0", LOOP_STATE.name: "gate/0/0"}  # fmt: skip
    assert key == keys.get(topic.name, MAIN), "topics of the loop are keyed by domain"


@every_topic
def test_its_name_says_its_family_and_its_dead_letters_stand_beside_it(topic: Topic) -> None:
    assert re.fullmatch(r"opsloop(\.[a-z]+){1,2}", topic.name)
    assert topic.dlq == f"{topic.name}.dlq"
    assert topic.what
    assert topic.partitions == PARTITIONS, "one worker owns all partitions of a domain only if every topic has as many"


@every_topic
def test_the_broker_is_asked_to_compact_or_to_forget_never_both(topic: Topic) -> None:
    config = topic.config
    assert all(isinstance(value, str) for value in config.values())
    assert (config["cleanup.policy"] == "compact") is topic.compact
    assert ("retention.ms" in config) is not topic.compact
    assert topic.compact or config["retention.ms"] == "-1" or int(config["retention.ms"]) >= DAY_MS


def test_the_audit_is_kept_for_ever() -> None:
    assert BY_NAME["opsloop.audit"].config == {"cleanup.policy": "delete", "retention.ms": "-1"}


def test_a_snapshot_may_be_larger_than_other_records_and_fits_in_a_segment() -> None:
    assert LANE_STATE.config == {
        "cleanup.policy": "compact", "max.message.bytes": "11000000", "segment.bytes": "67108864",
        "segment.ms": "600000",
    }  # fmt: skip
    assert LOOP_STATE.config == {
        "cleanup.policy": "compact", "max.message.bytes": "11000000", "segment.bytes": "16777216",
        "segment.ms": "60000", "min.cleanable.dirty.ratio": "0.1",
    }  # fmt: skip


@every_topic
def test_its_record_has_a_schema_that_requires_what_has_no_default(topic: Topic) -> None:
    (schema,), components = msgspec.json.schema_components([topic.record])
    name = schema["$ref"].rsplit("/", 1)[1]
    properties = components[name]["properties"]
    assert {"v"} < set(properties)
    assert "v" not in components[name]["required"]
    assert components[name]["required"]


@every_topic
def test_cloudevents_attributes_are_exactly_on_the_topics_that_carry_them(topic: Topic) -> None:
    headers = dict(encode(SAMPLES[topic.name], topic).headers)
    if not topic.cloudevents:
        assert headers == ({"content-type": b"application/vnd.msgpack"} if topic.packed else {})
        return
    assert set(headers) == {"ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type"}
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_type"] == topic.name.encode()
    assert headers["ce_source"] == b"/opsloop/" + topic.key(SAMPLES[topic.name]).encode()
    assert headers["ce_time"] == b"2023-11-14T22:13:20.000+00:00"
    assert headers["content-type"] == b"application/json"


def test_a_control_says_what_it_is_between_the_samples_that_say_nothing() -> None:
    control = Learning(entity="web-1", ts=1, learning="open", incident="i")
    assert encode(control).headers == [("content-type", b"application/vnd.opsloop.learning+json")]


def test_a_hot_path_carries_no_attributes() -> None:
    assert {topic.name for topic in ALL if not topic.cloudevents} == {
        "opsloop.telemetry.metrics", "opsloop.telemetry.heartbeats", "opsloop.state.lane", "opsloop.state.loop",
    }  # fmt: skip


def test_each_record_but_the_snapshot_belongs_on_one_topic() -> None:
    assert [topic_of(SAMPLES[topic.name]) for topic in ALL[:-2]] == list(ALL[:-2])
    assert len({topic.name for topic in ALL}) == len(ALL)


@pytest.mark.parametrize("name", ["incidents", "opsloop.incidents"])
def test_a_topic_is_found_with_and_without_its_first_name(name: str) -> None:
    assert named(name) is BY_NAME["opsloop.incidents"]


def test_a_topic_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(KeyError, match=r"no topic 'nonsense'; there are: telemetry\.metrics, .*, state\.loop"):
        named("nonsense")
