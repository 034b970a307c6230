"""JSON records of Telegraf, prometheus-kafka-adapter, Metricbeat, Fluent Bit, collectd and rsyslog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from topics.formats.names import HOSTS, Logged, Sampled, instant, numbers
from topics.formats.naming import Naming
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
_NAMING: Final = frozenset({*HOSTS, "name", "proc_name", "device", "interface"})  # texts of Fluent Bit that say which


def telegraf(record: Mapping[str, Any], naming: Naming, refuse: Refuse = strict) -> Iterator[Sampled]:
    """`{"fields":{"usage_idle":91.5},"name":"cpu","tags":{"host":"web-1"},"timestamp":1458229140}`, or many of them
    as `{"metrics":[…]}`, which is what Telegraf writes with `use_batch_format`.
    """
    if isinstance(record.get("metrics"), list):
        for each in record["metrics"]:
            yield from tried(refuse, _telegraf, each, naming)
    else:
        yield _telegraf(record, naming)


def _telegraf(record: Mapping[str, Any], naming: Naming) -> Sampled:
    measured = record["name"]
    whose = naming.of(record["tags"], str(measured))
    metrics = metrics_of(measured, dict(numbers(record["fields"])), whose)
    return Sampled(whose.entity, instant(record["timestamp"]), metrics)


def prometheus(record: Mapping[str, Any], naming: Naming, refuse: Refuse = strict) -> Iterator[Sampled]:  # noqa: ARG001
    """`{"timestamp":"1970-01-01T00:00:00Z","value":"9876543210","name":"up","labels":{"__name__":"up"}}`

    NaN is no value: it is what a summary has that saw nothing, and what marks a series that has ended.
    """
    labels, value, ts = record["labels"], float(record["value"]), instant(record["timestamp"])
    kept = {label: text for label, text in labels.items() if text != "" and label != "__name__"}  # empty: no label
    whose = naming.of(kept, record["name"])
    yield Sampled(whose.entity, ts, whose.metrics([(record["name"], value)], "") if value == value else {})


def metricbeat(record: Mapping[str, Any], naming: Naming, refuse: Refuse = strict) -> Iterator[Sampled]:  # noqa: ARG001
    """`{"@timestamp":"…","metricset":{"name":"cpu"},"host":{"name":"…"},"system":{"cpu":{…}},…}`, of any module."""
    host = record.get("host.name") or record.get("host") or ""
    whose = str(host.get("name") or host.get("hostname") or "") if isinstance(host, Mapping) else str(host)
    held = {name: part for name, part in record.items() if name.partition(".")[0] not in _ABOUT}
    leaves = list(_leaves(held, "", _DEPTH))
    which = {_label(name): value for name, value in leaves if _says_which(name, value)}
    found = ((n, float(v)) for n, v in leaves if isinstance(v, bool | int | float) and not _says_which(n, v))
    measured = record.get("metricset")
    of = naming.of(
        {**_if_any("host.name", whose), **which}, str(measured.get("name")) if isinstance(measured, Mapping) else ""
    )
    yield Sampled(of.entity, instant(record["@timestamp"]), of.metrics(found))


def _if_any(label: str, text: str) -> dict[str, str]:
    """A label, if it has a text."""
    return {label: text} if text else {}


def _says_which(name: str, held: Any) -> bool:
    """Whether a leaf says of which disk, container or database the measurements of an event are."""
    last = name.rpartition(".")[2]
    if isinstance(held, str):
        return last in _WHICH or ".labels." in name
    return last in _NUMBERED and type(held) is int


def _label(name: str) -> str:
    """What a leaf is called as a label: without its module and metricset."""
    return name.partition(".labels.")[2] or name.split(".", 2)[-1]


def fluent_bit(record: Mapping[str, Any], naming: Naming, refuse: Refuse = strict) -> Iterator[Sampled]:  # noqa: ARG001
    """`{"@timestamp": 1452185189.0, "cpu_p": 7.0, "user_p": 5.0}`"""
    texts = {name: text for name, text in record.items() if isinstance(text, str) and name in _NAMING}
    found = [(name, value) for name, value in numbers(record) if name != "@timestamp"]
    if found:  # without a number it may be anybody's
        whose = naming.of(texts)
        yield Sampled(whose.entity, instant(record["@timestamp"]), whose.metrics(found))


def collectd(records: Sequence[Mapping[str, Any]], naming: Naming, refuse: Refuse = strict) -> Iterator[Sampled]:
    """`[{"values":[4.94],"dsnames":["shortterm"],"time":1795238437.267,"host":"web-1","plugin":"load",…}]`"""
    for record in records:
        yield from tried(refuse, _collectd, record, naming)


def _collectd(record: Mapping[str, Any], naming: Naming) -> Sampled:
    parts = (record["plugin"], record["type"], record["type_instance"])
    name = ".".join(dict.fromkeys(part for part in parts if part))
    of = _if_any("instance", record["plugin_instance"])
    named = zip(record["dsnames"], record["values"], strict=True)
    pairs = [(name if ds == "value" else f"{name}.{ds}", value) for ds, value in named if value is not None]
    whose = naming.of({**_if_any("host", str(record["host"])), **of}, str(record["plugin"]))
    return Sampled(
        whose.entity, instant(record["time"]), whose.metrics((known, float(value)) for known, value in pairs)
    )


def rsyslog(record: Mapping[str, Any], naming: Naming, refuse: Refuse = strict) -> Iterator[Logged]:  # noqa: ARG001
    """`{"@timestamp":"…Z","host":"web-1","severity":"err","facility":"user","program":"nginx","message":"…"}`"""
    message, program = str(record["message"]).strip(), str(record.get("program") or "")
    text = f"{program}: {message}" if program else message
    entity = naming.of({"host": str(record.get("host") or "")}).entity
    yield Logged(entity, instant(record["@timestamp"]), str(record["severity"]), text)


def _leaves(part: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """What an object holds at any depth, by its dotted names."""
    for name, value in part.items():
        if isinstance(value, Mapping):
            if depth:
                yield from _leaves(value, f"{prefix}{name}.", depth - 1)
        else:
            yield f"{prefix}{name}", value
