"""The same minutes through each way in are the same entities, series, kinds and values.

Recorded is a shop's web process while it is restarted, with its nginx and PostgreSQL. What differs is said in
docs/ingest.md: labels that a sender adds to every series, and counters that only their type shows.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import pytest

from agents.rekey import Rekey
from app.ingest.collect.prometheus import Exposition
from app.ingest.receive import otlp, remote_write
from tests.received import V1, V2, posted, sample, series, write_v1, write_v2
from tests.topics.test_rates import decoded
from topics.codec import encode
from topics.formats.prometheus import kind_of
from topics.spec import Raw
from topics.telemetry import ENTITY, METRICS, Event, Sample

LATE_MS: Final = 50  # from a sample's time to the broker's
RESTARTED: Final = "shop/web/0"  # it has fewer series after that, and more with each request
_LABEL: Final = re.compile(r'([\w.]+)="((?:[^"\\]|\\.)*)"')
_NUMBERS: Final = {"counter": 1, "gauge": 2, "histogram": 3, "summary": 5}
ADDED: Final = ("job", "service.name", "url")  # by Prometheus, by a collector of OpenTelemetry, by Telegraf


class Scraped(NamedTuple):
    """A scrape of the recording: series as name, labels, value."""

    entity: str
    ts: int
    series: list[tuple[str, dict[str, str], float]]


@functools.cache
def recording() -> tuple[dict[str, str], list[Scraped]]:
    """Types by family, and scrapes in order."""
    held = json.loads(gzip.decompress((Path(__file__).parent / "recorded" / "shop.json.gz").read_bytes()))
    scrapes = []
    for each in held["samples"]:
        parts = ((name.partition("{"), float(value)) for name, value in each["metrics"].items())
        rows = [(name, dict(_LABEL.findall(labels)), value) for (name, _, labels), value in parts]
        scrapes.append(Scraped(each["entity"], each["ts"], rows))
    return held["types"], scrapes


def record(found: Sequence[Any]) -> Iterator[Raw]:
    for each in found:
        if isinstance(each, Event) and each.kind == ENTITY:
            continue  # what labels say of entities
        assert isinstance(each, Sample), each
        yield Raw(METRICS.name, 0, 0, each.entity.encode(), encode(each).value, (), each.ts + LATE_MS)


def relayed(messages: Sequence[tuple[int, bytes]]) -> list[Raw]:
    """What comes of messages on a topic of another agent, each with its time (ms)."""
    rekey = Rekey(lambda _: "auto")
    found: list[Any] = []
    for at, (ts, value) in enumerate(messages):
        found += rekey.step([Raw("theirs", 0, at, b"k", value, (), ts + LATE_MS)], ts + LATE_MS)
    return [*record(found)]


# --- the ways ---------------------------------------------------------------------------------------------------------


def label(pair: tuple[str, str]) -> str:
    return f'{pair[0]}="{pair[1]}"'


def collected(types: dict[str, str], scrapes: list[Scraped]) -> list[Raw]:
    """`opsloop collect`."""
    expositions: dict[str, Exposition] = {}
    head = "".join(f"# TYPE {family} {kind}\n" for family, kind in types.items())
    found = []
    for entity, ts, rows in scrapes:
        lines = (f"{name}{{{','.join(map(label, labels.items()))}}} {value!r}\n" for name, labels, value in rows)
        read = expositions.setdefault(entity, Exposition()).read(head + "".join(lines))
        assert not read.bad, read.why
        found.append(Sample(entity=entity, ts=ts, metrics=read.metrics))
    return [*record(found)]


def written(version: int, types: dict[str, str], scrapes: list[Scraped]) -> list[Raw]:
    """Prometheus' remote write."""
    found: list[Any] = []
    for entity, ts, rows in scrapes:
        every = [((("__name__", name), ("instance", entity), ("job", "shop"), *labels.items()), [sample(ts, value)], [])
                 for name, labels, value in rows]  # fmt: skip
        kinds = [_NUMBERS.get(kind_of(name, types), 0) for name, _, _ in rows]
        body = write_v2(*every, kinds=kinds) if version == 2 else write_v1(*(series(own, *s) for own, s, _ in every))
        parts = remote_write.read(posted(remote_write.PATH, body, V2 if version == 2 else V1))
        assert not parts.refused, parts.told()
        found += parts.records()
    return [*record(found)]


