"""Other agents' messages become samples and events under the entity's key; what cannot is refused alone."""

from __future__ import annotations

import orjson
import pytest

from agents.decode import chunk_of
from agents.rekey import Rekey
from topics.codec import Cause, DeadLetter, encode
from topics.formats import foreign
from topics.formats.foreign import MOST_METRICS
from topics.spec import Raw, Record
from topics.telemetry import METRICS, Event, Sample

NOW = 1_795_238_437_267
LINE = b"cpu,host=web-1 usage_idle=50 1795238437267000000"
TELEGRAF = b'{"fields":{"a":1},"name":"app","tags":{"host":"web-1"},"timestamp":1795238437}'
LOUD = (
    b'{"@timestamp":"2026-11-21T00:00:00Z","host":"web-1","severity":"%s","program":"kernel","message":"disk\\nfull"}'
)


def raw(value: bytes | None, offset: int = 0, content_type: bytes = b"", topic: str = "theirs") -> Raw:
    headers = (("Content-Type", content_type),) if content_type else ()
    return Raw(topic, 5, offset, b"\x8f", value, headers, NOW)


def said(*raws: Raw, format: str = "auto", rekey: Rekey | None = None) -> list[Record | DeadLetter]:
    return list((rekey or Rekey(lambda _: format)).step(raws, NOW))


def letter(*raws: Raw, format: str = "auto") -> DeadLetter:
    (found,) = said(*raws, format=format)
    assert isinstance(found, DeadLetter)
    return found


def test_measurements_of_one_entity_and_time_are_one_sample_under_its_key() -> None:
    value = orjson.dumps([
        {"values": [v], "dsnames": [ds], "time": NOW / 1000, "host": host, "plugin": "load", "plugin_instance": "",
         "type": "load", "type_instance": ""}
        for host, ds, v in (("web-1", "shortterm", 1), ("web-2", "shortterm", 2), ("web-1", "midterm", 3))
    ])  # fmt: skip
    one, two = said(raw(value))
    load = "system.cpu.load_average"
    assert one == Sample(entity="web-1", ts=NOW, metrics={f"{load}.1m": 1, f"{load}.5m": 3})
    assert two == Sample(entity="web-2", ts=NOW, metrics={f"{load}.1m": 2})
    assert [encode(each).key for each in (one, two)] == [b"web-1", b"web-2"]


def test_a_topic_is_sniffed_once_for_each_content_type() -> None:
    rekey = Rekey(lambda _: "auto")
    (_,) = said(raw(b"\xff\xff"), rekey=rekey)  # what cannot be read decides nothing
    first, second = said(raw(LINE), raw(TELEGRAF), rekey=rekey)
    assert isinstance(first, Sample)
    assert isinstance(second, DeadLetter)
    assert "the topic holds influx" in second.detail
    (other,) = said(raw(TELEGRAF, content_type=b"application/json"), rekey=rekey)
    assert isinstance(other, Sample)
    (elsewhere,) = said(raw(TELEGRAF, topic="another"), rekey=rekey)
    assert isinstance(elsewhere, Sample)


def test_a_mixed_topic_is_asked_message_by_message_and_a_chosen_one_never() -> None:
    assert all(isinstance(each, Sample) for each in said(raw(LINE), raw(TELEGRAF), raw(LINE), format="mixed"))
    assert letter(raw(TELEGRAF), format="influx").cause is Cause.MALFORMED
    assert letter(raw(LINE), format="opsloop").cause is Cause.WRONG_TYPE


def test_our_own_samples_under_another_key_get_theirs_and_controls_do_not_pass() -> None:
    ours = Sample(entity="web-1", ts=NOW, metrics={"a": 1.0})
    assert said(raw(encode(ours).value)) == [ours]
    control = b'{"entity":"web-1","ts":1795238437267,"learning":"open","incident":"i"}'
    assert letter(raw(control)).cause is Cause.WRONG_TYPE, "who may write there does not decide what is learned"


