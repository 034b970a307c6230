"""What users of other tools met: each message says what it says there, or is refused with its cause."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from agents.decode import Decode, chunk_of
from agents.rekey import Rekey
from tests.topics.test_rates import decoded, numbered
from topics.codec import Cause, DeadLetter, DecodeError, encode
from topics.formats import native
from topics.formats.names import Sampled
from topics.spec import Raw
from topics.telemetry import METRICS, Sample

NOW = 1_795_238_437_267
NS = f"{NOW}000000"


def said(value: bytes | object, format: str = "auto", key: bytes = b"key", arrived: int = NOW, now: int = NOW) -> tuple[
    dict[str, dict[str, float]], list[tuple[Cause, str]]
]:  # fmt: skip
    """What the relay makes of a message: metrics by entity, and what is refused."""
    text = value if isinstance(value, bytes) else orjson.dumps(value)
    found = list(Rekey(lambda _: format).step([Raw("theirs", 0, 0, key, text, (), arrived)], now))
    samples: dict[str, dict[str, float]] = {}
    for each in found:
        if isinstance(each, Sample):
            samples.setdefault(each.entity, {}).update(each.metrics)
    return samples, [(each.cause, each.detail) for each in found if isinstance(each, DeadLetter)]


def attributes(**named: str) -> list[dict[str, Any]]:
    return [{"key": key.replace("_", "."), "value": {"stringValue": value}} for key, value in named.items()]


def otlp(*resources: tuple[dict[str, str], list[dict[str, Any]]], scope: str = "") -> dict[str, Any]:
    return {"resourceMetrics": [
        {"resource": {"attributes": attributes(**labels)},
         "scopeMetrics": [{"scope": {"name": scope}, "metrics": metrics}]} for labels, metrics in resources
    ]}  # fmt: skip


def gauge(name: str, value: Any, ns: str = NS) -> dict[str, Any]:
    return {"name": name, "gauge": {"dataPoints": [{"timeUnixNano": ns, "asDouble": value}]}}


# --- F1, R13: two things are never one series -------------------------------------------------------------------------


def pair(first: dict[str, str], second: dict[str, str]) -> dict[str, Any]:
    return otlp((first, [gauge("req", 100.0)]), (second, [gauge("req", 7.0)]))


@pytest.mark.parametrize("other", ["service_name", "service_instance_id", "k8s_pod_name", "process_pid"])
def test_two_resources_of_a_host_are_two_series(other: str) -> None:
    samples, refused = said(pair({"host_name": "web-1", other: "shop"}, {"host_name": "web-1", other: "cart"}))
    label = other.replace("_", ".")
    assert samples == {"web-1": {f'req{{{label}="shop"}}': 100.0, f'req{{{label}="cart"}}': 7.0}}
    assert not refused


def test_two_scopes_of_a_resource_are_two_series_and_the_collector_s_own_are_not_named() -> None:
    request = otlp(({"host_name": "a"}, [gauge("req", 1.0)]), scope="one")
    request["resourceMetrics"] += otlp(({"host_name": "a"}, [gauge("req", 2.0)]), scope="two")["resourceMetrics"]
    request["resourceMetrics"] += otlp(
        ({"host_name": "a", "os_type": "linux"}, [gauge("req", 3.0)]),
        scope="github.com/open-telemetry/opentelemetry-collector-contrib/receiver/hostmetricsreceiver",
    )["resourceMetrics"]
    assert list(said(request)[0]["a"].values()) == [1.0, 2.0, 3.0]
    assert list(said(request)[0]["a"])[2] == "req"


@pytest.mark.parametrize("labels", [
    ({"pod": "cart-1"}, {"pod": "catalog-7"}), ({"node": "n1"}, {"node": "n2"}), ({"a": "1"}, {"b": "1"}),
    ({"a": "1", "b": "2"}, {"a": "1,b=2"}), ({"a": '1",b="2'}, {"a": "1", "b": "2"}),
    ({"a": "1.2"}, {"a": "1", "b": "2"}),
])  # fmt: skip
def test_two_series_of_prometheus_are_two_series(labels: tuple[dict[str, str], dict[str, str]]) -> None:
    names = set()
    for own in labels:
        record = {"timestamp": "2026-11-21T00:00:00Z", "value": "1", "name": "m",
                  "labels": {"__name__": "m", "instance": "i:1", **own}}  # fmt: skip
        samples, _ = said(record)
        names |= samples["i:1"].keys()
    assert len(names) == 2


@pytest.mark.parametrize("tags", [({"instance": "C:"}, {"instance": "D:"}), ({"cpu": "cpu-total"}, {"cpu": ""})])
def test_two_tags_of_telegraf_are_two_series(tags: tuple[dict[str, str], dict[str, str]]) -> None:
    found = [said({"fields": {"x": 1}, "name": "win_disk", "tags": {"host": "a", **own}, "timestamp": NOW // 1000})[0]
             for own in tags]  # fmt: skip
    assert len({name for samples in found for name in samples["a"]}) == 2


def test_long_names_are_kept_whole_and_longer_ones_are_refused_with_the_cause() -> None:
    long, longer = "x" * 300, "y" * 600
    samples, refused = said({"fields": {f"{long}1": 1, f"{long}2": 2, longer: 3}, "name": "m", "tags": {"host": "a"},
                             "timestamp": NOW // 1000})  # fmt: skip
    assert samples == {"a": {f"m.{long}1": 1.0, f"m.{long}2": 2.0}}
    assert [cause for cause, _ in refused] == [Cause.WRONG_TYPE]
    assert "602 characters" in refused[0][1]


# --- F2: counters by type ---------------------------------------------------------------------------------------------


def moments(*requests: dict[str, Any] | list[Any]) -> list[dict[str, float]]:
    """What the lane makes of messages that come ten seconds apart, by way of the relay."""
    records = []
    for at, request in enumerate(requests):
        for each in Rekey(lambda _: "auto").step([Raw("t", 0, at, b"k", orjson.dumps(request), (), NOW)], 2 * NOW):
            assert isinstance(each, Sample), each
            records.append(Raw(METRICS.name, 0, 0, b"k", encode(each).value, (), each.ts))
    return [metrics for _, _, metrics in decoded(records)]


def points(kind: str, *each: dict[str, Any], **held: Any) -> list[dict[str, Any]]:
    """A request for each point of a metric `m`, ten seconds after the one before."""
    found = []
    for at, point in enumerate(each):
        stamps = {
            "startTimeUnixNano": str((NOW + at * 10_000 - 10_000) * 10**6),
            "timeUnixNano": str((NOW + at * 10_000) * 10**6),
        }
        found.append(otlp(({"host_name": "a"}, [{"name": "m", kind: {**held, "dataPoints": [point | stamps]}}])))
    return found


CUMULATIVE, DELTA = {"aggregationTemporality": 2}, {"aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA"}


def test_sums_become_rates_by_temporality_and_what_is_not_monotonic_stays() -> None:
    values = [{"asInt": "100"}, {"asInt": "150"}, {"asInt": "30"}, {"asInt": "60"}]
    assert moments(*points("sum", *values, isMonotonic=True, **CUMULATIVE)) == [{"m.rate": 5.0}, {"m.rate": 3.0}]
    assert moments(*points("sum", *values, isMonotonic=True, **DELTA)) == [
        {"m.rate": v} for v in (10.0, 15.0, 3.0, 6.0)
    ]
    assert moments(*points("sum", *values, **CUMULATIVE)) == [{"m": v} for v in (100.0, 150.0, 30.0, 60.0)]
    named = points("gauge", *values)
    for request in named:
        request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["name"] = "limit_total"
    assert moments(*named) == [{"limit_total.value": v} for v in (100.0, 150.0, 30.0, 60.0)]


HISTOGRAM = [{"count": "10", "sum": 7.0, "bucketCounts": ["4", "6", "0"], "explicitBounds": [0.5, 1.0]},
             {"count": "30", "sum": 17.0, "bucketCounts": ["14", "16", "0"], "explicitBounds": [0.5, 1.0]}]  # fmt: skip


def test_histograms_become_rate_quantiles_and_mean_by_temporality() -> None:
    (found,) = moments(*points("histogram", *HISTOGRAM, **CUMULATIVE))
    assert found == pytest.approx({"m.rate": 2.0, "m.p50": 0.5, "m.p95": 0.95, "m.p99": 0.99, "m.mean": 0.5})
    since = {"count": "20", "sum": 10.0, "bucketCounts": ["10", "10", "0"], "explicitBounds": [0.5, 1.0]}
    assert moments(*points("histogram", since, **DELTA)) == [pytest.approx(found)]


def exponential(scale: int, offset: int, counts: list[int], zero: int = 0) -> dict[str, Any]:
    return {"count": str(sum(counts) + zero), "sum": 1.0 * sum(counts), "scale": scale, "zeroCount": str(zero),
            "positive": {"offset": offset, "bucketCounts": [str(c) for c in counts]}}  # fmt: skip


@pytest.mark.parametrize("temporality", [CUMULATIVE, DELTA])
def test_exponential_histograms_become_quantiles_whatever_their_scale(temporality: dict[str, Any]) -> None:
    """100 values between 1 and 2, then 100 more between 2 and 4: finer at first, coarser when the range has grown."""
    before, after = exponential(5, 0, [3] * 32 + [4]), exponential(3, 0, [0] * 8 + [12] * 8 + [4])
    if temporality is CUMULATIVE:
        after = exponential(2, 0, [24, 24, 24, 24 + 4, 24, 24, 24, 28])
        before = exponential(5, 0, [3] * 31 + [7])
    found = moments(*points("exponentialHistogram", before, after, **temporality))[-1]
    assert found["m.rate"] == 10.0
    assert 2.5 < found["m.p50"] < 3.2
    assert 3.5 < found["m.p99"] <= 4.9


def test_a_summary_has_the_quantiles_that_its_sender_knows_and_a_rate() -> None:
    summary = [{"count": str(c), "sum": 2.0 * c, "quantileValues": [{"quantile": 0.99, "value": 5.0}]} for c in (5, 25)]
    assert moments(*points("summary", *summary)) == [{"m.p99": 5.0}, {"m.p99": 5.0, "m.rate": 2.0, "m.mean": 2.0}]


def test_series_of_prometheus_are_what_their_names_say_one_message_each() -> None:
    log = []
    for at in range(4):
        grown = 100.0 * at
        series = {
            "http_requests_total": (grown, {}),
            "m_seconds_sum": (grown, {}),
            "m_seconds_count": (2 * grown, {}),
            "connections_count": (7.0, {}),
            "seen": (float("nan"), {}),
            "node_load1": (2.0, {}),
            **{f"m_seconds_bucket{le}": (grown * (1 + (le != "1")), {"le": le}) for le in ("1", "2", "+Inf")},
        }
        for name, (value, labels) in series.items():
            plain = "m_seconds_bucket" if labels else name
            log.append({"timestamp": f"2026-11-21T00:00:{10 * at:02}Z", "value": str(value), "name": plain,
                        "labels": {"__name__": plain, "instance": "i:1", "job": "", **labels}})  # fmt: skip
    assert moments(*log)[-1] == pytest.approx({
        "http_requests.rate": 10.0, "connections_count": 7.0, "node_load1": 2.0, "m_seconds.rate": 20.0,
        "m_seconds.p50": 1.0, "m_seconds.p95": 1.9, "m_seconds.p99": 1.98, "m_seconds.mean": 0.5,
    })  # fmt: skip


# --- F3: one bad part is refused alone --------------------------------------------------------------------------------


def test_one_bad_point_of_an_otlp_request_is_refused_alone() -> None:
    for bad, cause in ((gauge("bad", "NaN"), Cause.NOT_FINITE), (gauge("bad", "Infinity"), Cause.NOT_FINITE),
                       (gauge("bad", 1.0, "0"), Cause.TIMESTAMP), (gauge("bad", None), Cause.MALFORMED),
                       ({"name": "bad"}, Cause.MALFORMED)):  # fmt: skip
        samples, refused = said(otlp(({"host_name": "a"}, [gauge("x", 1.0), bad, gauge("y", 2.0)])))
        assert samples == {"a": {"x": 1.0, "y": 2.0}}
        assert [each for each, _ in refused] == [cause], bad
        assert "too large" not in refused[0][1]


def test_one_bad_part_of_a_batch_of_telegraf_or_collectd_is_refused_alone() -> None:
    sound = {"fields": {"x": 1, "gone": None}, "name": "m", "tags": {"host": "a"}, "timestamp": NOW // 1000}
    for bad in (
        {**sound, "timestamp": 0, "tags": {"host": "b"}},
        {**sound, "tags": None},
        {**sound, "timestamp": None},
        None,
    ):
        samples, refused = said({"metrics": [sound, bad, {**sound, "name": "n"}]})
        assert samples == {"a": {"m.x": 1.0, "n.x": 1.0}}
        assert len(refused) == 1, bad
    value = {"values": [1], "dsnames": ["value"], "time": NOW / 1000, "host": "a", "plugin": "p", "plugin_instance": "",
             "type": "t", "type_instance": ""}  # fmt: skip
    for bad, letters in (
        ({**value, "values": [None], "type": "u"}, 0),
        ({**value, "time": 0}, 1),
        ({**value, "values": ["x"]}, 1),
    ):
        samples, refused = said([value, bad, {**value, "type": "v"}])
        assert samples == {"a": {"p.t": 1.0, "p.v": 1.0}}
        assert len(refused) == letters, bad


def test_one_null_of_our_own_json_is_refused_alone_on_the_topic_itself() -> None:
    value = orjson.dumps({"entity": "a", "ts": NOW, "metrics": {"x": 1.0, "bad": None, "y": 2.0}})
    found = list(Decode().step(chunk_of(numbered([Raw(METRICS.name, 0, 0, b"a", value, (), NOW)])), 0))
    (letter,) = [each for each in found if isinstance(each, DeadLetter)]
    assert letter.cause is Cause.WRONG_TYPE
    assert "'bad' is NoneType" in letter.detail
    (batch,) = [each for each in found if not isinstance(each, DeadLetter)]
    assert batch.value.tolist() == [1.0, 2.0]


# --- F8, F9, F10 ------------------------------------------------------------------------------------------------------


def beat(**parts: Any) -> dict[str, Any]:
    return {"@timestamp": "2026-11-21T00:00:00.000Z", "metricset": {"name": "info"}, "host": {"name": "a"},
            "agent": {"id": "x", "version": 8}, "event": {"duration": 5}, **parts}  # fmt: skip


@pytest.mark.parametrize(("event", "wanted"), [
    (beat(redis={"info": {"clients": {"connected": 3}}, "keyspace": {"id": "db0"}}),
     {'redis.info.clients.connected{id="db0"}': 3.0}),
    (beat(nginx={"stubstatus": {"active": 1, "hostname": "n:80"}}), {"nginx.stubstatus.active": 1.0}),
    (beat(windows={"perfmon": {"processor": {"pct": 0.5}, "instance": "C:"}}),
     {'windows.perfmon.processor.pct{instance="C:"}': 0.5}),
    (beat(host="a", system={"load": {"1": 2}}), {"system.cpu.load_average.1m": 2.0}),
    ({"@timestamp": "2026-11-21T00:00:00Z", "metricset": {"name": "load"}, "host.name": "a", "system.load.1": 2},
     {"system.cpu.load_average.1m": 2.0}),
])  # fmt: skip
def test_any_module_of_metricbeat_is_measured(event: dict[str, Any], wanted: dict[str, float]) -> None:
    assert said(event) == ({"a": wanted}, [])


@pytest.mark.parametrize(("one", "other"), [
    ({"system": {"core": {"id": 0, "user": {"pct": 0.1}}}}, {"system": {"core": {"id": 1, "user": {"pct": 0.2}}}}),
    ({"system": {"process": {"pid": 7, "fd": {"open": 1}}}}, {"system": {"process": {"pid": 8, "fd": {"open": 2}}}}),
    ({"kafka": {"partition": {"id": 0, "offset": 1}, "topic": {"name": "a"}}},
     {"kafka": {"partition": {"id": 1, "offset": 1}, "topic": {"name": "a"}}}),
    ({"prometheus": {"labels": {"job": "a"}, "metrics": {"up": 1}}},
     {"prometheus": {"labels": {"job": "b"}, "metrics": {"up": 1}}}),
    ({"kubernetes": {"namespace": "a", "pod": {"name": "x", "cpu": 1}}},
     {"kubernetes": {"namespace": "b", "pod": {"name": "x", "cpu": 1}}}),
])  # fmt: skip
def test_two_things_of_one_module_are_two_series(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = (said(beat(**parts))[0]["a"].keys() for parts in (one, other))
    assert first
    assert not first & second


@pytest.mark.parametrize(("host", "entity"), [
    (None, "key"), ({"hostname": "h"}, "h"), ({"name": None}, "key"), ("", "key"), ("b", "b"), ({}, "key"),
])  # fmt: skip
def test_an_event_of_no_host_is_of_its_key(host: Any, entity: str) -> None:
    assert said(beat(host=host, redis={"x": 1})) == ({entity: {"redis.x": 1.0}}, [])


@pytest.mark.parametrize(("line", "wanted"), [
    (b'm,host=a x=1,text="two\nlines" 1795238437267000000', {"m.x": 1.0}),
    (b'm,host=a text="5\\" of disk",x=1 1795238437267000000', {"m.x": 1.0}),
    (b"m,host=a,size=5\" x=1 1795238437267000000", {'m.x{size="5\\""}': 1.0}),
    (b"m,host=a x=1", {"m.x": 1.0}),
    (b"m,host=a  x=1  1795238437267000000", {"m.x": 1.0}),
    (b"m,host=a,path=C:\\Temp x=1 1795238437267000000", {'m.x{path="C:\\\\Temp"}': 1.0}),
    (b'm,host=a text="ends with \\\\",x=1 1795238437267000000', {"m.x": 1.0}),
    (b"\xef\xbb\xbfm,host=a x=1 1795238437267000000", {"m.x": 1.0}),
    (b"my\\ m,host=a,k\\=1=v\\,2 x=1i,y=2u,z=-1.5e-3 1795238437267000000\r\n# no more",
     {'my m.x{k=1="v,2"}': 1.0, 'my m.y{k=1="v,2"}': 2.0, 'my m.z{k=1="v,2"}': -0.0015}),
])  # fmt: skip
def test_a_line_is_read_as_the_line_protocol_says(line: bytes, wanted: dict[str, float]) -> None:
    assert said(line, "influx") == ({"a": wanted}, [])


@pytest.mark.parametrize("bad", [b"m,host=a y=1_000 1795238437267000000", b"m,host=a y=\xff 1795238437267000000",
                                 b"m,host=\xff y=1", b"m y", b",host=a y=1", b"m,host=a y=1,",
                                 b"m,host=a y=2.5i", b"m,host=a y=0x10", b"m,host=a y= 1",
                                 b"m,host=a y=yes",
                                 b'm,host=a y="open'])  # fmt: skip
def test_a_bad_line_is_refused_alone(bad: bytes) -> None:
    line = b"m,host=a x=1 1795238437267000000"
    samples, refused = said(
        line + b"\n" + bad + (b"" if b"open" in bad else b"\n" + line.replace(b"x", b"z")), "influx"
    )
    assert samples["a"].keys() == {"m.x", *(["m.z"] if b"open" not in bad else [])}
    assert len(refused) == 1


def test_a_field_that_is_no_number_is_refused_alone() -> None:
    assert said(b"m,host=a x=1,y=1_000 1795238437267000000", "influx")[0] == {"a": {"m.x": 1.0}}


def vector(**parts: Any) -> dict[str, Any]:
    return {"name": "lat", "tags": {"host": "a"}, "timestamp": "2026-11-21T00:00:00Z", "kind": "incremental", **parts}


BUCKETS = {"buckets": [{"upper_limit": 1.0, "count": 10}, {"upper_limit": 2.0, "count": 10},
                       {"upper_limit": None, "count": 0}],
           "count": 20, "sum": 15.0}  # fmt: skip


@pytest.mark.parametrize(("event", "wanted"), [
    (vector(aggregated_histogram=BUCKETS), {"lat.p50": 1.0, "lat.p95": 1.9, "lat.p99": 1.98, "lat.mean": 0.75}),
    (vector(aggregated_histogram=BUCKETS, kind="absolute"),
     {'lat_bucket{le="1"}': 10.0, 'lat_bucket{le="2"}': 20.0, 'lat_bucket{le="+Inf"}': 20.0,
      'lat_bucket{le="sum"}': 15.0}),
    (vector(aggregated_summary={"quantiles": [{"quantile": 0.5, "value": 3.0}], "count": 4, "sum": 8.0}),
     {"lat.p50": 3.0, "lat.mean": 2.0}),
    (vector(sketch={"sketch": {"AgentDDSketch": {"bins": {"k": [], "n": []}, "count": 4, "min": 1, "max": 3, "sum": 8.0,
                                                 "avg": 2}}}),
     {"lat.mean": 2.0}),
    (vector(distribution={"samples": [{"value": 1.0, "rate": 3}, {"value": 5.0, "rate": 1}], "statistic": "histogram"}),
     {"lat.mean": 2.0, "lat.p50": 1.0, "lat.p95": 5.0, "lat.p99": 5.0}),
    (vector(counter={"value": 50.0}, kind="absolute"), {"lat_total": 50.0}),
    (vector(counter={"value": 50.0}, interval_ms=10_000), {"lat.rate": 5.0}),
    (vector(gauge={"value": 5.0}, tags={"host": "a", "none": None, "list": ["x", "y"]}), {'lat{list="x,y"}': 5.0}),
])  # fmt: skip
def test_each_type_of_vector_is_measured_under_a_clean_name(event: dict[str, Any], wanted: dict[str, float]) -> None:
    samples, refused = said(event)
    assert not refused
    assert samples["a"] == pytest.approx(wanted)


@pytest.mark.parametrize(("event", "wanted"), [
    (vector(distribution={"samples": [], "statistic": "histogram"}), {}),
    (vector(distribution={"samples": [], "statistic": "summary"}, interval_ms=1_000), {"a": {"lat.rate": 0.0}}),
    (vector(aggregated_histogram={"buckets": [], "count": 3, "sum": None}), {}),
    (vector(gauge={"value": 1.0}, tags=None), {"key": {"lat": 1.0}}),
    (vector(gauge={"value": 1.0}, namespace=None, timestamp=NOW / 1000), {"a": {"lat": 1.0}}),
])  # fmt: skip
def test_what_vector_has_not_measured_is_no_error(event: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert said(event) == (wanted, [])


def test_what_has_no_time_is_of_when_it_arrived() -> None:
    without = vector(gauge={"value": 5.0}, timestamp=None)
    for value in (without, b"m,host=a x=1"):
        text = value if isinstance(value, bytes) else orjson.dumps(value)
        (sample,) = Rekey(lambda _: "auto").step([Raw("t", 0, 0, b"k", text, (), NOW - 5)], NOW)
        assert isinstance(sample, Sample)
        assert sample.ts == NOW - 5
        assert native.read(text, b"k", arrived=NOW - 5) == [
            Sampled("a", NOW - 5, {"lat": 5.0} if text[:1] == b"{" else {"m.x": 1.0})
        ]
        with pytest.raises(DecodeError, match="no time"):
            native.read(text, b"k")


# --- F15 --------------------------------------------------------------------------------------------------------------


def test_a_producer_s_clock_that_is_days_behind_refuses_no_fresh_sample() -> None:
    line = b"m,host=a x=1 1795238437267000000"
    assert said(line, "influx", arrived=NOW - 3 * 86_400_000, now=NOW + 100) == ({"a": {"m.x": 1.0}}, [])
    _, refused = said(line, "influx", arrived=NOW, now=NOW - 700_000)
    assert [cause for cause, _ in refused] == [Cause.TIMESTAMP]


def test_samples_are_stamped_by_the_broker_when_they_arrive() -> None:
    assert METRICS.config["message.timestamp.type"] == "LogAppendTime"
