"""What is refused, and with which cause; what a newer or a poisoned record may not do."""

from __future__ import annotations

from types import ModuleType

import msgspec
import msgspec.json
import msgspec.msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW, SAMPLES, SymptomKind, decision, incident, sample
from topics.catalog import ALL, BY_NAME
from topics.codec import (
    MAX_RECORD_BYTES,
    Cause,
    DeadLetter,
    DecodeError,
    decode,
    decode_value,
    encode,
    message_id,
    misplaced,
)  # fmt: skip
from topics.decisions import DecisionState
from topics.incidents import INCIDENTS
from topics.settings import SETTINGS
from topics.spec import Origin, Raw, Topic
from topics.state import LOOP_STATE
from topics.telemetry import EVENTS, Event

SETTING = encode(SAMPLES[SETTINGS.name]).value


def forms(topic: Topic) -> list[ModuleType]:
    """In which forms its records are read: as they were written once, and as they are."""
    return [msgspec.json, msgspec.msgpack] if topic.packed else [msgspec.json]


def raw(value: bytes | None, topic: str = SETTINGS.name) -> Raw:
    return Raw(topic, 1, 7, b"key", value, (("a", b"b"),))


def edited(**fields: object) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(SETTING) | fields)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (None, Cause.EMPTY),
        (b"", Cause.EMPTY),
        (b"x" * (MAX_RECORD_BYTES + 1), Cause.OVERSIZED),
        (b"\x00\xff\xfe", Cause.MALFORMED),
        (SETTING[:-5], Cause.MALFORMED),
        (b'{"x":' + b"[" * 1_500, Cause.MALFORMED),
        (b'{"name":"\xff"}', Cause.MALFORMED),
        (edited().replace(b"1700000000000", b"NaN"), Cause.MALFORMED),
        (b"[]", Cause.WRONG_TYPE),
        (b"{}", Cause.WRONG_TYPE),
        (edited(ts="yesterday"), Cause.WRONG_TYPE),
        (edited(ts=-1), Cause.WRONG_TYPE),
        (edited(ts=NOW * 1_000_000), Cause.WRONG_TYPE),
        (edited().replace(b"1700000000000", b"9" * 40), Cause.WRONG_TYPE),
        (edited(v=3), Cause.VERSION),
        (edited(v=2, ts={"seconds": 5}), Cause.VERSION),
        (edited(v="two"), Cause.WRONG_TYPE),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_read_is_refused_with_its_cause(value: bytes | None, cause: Cause) -> None:
    with pytest.raises(DecodeError) as refused:
        decode(raw(value))
    assert refused.value.cause is cause
    assert refused.value.detail
    assert str(cause) in str(refused.value)


def test_a_topic_that_nobody_knows_is_a_cause_too() -> None:
    with pytest.raises(DecodeError) as refused:
        decode(raw(SETTING, "somebody.elses"))
    assert refused.value.cause is Cause.UNKNOWN_TOPIC


def test_a_newer_version_is_told_to_be_an_upgrade_away_even_when_its_shape_is_another() -> None:
    with pytest.raises(DecodeError, match="version 2 is newer than 1: upgrade this worker"):
        decode(raw(edited(v=2, ts={"seconds": 5})))


@pytest.mark.parametrize("topic", ALL, ids=lambda topic: topic.name)
def test_fields_that_a_later_version_adds_are_passed_over(topic: Topic) -> None:
    record = SAMPLES[topic.name]
    for form in forms(topic):
        fields = form.decode(form.encode(record)) | {"added_later": [1, {"a": None}]}
        assert decode_value(topic, form.encode(fields)) == record


@pytest.mark.parametrize("form", forms(LOOP_STATE), ids=lambda form: form.__name__)
def test_a_newer_snapshot_is_told_to_be_an_upgrade_away_in_both_its_forms(form: ModuleType) -> None:
    fields = form.decode(form.encode(SAMPLES[LOOP_STATE.name]))
    for newer in (fields | {"v": 2}, fields | {"v": 2, "state": {}}):
        with pytest.raises(DecodeError, match="version 2 is newer than 1: upgrade this worker"):
            decode_value(LOOP_STATE, form.encode(newer))


@pytest.mark.parametrize("topic", ALL, ids=lambda topic: topic.name)
def test_no_number_decodes_that_a_snapshot_or_a_header_could_not_hold(topic: Topic) -> None:
    fields = msgspec.json.decode(msgspec.json.encode(SAMPLES[topic.name]))
    for name in [name for name, value in fields.items() if type(value) is int]:
        value = msgspec.json.encode(fields | {name: "?"}).replace(b'"?"', b"1" + b"0" * 30)
        with pytest.raises(DecodeError) as refused:
            decode_value(topic, value)
        assert refused.value.cause is Cause.WRONG_TYPE


