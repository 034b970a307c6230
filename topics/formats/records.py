"""JSON records of Telegraf, prometheus-kafka-adapter, Metricbeat, Fluent Bit, collectd and rsyslog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from topics.formats.names import Logged, Sampled, host_of, instant, metric, numbers, others
from topics.formats.prometheus import named
from topics.formats.telegraf import metrics_of
from topics.formats.tolerance import Refuse, strict, tried

# what a Metricbeat event holds beside its measurements
_ABOUT: Final = frozenset({
    "agent", "beat", "cloud", "container", "data_stream", "ecs", "error", "event", "fields", "host", "input", "labels",
    "message", "metricset", "orchestrator", "process", "service", "tags", "user", "@metadata", "@timestamp",
})  # fmt: skip
_WHICH: Final = (
    "name", "mount_point", "device_name", "instance", "id", "database", "path", "pid", "namespace", "device", "topic",
    "interface", "queue", "index", "vhost",
)  # fmt: skip
_NUMBERED: Final = ("id", "pid")  # a number there tells two processors, processes or partitions apart
_DEPTH: Final = 8


def telegraf(record: Mapping[str, Any], refuse: Refuse = strict) -> Iterator[Sampled]:
    """`{"fields":{"usage_idle":91.5},"name":"cpu","tags":{"host":"web-1"},"timestamp":1458229140}`, or many of them
    as `{"metrics":[…]}`, which is what Telegraf writes with `use_batch_format`.
    """
    if isinstance(record.get("metrics"), list):
        for each in record["metrics"]:
            yield from tried(refuse, _telegraf, each)
    else:
        yield _telegraf(record)


def _telegraf(record: Mapping[str, Any]) -> Sampled:
    tags = record["tags"]
    metrics = metrics_of(record["name"], dict(numbers(record["fields"])), tags)
    return Sampled(host_of(tags), instant(record["timestamp"]), metrics)


def prometheus(record: Mapping[str, Any], refuse: Refuse = strict) -> Iterator[Sampled]:  # noqa: ARG001
    """`{"timestamp":"1970-01-01T00:00:00Z","value":"9876543210","name":"up","labels":{"__name__":"up"}}`

    NaN is no value: it is what a summary has that saw nothing, and what marks a series that has ended.
    """
    labels, value = record["labels"], float(record["value"])
    name = named(record["name"], others(labels))
    yield Sampled(host_of(labels), instant(record["timestamp"]), {name: value} if value == value else {})


def metricbeat(record: Mapping[str, Any], refuse: Refuse = strict) -> Iterator[Sampled]:  # noqa: ARG001
    """`{"@timestamp":"…","metricset":{"name":"cpu"},"host":{"name":"…"},"system":{"cpu":{…}},…}`, of any module."""
    host = record.get("host.name") or record.get("host") or ""
    whose = str(host.get("name") or host.get("hostname") or "") if isinstance(host, Mapping) else str(host)
    held = {name: part for name, part in record.items() if name.partition(".")[0] not in _ABOUT}
    leaves = list(_leaves(held, "", _DEPTH))
    which = {_label(name): value for name, value in leaves if _says_which(name, value)}
    found = (leaf for leaf in leaves if isinstance(leaf[1], bool | int | float) and not _says_which(*leaf))
    metrics = dict(metric(name, float(value), which) for name, value in found)
    yield Sampled(whose, instant(record["@timestamp"]), metrics)


def _says_which(name: str, held: Any) -> bool:
    """Whether a leaf says of which disk, container or database the measurements of an event are."""
    last = name.rpartition(".")[2]
    if isinstance(held, str):
        return last in _WHICH or ".labels." in name
    return last in _NUMBERED and type(held) is int


def _label(name: str) -> str:
    """What a leaf is called as a label: without its module and metricset."""
    return name.partition(".labels.")[2] or name.split(".", 2)[-1]


def fluent_bit(record: Mapping[str, Any], refuse: Refuse = strict) -> Iterator[Sampled]:  # noqa: ARG001
    """`{"@timestamp": 1452185189.0, "cpu_p": 7.0, "user_p": 5.0}`"""
    metrics = dict(metric(name, value) for name, value in numbers(record) if name != "@timestamp")
    if metrics:  # without a number it may be anybody's
        yield Sampled(host_of(record), instant(record["@timestamp"]), metrics)


def collectd(records: Sequence[Mapping[str, Any]], refuse: Refuse = strict) -> Iterator[Sampled]:
    """`[{"values":[4.94],"dsnames":["shortterm"],"time":1795238437.267,"host":"web-1","plugin":"load",…}]`"""
    for record in records:
        yield from tried(refuse, _collectd, record)


def _collectd(record: Mapping[str, Any]) -> Sampled:
    parts = (record["plugin"], record["type"], record["type_instance"])
    name = ".".join(dict.fromkeys(part for part in parts if part))
    of = {"instance": record["plugin_instance"]} if record["plugin_instance"] else {}
    named = zip(record["dsnames"], record["values"], strict=True)
    pairs = [(name if ds == "value" else f"{name}.{ds}", value) for ds, value in named if value is not None]
    metrics = dict(metric(known, float(value), of) for known, value in pairs)
    return Sampled(str(record["host"]), instant(record["time"]), metrics)


def rsyslog(record: Mapping[str, Any], refuse: Refuse = strict) -> Iterator[Logged]:  # noqa: ARG001
    """`{"@timestamp":"…Z","host":"web-1","severity":"err","facility":"user","program":"nginx","message":"…"}`"""
    message, program = str(record["message"]).strip(), str(record.get("program") or "")
    text = f"{program}: {message}" if program else message
    yield Logged(str(record.get("host") or ""), instant(record["@timestamp"]), str(record["severity"]), text)


def _leaves(part: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """What an object holds at any depth, by its dotted names."""
    for name, value in part.items():
        if isinstance(value, Mapping):
            if depth:
                yield from _leaves(value, f"{prefix}{name}.", depth - 1)
        else:
            yield f"{prefix}{name}", value