def measured(scrape: Scraped) -> list[dict[str, Any]]:
    """As Telegraf's `inputs.prometheus` does with `metric_version = 2`: a metric for each set of labels."""
    sets: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for name, labels, value in scrape.series:
        sets.setdefault(tuple(sorted(labels.items())), {})[name] = value
    about = {"host": scrape.entity, "url": "http://127.0.0.1/metrics"}
    return [{"name": "prometheus", "tags": {**dict(labels), **about}, "fields": fields, "timestamp": scrape.ts}
            for labels, fields in sets.items()]  # fmt: skip


def line(metric: dict[str, Any]) -> str:
    def escaped(text: str) -> str:
        return re.sub(r"([, =])", r"\\\1", text)

    tags = "".join(f",{key}={escaped(value)}" for key, value in metric["tags"].items())
    fields = ",".join(f"{key}={value!r}" for key, value in metric["fields"].items())
    return f"prometheus{tags} {fields} {metric['timestamp']}000000"


def telegraf(form: str, _: dict[str, str], scrapes: list[Scraped]) -> list[Raw]:
    """Telegraf to Kafka. form: json or influx, one metric a message or a batch of them."""
    messages: list[tuple[int, bytes]] = []
    for scrape in scrapes:
        metrics = measured(scrape)
        match form:
            case "json":
                messages += ((scrape.ts, orjson.dumps(each)) for each in metrics)
            case "json batched":
                messages.append((scrape.ts, orjson.dumps({"metrics": metrics})))
            case "influx":
                messages += ((scrape.ts, line(each).encode()) for each in metrics)
            case _:
                messages.append((scrape.ts, "\n".join(map(line, metrics)).encode()))
    return relayed(messages)


def exported(over: str, types: dict[str, str], scrapes: list[Scraped]) -> list[Raw]:
    """A collector of OpenTelemetry with its Prometheus receiver, to Kafka or by OTLP/HTTP."""
    requests = [(scrape.ts, orjson.dumps(_request(types, scrape))) for scrape in scrapes]
    if over == "kafka":
        return relayed(requests)
    (protocol, _) = otlp.PROTOCOLS
    found: list[Any] = []
    for _, body in requests:
        parts = protocol.read(posted(protocol.path, body))
        assert not parts.refused, parts.told()
        found += parts.records()
    return [*record(found)]


def _request(types: dict[str, str], scrape: Scraped) -> dict[str, Any]:
    families: dict[str, list[tuple[str, dict[str, str], float]]] = {}
    for row in scrape.series:
        histogram = next((f for f, kind in types.items() if kind == "histogram" and row[0].startswith(f + "_")), row[0])
        families.setdefault(histogram, []).append(row)
    metrics = [_metric(family, kind_of(family, types), rows, f"{scrape.ts}000000") for family, rows in families.items()]
    resource = [{"key": key, "value": {"stringValue": value}}
                for key, value in (("service.name", "shop"), ("service.instance.id", scrape.entity))]  # fmt: skip
    scope = {"name": "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver"}
    return {"resourceMetrics": [{"resource": {"attributes": resource},
                                 "scopeMetrics": [{"scope": scope, "metrics": metrics}]}]}  # fmt: skip


def _metric(family: str, kind: str, rows: list[tuple[str, dict[str, str], float]], ns: str) -> dict[str, Any]:
    if kind == "histogram":
        return {"name": family, "histogram": {"aggregationTemporality": 2, "dataPoints": _histograms(rows, ns)}}
    points = [{"attributes": _attributes(labels), "timeUnixNano": ns, "asDouble": value} for _, labels, value in rows]
    if kind == "counter":
        return {"name": family, "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": points}}
    return {"name": family, "gauge": {"dataPoints": points}}


def _attributes(labels: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in labels.items()]


def _histograms(rows: list[tuple[str, dict[str, str], float]], ns: str) -> list[dict[str, Any]]:
    by_labels: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for name, labels, value in rows:
        others = {key: text for key, text in labels.items() if key != "le"}
        point = by_labels.setdefault(tuple(others.items()), {"labels": others, "upto": {}})
        if name.endswith("_bucket"):
            point["upto"][float(labels["le"])] = value
        else:
            point[name.rpartition("_")[2]] = value
    found = []
    for point in by_labels.values():
        bounds = sorted(point["upto"])
        each = [after - before for before, after in itertools.pairwise([0.0, *(point["upto"][b] for b in bounds)])]
        found.append({
            "attributes": _attributes(point["labels"]), "timeUnixNano": ns, "count": str(int(point["count"])),
            "sum": point["sum"], "bucketCounts": [str(int(n)) for n in each],
            "explicitBounds": [b for b in bounds if math.isfinite(b)],
        })  # fmt: skip
    return found