@given(st.binary(max_size=300))
def test_random_bytes_are_a_record_or_a_refusal_and_never_another_error(value: bytes) -> None:
    for topic in ALL:
        try:
            assert decode_value(topic, value) is not None
        except DecodeError as refused:
            assert refused.cause in (Cause.EMPTY, Cause.MALFORMED, Cause.WRONG_TYPE)  # noqa: PT017


def test_a_snapshot_may_be_larger_than_a_record_of_the_loop() -> None:
    large = msgspec.structs.replace(SAMPLES[LOOP_STATE.name], state=b"x" * 2_000_000)  # type: ignore[arg-type]
    assert decode_value(LOOP_STATE, encode(large, LOOP_STATE).value) == large


def test_a_dead_letter_keeps_the_message_and_says_where_it_was_and_why_it_was_refused() -> None:
    message = raw(b"\xff" * 10)
    letter = DeadLetter(message, Cause.MALFORMED, "é" * 1_000)
    assert letter.topic == "opsloop.settings.dlq"
    assert letter.raw is message
    headers = dict(letter.headers)
    assert headers["a"] == b"b"
    assert headers["dlq_cause"] == b"malformed"
    assert headers["dlq_origin"] == b"opsloop.settings-1-7"
    assert headers["dlq_detail"].decode() == "é" * 300


def test_a_repeat_has_the_same_message_id_and_the_next_state_another() -> None:
    states = [
        incident(), incident(seq=1, step="revise"), incident(seq=2, step="act"),
        sample("shop/catalog/0", NOW), sample("shop/catalog/0", NOW + 200, id=sample("shop/catalog/0", NOW).id),
        decision(DecisionState.PENDING), decision(DecisionState.PENDING, seq=1),
        *(SAMPLES[name] for name in ("opsloop.proposals", "opsloop.settings", "opsloop.actions.results")),
        Event(entity="shop/a", ts=NOW, kind="log", text="one"), Event(entity="shop/b", ts=NOW, kind="log", text="one"),
    ]  # fmt: skip
    ids = [message_id(s, encode(s).value) for s in states]
    assert len(set(ids)) == len(ids)
    assert ids == [message_id(s, encode(s).value) for s in states]


def test_where_a_record_stood_comes_with_it() -> None:
    read = decode(Raw(INCIDENTS.name, 3, 99, None, encode(incident()).value, (), 12))
    assert (read.origin, read.arrived) == (Origin(INCIDENTS.name, 3, 99), 12)
    assert decode(Raw(EVENTS.name, 0, 0, None, encode(SAMPLES[EVENTS.name]).value)).arrived == 0


def test_a_symptom_is_a_plain_word() -> None:
    for text in (b'"So sad"', b'""', b'"\\u001b[31m"', b'"' + b"x" * 65 + b'"'):
        with pytest.raises(DecodeError, match="Invalid enum value"):
            decode_value(INCIDENTS, encode(incident()).value.replace(b'"down"', text))
    assert BY_NAME[INCIDENTS.name] is INCIDENTS
    assert SymptomKind("down") is SymptomKind.DOWN


def test_decoding_looks_at_the_shape_of_a_record_once_and_not_for_every_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = [encode(record, BY_NAME[name]) for name, record in SAMPLES.items()]
    for message in messages:
        decode_value(message.topic, message.value)
    monkeypatch.setattr(msgspec.structs, "fields", None)  # evaluates annotations: a millisecond
    for message in messages:
        decode_value(message.topic, message.value)


@pytest.mark.parametrize(
    ("key", "told"), [(b"main", ""), (b"shop", "has the key 'shop', which is 'main'"), (None, "''")]
)
def test_a_record_under_another_key_than_ours_is_misplaced(key: bytes | None, told: str) -> None:
    record = SAMPLES["opsloop.incidents"]
    raw = Raw("opsloop.incidents", 0, 7, key, encode(record).value)
    assert told in (found := misplaced(raw, record))
    assert bool(found) is bool(told)


def test_what_is_written_to_every_partition_is_misplaced_nowhere() -> None:
    record = SAMPLES["opsloop.settings"]
    assert misplaced(Raw("opsloop.settings", 0, 7, b"another", encode(record).value), record) == ""
