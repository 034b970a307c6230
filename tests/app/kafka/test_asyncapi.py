from __future__ import annotations

from typing import Any

from app.kafka.asyncapi import document
from topics.catalog import ALL


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [v for k, v in value.items() if k == "$ref"] + [r for v in value.values() for r in references(v)]
    return [r for v in value for r in references(v)] if isinstance(value, list) else []


def resolve(root: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        root = root[part]
    return root


def test_every_topic_is_a_channel_with_its_settings() -> None:
    channels = document()["channels"]
    assert {channel["address"] for channel in channels.values()} == {topic.name for topic in ALL}
    assert channels["audit"]["bindings"]["kafka"]["topicConfiguration"]["retention.ms"] == -1
    assert channels["settings"]["bindings"]["kafka"]["topicConfiguration"] == {"cleanup.policy": ["compact"]}


def test_every_reference_leads_somewhere() -> None:
    root = document()
    found = references(root)
    assert len(found) > 3 * len(ALL)
    assert all(resolve(root, reference) is not None for reference in found)


def test_a_records_schema_names_its_required_fields() -> None:
    schema = document()["components"]["schemas"]["Heartbeat"]
    assert schema["required"] == ["node", "ts", "seq"]


def test_cloudevents_headers_are_there_where_the_topic_carries_them() -> None:
    messages = document()["components"]["messages"]
    assert "ce_id" in messages["Incident"]["headers"]["required"]
    assert "headers" not in messages["Sample"]


def test_a_record_with_a_word_that_is_not_known_yet_fits_its_schema() -> None:
    schemas = document()["components"]["schemas"]
    for name in ("State", "SymptomKind", "DecisionState", "Effect"):
        assert "enum" not in schemas[name]
        assert schemas[name]["pattern"] == "^[a-z][a-z0-9_.-]*$"
        assert schemas[name]["examples"]