@pytest.mark.parametrize(("severity", "events"), [
    *((loud, 1) for loud in (
        b"err", b"emerg", b"warning", b"critical", b"SEVERE", b"3", b"FATAL", b"panic", b"Warn", b"E", b"0", b"ERROR2",
        b"[error]", b"emergency")),
    *((quiet, 0) for quiet in (b"info", b"6", b"NOTICE", b"DEBUG5", b"Information", b"LOG", b"", b"30", b"whatever")),
])  # fmt: skip
def test_loud_lines_of_a_log_become_events(severity: bytes, events: int) -> None:
    found = said(raw(LOUD % severity))
    assert len(found) == events
    for event in found:
        assert isinstance(event, Event)
        assert (event.entity, event.kind) == ("web-1", "log")
        assert event.text == f"{severity.decode()}: kernel: disk full"


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (None, Cause.EMPTY), (b"", Cause.EMPTY), (b"x" * 1_000_001, Cause.OVERSIZED), (b"{", Cause.MALFORMED),
        (b"[" * 1_500, Cause.MALFORMED), (b'{"a":1}', Cause.WRONG_TYPE),
        (b"a,host=b c=nan 1795238437267000000", Cause.NOT_FINITE),
        (b"a,host=b c=1e308 1795238437267000000", Cause.NOT_FINITE), (b"a,host=b c=1 5", Cause.TIMESTAMP),
        (b"a,host=b c=1 1895238437267000000", Cause.TIMESTAMP), (LOUD.replace(b"2026", b"2036"), Cause.TIMESTAMP),
        (b"a,host=" + b"b" * 300 + b" c=1 1795238437267000000", Cause.WRONG_TYPE),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused_alone_beside_the_metrics_with_its_place(
    value: bytes | None, cause: Cause
) -> None:
    before, refused, after = said(raw(TELEGRAF, 1), raw(value, 2), raw(TELEGRAF, 3), format="mixed")
    assert isinstance(before, Sample)
    assert isinstance(after, Sample)
    assert isinstance(refused, DeadLetter)
    assert (refused.topic, refused.cause, refused.raw.value) == (METRICS.dlq, cause, value)
    assert dict(refused.headers)["dlq_origin"] == b"theirs-5-2"


@pytest.mark.parametrize(("bad", "cause"), [(b"not a line", Cause.MALFORMED), (b"cpu,host=b x=1 5", Cause.TIMESTAMP)])
def test_a_bad_part_of_a_message_is_refused_alone_with_its_cause(bad: bytes, cause: Cause) -> None:
    sample, refused = said(raw(LINE + b"\n" + bad + b"\n" + LINE.replace(b"host=", b"host=other")))[:2], None
    assert all(isinstance(each, Sample) for each in sample)
    refused = said(raw(LINE + b"\n" + bad))[1]
    assert isinstance(refused, DeadLetter)
    assert refused.cause is cause


def test_however_much_is_in_a_message_no_sample_of_it_is_too_large_for_its_topic() -> None:
    fields = b",".join(b"%d%s=1" % (n, b"\xf0\x9f\x90\x98" * 100) for n in range(2_000))
    found = said(raw(b"m,host=web-1 " + fields + b" 1795238437267000000"))
    assert len(found) == 2_000 / MOST_METRICS
    assert all(isinstance(each, Sample) and len(encode(each).value) < 1_000_000 for each in found)


def test_of_a_monstrous_message_the_beginning_is_kept() -> None:
    refused = letter(raw(b"x" * 20_000_000))
    assert refused.raw.value == b"x" * 5_000_000
    assert "20000000 bytes" in refused.detail
    assert "first 5000000" in refused.detail


def test_a_chunk_of_the_client_is_taken_like_a_list() -> None:
    (sample,) = Rekey(lambda _: "telegraf").step(chunk_of([raw(TELEGRAF)]), NOW)
    assert isinstance(sample, Sample)


def test_only_so_many_topics_are_remembered_and_the_one_not_read_for_longest_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(foreign, "MOST_RECOGNISED", 3)
    rekey = Rekey(lambda _: "auto")
    for topic in ("a", "b", "c", "a", "d"):
        said(raw(LINE, topic=topic), rekey=rekey)
    assert [topic for topic, _ in rekey.reader._recognised] == ["c", "a", "d"]
