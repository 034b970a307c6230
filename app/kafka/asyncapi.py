"""The catalogue of topics as an AsyncAPI 3.0 document, for programs that read or write these topics."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from topics.catalog import ALL
from topics.spec import WORD_SCHEMA, Open, Topic

_REF = "#/components/schemas/{name}"
_CLOUDEVENT = ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type")


def document(catalogue: Sequence[Topic] = ALL) -> dict[str, Any]:
    """AsyncAPI 3.0.0 with one channel for each topic and a JSON Schema (2020-12, by msgspec) for each record."""
    schemas = _schemas(catalogue)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Opsloop topics",
            "version": importlib.metadata.version("opsloop"),
            "description": "The records of the loop, in the order data meets them. Keys decide which worker owns what.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_id(topic): _channel(topic) for topic in catalogue},
        "operations": {
            f"{verb}.{_id(topic)}": {"action": verb, "channel": {"$ref": f"#/channels/{_id(topic)}"}}
            for topic in catalogue
            for verb in ("send", "receive")
        },
        "components": {"messages": dict(_messages(catalogue)), "schemas": schemas},
    }


def _id(topic: Topic) -> str:
    return topic.name.removeprefix("opsloop.")


def _schemas(catalogue: Sequence[Topic]) -> dict[str, Any]:
    records = list(dict.fromkeys(topic.record for topic in catalogue))
    schemas = msgspec.json.schema_components(records, ref_template=_REF)[1]
    for shape in Open.__subclasses__():
        if shape.__name__ in schemas:  # open enumeration: members that a newer writer adds are accepted
            known = schemas[shape.__name__].pop("enum")
            schemas[shape.__name__] |= {"type": "string", **WORD_SCHEMA, "examples": known}
    return schemas


def _messages(catalogue: Iterable[Topic]) -> Iterable[tuple[str, dict[str, Any]]]:
    for topic in catalogue:
        name = topic.record.__name__
        message: dict[str, Any] = {
            "name": name,
            "contentType": topic.content_type.decode() if topic.packed else "application/json",
            "summary": (topic.record.__doc__ or "").strip().splitlines()[0],
            "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": _payload(name)},
        }
        if topic.cloudevents:
            strings = {header: {"type": "string"} for header in _CLOUDEVENT}
            message["headers"] = {"type": "object", "required": list(_CLOUDEVENT), "properties": strings}
        yield name, message


def _payload(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _channel(topic: Topic) -> dict[str, Any]:
    name = topic.record.__name__
    return {
        "address": topic.name,
        "title": topic.what,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": "0.5.0",
            }
        },
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    wanted: dict[str, Any] = {"cleanup.policy": ["compact" if topic.compact else "delete"]}
    if not topic.compact:
        wanted["retention.ms"] = -1 if topic.retention_ms is None else topic.retention_ms
    if topic.max_message_bytes is not None:
        wanted["max.message.bytes"] = topic.max_message_bytes
    return wanted
