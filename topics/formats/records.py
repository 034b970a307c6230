"""JSON records of Telegraf, prometheus-kafka-adapter, Vector, Metricbeat, Fluent Bit, collectd and rsyslog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from topics.formats.names import Logged, Sampled, host_of, instant, metric, numbers, others


def telegraf(record: Mapping[str, Any]) -> Iterator[Sampled]:
    """`{"fields":{"usage_idle":91.5},"name":"cpu","tags":{"host":"web-1"},"timestamp":1458229140}`, or many of them
    as `{"metrics":[…]}`, which is what Telegraf writes with `use_batch_format`.
    """
    if isinstance(record.get("metrics"), list):
        for each in record["metrics"]:
            yield from _telegraf(each)
    else:
        yield from _telegraf(record)


def _telegraf(record: Mapping[str, Any]) -> Iterator[Sampled]:
    tags = record["tags"]
    found = (metric(f"{record['name']}.{name}", value, others(tags)) for name, value in numbers(record["fields"]))
    yield Sampled(host_of(tags), instant(record["timestamp"]), dict(found))


def prometheus(record: Mapping[str, Any]) -> Iterator[Sampled]:
    """`{"timestamp":"1970-01-01T00:00:00Z","value":"9876543210","name":"up","labels":{"__name__":"up"}}`"""
    labels = record["labels"]
    yield Sampled(
        host_of(labels), instant(record["timestamp"]),
        dict([metric(record["name"], float(record["value"]), others(labels))]),
    )  # fmt: skip


def vector(record: Mapping[str, Any]) -> Iterator[Sampled]:
    """`{"name":"foos","namespace":"vector","tags":{"k":"v"},"timestamp":"…","kind":"incremental","counter":{"value":1}}`"""
    tags = record.get("tags") or {}
    name = ".".join(part for part in (record.get("namespace"), record["name"]) if part)
    held = record.get("counter") or record.get("gauge")
    if held is not None:
        value = float(held["value"])
    elif "set" in record:
        value = float(len(record["set"]["values"]))
    else:
        samples = record["distribution"]["samples"]
        weight = sum(sample["rate"] for sample in samples)
        value = sum(sample["value"] * sample["rate"] for sample in samples) / weight
    yield Sampled(host_of(tags), instant(record["timestamp"]), dict([metric(name, value, others(tags))]))


def metricbeat(record: Mapping[str, Any]) -> Iterator[Sampled]:
    """`{"@timestamp":"…","metricset":{"name":"cpu"},"host":{"name":"…"},"system":{"cpu":{…}},…}`"""
    inside = {name: part for name, part in record.items() if name in ("system", "docker", "kubernetes", "linux")}
    held = inside.get("system", {}).get(record["metricset"]["name"], {})
    device = {"": held.get("mount_point") or held.get("name") or ""}  # of a disk or a network card
    metrics = dict(metric(name, value, device) for name, value in _flat(inside, "", 8))
    yield Sampled(str(record["host"]["name"]), instant(record["@timestamp"]), metrics)


def fluent_bit(record: Mapping[str, Any]) -> Iterator[Sampled]:
    """`{"@timestamp": 1452185189.0, "cpu_p": 7.0, "user_p": 5.0}`"""
    metrics = dict(metric(name, value) for name, value in numbers(record) if name != "@timestamp")
    if metrics:  # without a number it may be anybody's
        yield Sampled(host_of(record), instant(record["@timestamp"]), metrics)


def collectd(records: Sequence[Mapping[str, Any]]) -> Iterator[Sampled]:
    """`[{"values":[4.94],"dsnames":["shortterm"],"time":1795238437.267,"host":"web-1","plugin":"load",…}]`"""
    for record in records:
        parts = (record["plugin"], record["type"], record["type_instance"])
        name = ".".join(dict.fromkeys(part for part in parts if part))
        of = {"": record["plugin_instance"]}
        named = zip(record["dsnames"], record["values"], strict=True)
        pairs = [(name if ds == "value" else f"{name}.{ds}", value) for ds, value in named if value is not None]
        metrics = dict(metric(known, float(value), of) for known, value in pairs)
        yield Sampled(str(record["host"]), instant(record["time"]), metrics)


def rsyslog(record: Mapping[str, Any]) -> Iterator[Logged]:
    """`{"@timestamp":"…Z","host":"web-1","severity":"err","facility":"user","program":"nginx","message":"…"}`"""
    message, program = str(record["message"]).strip(), str(record.get("program") or "")
    text = f"{program}: {message}" if program else message
    yield Logged(str(record.get("host") or ""), instant(record["@timestamp"]), str(record["severity"]), text)


def _flat(part: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, float]]:
    for name, value in part.items():
        if isinstance(value, Mapping) and depth:
            yield from _flat(value, f"{prefix}{name}.", depth - 1)
        elif isinstance(value, bool | int | float):
            yield f"{prefix}{name}", float(value)
