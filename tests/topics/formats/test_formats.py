"""What agents already put on Kafka, in the exact form they put it, and every damage to it."""

from __future__ import annotations

import base64
import struct

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.decode import Decode, chunk_of
from agents.rekey import Rekey
from topics.batch import Batch
from topics.codec import Cause, DeadLetter, DecodeError
from topics.formats import content_of
from topics.formats import read as read_content
from topics.formats.names import Logged, Sampled
from topics.spec import Raw
from topics.telemetry import METRICS, Event


def read(value: bytes, key: bytes | None) -> list[Sampled | Logged]:
    return read_content(content_of(value), key)


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field: bytes are length-delimited, ints are varints below 128."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    assert len(value) < 2**14
    size = bytes([len(value)]) if len(value) < 128 else bytes([len(value) & 0x7F | 0x80, len(value) >> 7])
    return bytes([number << 3 | 2]) + size + value


def attribute(key: str, value: str) -> bytes:
    return field(1, key.encode()) + field(2, field(1, value.encode()))


def fixed(number: int, packed: bytes) -> bytes:
    return bytes([number << 3 | 1]) + packed


NS = 1_717_000_000_000_000_000
POINT = fixed(3, struct.pack("<Q", NS)) + fixed(4, struct.pack("<d", 0.25)) + field(7, attribute("cpu", "cpu0"))
METRIC = field(1, b"system.cpu.utilization") + field(5, field(1, POINT))
RESOURCE = field(1, field(1, attribute("host.name", "web-1")))
OTLP = field(1, RESOURCE + field(2, field(2, METRIC)))

# requests as the Python library of OpenTelemetry writes them (opentelemetry-proto 1.x)
LOGS = base64.b64decode(
    "CuoBCi4KFgoMc2VydmljZS5uYW1lEgYKBHNob3AKFAoJaG9zdC5uYW1lEgcKBXdlYi0xEpUBCgcKBW5naW54EmEJAIBYJ2cC1BcQERoFRVJST1"
    "IqDgoMbm8gc3VjaCBmaWxlMhMKBGNvZGUSCxj5//////////8BRQEAAABKEHR0dHR0dHR0dHR0dHR0dHRSCHNzc3Nzc3NzWQWAWCdnAtQXEicQ"
    "CSoaMhgKFgoBbhIRKg8KCSEAAAAAAADgPwoCEAFZAIBYJ2cC1BcSIBIeCQCAWCdnAtQXGgVmYXRhbGIMZGV2aWNlLmNyYXNo"
)
MEASURES = base64.b64decode(
    "CpwBChYKFAoJaG9zdC5uYW1lEgcKBXdlYi0xEoEBEjkKDHF1ZXVlLmxlbmd0aBIBZBoBMTojCh8ZAIBYJ2cC1Bcx/f////////86CwoFcXVldW"
    "USAhgEEAISRAoEdG9vaxoBc0o5CjcZAIBYJ2cC1BchBAAAAAAAAAApAAAAAAAAGEAyEAEAAAAAAAAAAwAAAAAAAAA6CAAAAAAAAPA/"
)
SPANS = base64.b64decode(
    "ClEKFgoUCglob3N0Lm5hbWUSBwoFd2ViLTESNxI1ChB0dHR0dHR0dHR0dHR0dHR0Eghzc3Nzc3NzcyoFR0VUIC85AIBYJ2cC1BdBAYBYJ2cC1Bc="
)
LINES: list[Sampled | Logged] = [
    Logged("web-1", 1717000000000, "err", "nginx: no such file"),
    Logged("web-1", 1717000000000, "info", 'nginx: {"n":[0.5,true]}'),
    Logged("web-1", 1717000000000, "crit", "device.crash"),
]