# --- what they say ----------------------------------------------------------------------------------------------------

Moments = dict[tuple[str, int], dict[str, float]]
TYPED: Final[dict[str, Callable[[dict[str, str], list[Scraped]], list[Raw]]]] = {
    "remote write 2.0": functools.partial(written, 2),
    "OTLP on Kafka": functools.partial(exported, "kafka"),
    "OTLP over HTTP": functools.partial(exported, "http"),
}
NAMED: Final[dict[str, Callable[[dict[str, str], list[Scraped]], list[Raw]]]] = {
    "remote write 1.0": functools.partial(written, 1),
    **{f"Telegraf, {form}": functools.partial(telegraf, form) for form in (
        "json", "json batched", "influx", "influx batched")},
}  # fmt: skip


ENDS: Final = {scrape.entity: scrape.ts for scrape in recording()[1]}


def plain(name: str) -> str:
    """A series without the labels that its sender adds to all."""
    stem, _, labels = name.partition("{")
    kept = ",".join(f'{key}="{value}"' for key, value in _LABEL.findall(labels) if key not in ADDED)
    return f"{stem}{{{kept}}}" if kept else stem


def said(raws: list[Raw]) -> Moments:
    """What the lane makes of it: values by entity and time. The last moment of an entity may still be held.

    In a message a metric, the moments in which an entity has more series than before come in parts: a histogram that is
    cut has no figures there. They are left out, and there are few of them.
    """
    found: Moments = {}
    parts: dict[tuple[str, int], int] = {}
    for ts, entity, metrics in decoded(raws):
        parts[entity, ts] = parts.get((entity, ts), 0) + 1
        found.setdefault((entity, ts), {}).update({plain(name): value for name, value in metrics.items()})
    firsts = {key for entity in ENDS for key in sorted(key for key in found if key[0] == entity)[:2]}
    grown = {key for key, count in parts.items() if count > 1 and key not in firsts}
    assert len(grown) <= 4
    assert {entity for entity, _ in grown} <= {RESTARTED}
    return {key: metrics for key, metrics in found.items() if key[1] < ENDS[key[0]] and key not in grown}


@functools.cache
def reference() -> Moments:
    return said(collected(*recording()))


def equal(given: Moments, wanted: Moments) -> None:
    assert given.keys() <= wanted.keys()
    assert len(wanted) - len(given) <= 4
    for key, metrics in given.items():
        assert metrics == pytest.approx(wanted[key], rel=1e-9, abs=1e-9), key


def test_the_recording_has_rates_quantiles_a_restart_and_gauges() -> None:
    moments = [metrics for (entity, _), metrics in reference().items() if entity == RESTARTED]
    assert {"process_cpu_seconds.rate", "process_resident_memory_bytes",
            'http_server_request_duration_seconds.p95{route="/cart"}'} <= moments[5].keys()  # fmt: skip
    restarts = [at for at, metrics in enumerate(moments) if at and "process_cpu_seconds.rate" not in metrics]
    assert len(restarts) == 1, "the moment after the restart has no rate, and it is no other news"
    assert "nginx_connections_accepted.rate" in reference()[max(k for k in reference() if k[0] == "shop/nginx/0")]


@pytest.mark.parametrize("way", TYPED)
def test_ways_that_bring_types_say_the_same_as_the_collector(way: str) -> None:
    found = said(TYPED[way](*recording()))
    equal(found, reference())
    assert found.keys() == reference().keys()


@pytest.mark.parametrize("way", NAMED)
def test_ways_without_types_say_the_same_but_of_counters_that_their_names_do_not_show(way: str) -> None:
    types, scrapes = recording()
    hidden = {name for scrape in scrapes for name, _, _ in scrape.series
              if types.get(name) == "counter" and not name.endswith("_total")}  # fmt: skip
    assert len(hidden) > 10

    def shown(metrics: dict[str, float], ending: str) -> dict[str, float]:
        return {name: v for name, v in metrics.items() if name.partition("{")[0] not in {h + ending for h in hidden}}

    found = said(NAMED[way](types, scrapes))
    equal({k: shown(m, "") for k, m in found.items()}, {k: shown(m, ".rate") for k, m in reference().items()})
    last = max(key for key in found if key[0] == "shop/nginx/0")
    assert found[last]["nginx_connections_accepted"] > 0