EXAMPLES: dict[str, tuple[bytes, list[Sampled | Logged]]] = {
    "telegraf json": (
        b'{"fields":{"usage_idle":91.5},"name":"cpu","tags":{"host":"web-1"},"timestamp":1458229140}',
        [Sampled("web-1", 1458229140000, {"system.cpu.utilization.idle": 0.915})],
    ),
    "telegraf json batch": (
        b'{"metrics":[{"fields":{"used_percent":50},"name":"mem","tags":{"host":"web-1"},"timestamp":1458229140},'
        b'{"fields":{"load1":2},"name":"system","tags":{"host":"web-2"},"timestamp":1458229140}]}',
        [Sampled("web-1", 1458229140000, {"system.memory.utilization": 0.5}),
         Sampled("web-2", 1458229140000, {"system.cpu.load_average.1m": 2.0})],
    ),
    "influx line": (
        b"cpu,host=web01,cpu=cpu0 usage_idle=92.5 1717000000000000000",
        [Sampled("web01", 1717000000000, {'system.cpu.utilization.idle{cpu="cpu0"}': 0.925})],
    ),
    "influx lines with text, integers and spaces": (
        b'disk,host=a\\ b,path=/ used_percent=50,free=7i,label="x, y=1 z" 1717000000000000000\n'
        b"ok,host=c up=true 1717000000000000000",
        [Sampled("a b", 1717000000000, {'system.filesystem.utilization{path="/"}': 0.5,
                              'system.filesystem.usage.free{path="/"}': 7.0}),
         Sampled("c", 1717000000000, {"ok.up": 1.0})],
    ),
    "vector": (
        b'{"name":"foos","namespace":"vector","tags":{"k":"v"},"timestamp":"2018-11-14T08:09:10.000000011Z",'
        b'"kind":"incremental","counter":{"value":100.0}}',
        [Sampled("key", 1542182950000, {'vector.foos{k="v"}': 100.0})],
    ),
    "fluent bit": (
        b'{"@timestamp":1452185189.0,"cpu_p":7.0,"user_p":5.0}',
        [Sampled("key", 1452185189000, {"system.cpu.utilization": 0.07, "system.cpu.utilization.user": 0.05})],
    ),
    "prometheus-kafka-adapter": (
        b'{"timestamp":"2024-01-01T00:00:00Z","value":"9876543210","name":"up","labels":{"__name__":"up","instance":"a:1"}}',
        [Sampled("a:1", 1704067200000, {"up": 9876543210.0})],
    ),
    "collectd": (
        b'[{"values":[4.94],"dstypes":["gauge"],"dsnames":["shortterm"],"time":1795238437.267,"interval":1.0,"host":"web-1",'
        b'"plugin":"load","plugin_instance":"","type":"load","type_instance":""}]',
        [Sampled("web-1", 1795238437267, {"system.cpu.load_average.1m": 4.94})],
    ),
    "metricbeat": (
        b'{"@timestamp":"2024-01-01T00:00:00.123Z","metricset":{"name":"cpu"},"host":{"name":"web-1"},'
        b'"system":{"cpu":{"total":{"norm":{"pct":0.25}},"cores":4}}}',
        [Sampled("web-1", 1704067200123, {"system.cpu.utilization": 0.25, "system.cpu.cores": 4.0})],
    ),
    "rsyslog": (
        b'{"@timestamp":"2024-01-01T00:00:00.5Z","host":"web-1","severity":"err","facility":"user","program":"nginx",'
        b'"message":" no such file"}',
        [Logged("web-1", 1704067200500, "err", "nginx: no such file")],
    ),
    "otlp protobuf": (OTLP, [Sampled("web-1", 1717000000000, {'system.cpu.utilization{cpu="cpu0"}': 0.25})]),
    "otlp protobuf of a library": (
        MEASURES, [Sampled("web-1", 1717000000000, {
            'queue.length{queue="4"}': -3.0, 'took_bucket{le="1"}': 1.0, 'took_bucket{le="+Inf"}': 4.0,
            'took_bucket{le="sum"}': 6.0,
        })],
    ),
    "otlp logs protobuf": (LOGS, LINES),
    "otlp logs json": (
        orjson.dumps({"resourceLogs": [{
            "resource": {"attributes": [{"key": "host.name", "value": {"stringValue": "web-1"}}]},
            "scopeLogs": [
                {"scope": {"name": "nginx"}, "logRecords": [
                    {"timeUnixNano": str(NS), "severityNumber": 17, "severityText": "ERROR",
                     "body": {"stringValue": "no such file"}},
                    {"observedTimeUnixNano": str(NS), "severityNumber": "SEVERITY_NUMBER_INFO2",
                     "body": {"kvlistValue": {"values": [{"key": "n", "value": {"arrayValue": {"values": [
                         {"doubleValue": 0.5}, {"boolValue": True}]}}}]}}}]},
                {"logRecords": [{"timeUnixNano": str(NS), "severityText": "fatal", "eventName": "device.crash"}]},
            ],
        }]}),
        LINES,
    ),
    "otlp json": (
        orjson.dumps({"resourceMetrics": [{
            "resource": {"attributes": [{"key": "host.name", "value": {"stringValue": "web-1"}}]},
            "scopeMetrics": [{"metrics": [
                {"name": "m.gauge", "gauge": {"dataPoints": [{"timeUnixNano": str(NS), "asInt": "7"}]}},
                {"name": "m.time", "histogram": {"dataPoints": [{"timeUnixNano": str(NS), "sum": 6.0, "count": "4"}]}},
            ]}],
        }]}),
        [Sampled("web-1", 1717000000000, {
            "m.gauge": 7.0, 'm.time_bucket{le="+Inf"}': 4.0, 'm.time_bucket{le="sum"}': 6.0,
        })],
    ),
}  # fmt: skip
by_format = pytest.mark.parametrize("name", EXAMPLES)
SAMPLES = [name for name, (_, found) in EXAMPLES.items() if not isinstance(found[0], Logged)]


@by_format
def test_a_record_of_each_agent_becomes_its_measurements(name: str) -> None:
    value, wanted = EXAMPLES[name]
    assert read(value, b"key") == wanted


@pytest.mark.parametrize("name", SAMPLES)
def test_the_decoder_takes_it_beside_our_own(name: str) -> None:
    value, wanted = EXAMPLES[name]
    late = 1_800_000_000_000
    ours = orjson.dumps({"entity": "e", "ts": late, "metrics": {"x": 1}})
    raws = [Raw(METRICS.name, 0, at, b"key", v, (), late) for at, v in enumerate((ours, value, ours))]
    found = list(Decode().step(chunk_of(raws), 0))
    assert all(isinstance(each, Batch) for each in found)
    some = [each for each in wanted if isinstance(each, Sampled)]
    assert [at for batch in found for at in batch.offset.tolist()] == [0, *[1] * len(some), 2]


@pytest.mark.parametrize("value", [
    b'{"hello":1}', b"{}", b"[]", b"cpu", b"cpu usage", b"\x0a", b"\x0a\xff", b"[[1]]",
])  # fmt: skip
def test_what_is_no_measurement_is_refused_with_a_cause(value: bytes) -> None:
    with pytest.raises(DecodeError):
        read(value, None)


@pytest.mark.parametrize("value", [SPANS, b'{"resourceSpans":[]}'])
def test_traces_are_refused_in_words(value: bytes) -> None:
    with pytest.raises(DecodeError, match="spans of traces") as refused:
        read(value, None)
    assert refused.value.cause == Cause.WRONG_TYPE


@pytest.mark.parametrize("name", ["otlp logs protobuf", "otlp logs json"])
def test_lines_of_a_log_are_events_of_their_host_and_no_samples(name: str) -> None:
    sent = Raw("logs", 0, 7, None, EXAMPLES[name][0], (), 1_717_000_000_000)
    found = list(Rekey(lambda _: "auto").step([sent], 0))
    assert [(e.entity, e.kind, e.text) for e in found if isinstance(e, Event) and e.facts is None] == [
        ("web-1", "log", "err: nginx: no such file"), ("web-1", "log", "crit: device.crash"),
    ]  # fmt: skip
    assert all(isinstance(each, Event) for each in found)
    letter = next(each for each in Decode().step(chunk_of([sent]), 0) if not isinstance(each, Event))
    assert isinstance(letter, DeadLetter)
    assert "topic of their own" in letter.detail


QUIET = {
    "a rate that is not known yet": b'[{"values":[null],"dsnames":["value"],"time":1795238437,"host":"a",'
    b'"plugin":"cpu","plugin_instance":"0","type":"cpu","type_instance":"user"}]',
    "a text alone": b'{"fields":{"uptime_format":"1 day"},"name":"system","tags":{"host":"a"},"timestamp":1458229140}',
    "a line with a text alone": b'ok,host=c version="1.2" 1717000000000000000',
    "a stale marker": b'{"resourceMetrics":[{"resource":{},"scopeMetrics":[{"metrics":[{"name":"up","gauge":'
    b'{"dataPoints":[{"timeUnixNano":"1717000000000000000","flags":1}]}}]}]}]}',
}


@pytest.mark.parametrize("what", QUIET)
def test_a_sound_message_without_a_number_is_no_poison(what: str) -> None:
    assert read(QUIET[what], b"k") == []
    assert list(Decode().step(chunk_of([Raw(METRICS.name, 0, 0, b"k", QUIET[what], (), 0)]), 0)) == []


@given(st.binary(max_size=300))
@settings(max_examples=400, deadline=None)
def test_random_bytes_are_refused_or_read_but_never_more(value: bytes) -> None:
    try:
        found = read(value, None)
    except DecodeError:
        return
    assert all(isinstance(each, Sampled | Logged) for each in found)
