"""Every damage to what agents send: nothing breaks, nothing is lost without a word, no learner is left non-finite."""

from __future__ import annotations

import functools

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from agents.rekey import Rekey
from tests.agents.test_decode import frame
from tests.topics.formats.test_formats import EXAMPLES
from topics.batch import Batch, Steer
from topics.codec import DeadLetter, DecodeError, encode
from topics.formats import READERS, native
from topics.frames import MAGIC, pack, unpack
from topics.learning import Learning
from topics.spec import Raw
from topics.telemetry import METRICS, Event, Sample

NOW = 1_795_238_437_267
REAL = {name: value for name, (value, _) in EXAMPLES.items()} | {
    "our json": orjson.dumps({"entity": "web-1", "ts": NOW, "metrics": {"cpu": 0.5, "load": 2}}),
    "a control": encode(Learning(entity="web-1", ts=NOW, learning="open", incident="i")).value,
    "a frame": pack(frame(ts=NOW - 10_000)),
}
# texts that decoders stumble over, put anywhere
NASTY = [
    b"NaN", b"Infinity", b"-1e999", b"1e308", b"1e12", b"9" * 400, b"null", b"true", b'"', b"\\", b"{", b"[" * 50,
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\n", b" ", b",", b"=", b"0", b"-", b'""', b"{}", b"[]", b"\x80" * 12,
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real record after one to four accidents: cut, changed, put in, taken out, doubled, joined with another."""
    value = REAL[draw(st.sampled_from(sorted(REAL)))]
    for _ in range(draw(st.integers(1, 4))):
        size = len(value)
        at, end = sorted((draw(st.integers(0, size)), draw(st.integers(0, size))))
        match draw(st.integers(0, 6)):
            case 0:
                value = value[:at]
            case 1:
                value = value[:at] + bytes([draw(st.integers(0, 255))]) + value[at + 1 :]
            case 2:
                value = value[:at] + draw(st.sampled_from(NASTY)) + value[at:]
            case 3:
                value = value[:at] + draw(st.sampled_from(NASTY)) + value[end:]
            case 4:
                value = value[:at] + value[end:]
            case 5:
                value = value[:end] + value[at:end][:2_000] + value[end:]
            case 6:
                value = value[:at] + REAL[draw(st.sampled_from(sorted(REAL)))][at:]
    return value


def raw(value: bytes, at: int) -> Raw:
    return Raw(METRICS.name, 0, at, b"key", value, (), NOW)


def was_read(value: bytes) -> bool:
    """Whether a message is sound, though nothing follows yet: a text, the first value of a counter, what is held."""
    try:
        if value.startswith(MAGIC):
            return unpack(value) is not None
        native.read(value, b"key", arrived=NOW)
    except DecodeError:
        return False
    return True


@functools.cache
def learner() -> tuple[Decode, Detect]:
    """One for all examples: what one of them spoils, a later one shows."""
    return Decode(), Detect()


@given(st.lists(damaged(), min_size=1, max_size=6))
@settings(max_examples=400, deadline=None)
def test_each_message_is_decoded_or_dead_lettered_and_the_learners_stay_finite(values: list[bytes]) -> None:
    decode, detect = learner()
    found = list(decode.step(chunk_of(raw(value, at) for at, value in enumerate(values)), NOW))
    letters = [each.raw.offset for each in found if isinstance(each, DeadLetter)]
    batches = [each for each in found if isinstance(each, Batch | Steer)]
    taken = {int(offset) for each in batches if isinstance(each, Batch) for offset in each.offset}
    assert len(letters) == len(set(letters))
    silent = set(range(len(values))) - taken - set(letters)
    assert all(was_read(values[at]) for at in silent)
    for anomaly in detect.step(batches, NOW):
        assert np.isfinite([anomaly.score, anomaly.value, anomaly.expected, anomaly.low, anomaly.high]).all()
    assert np.isfinite(detect.model.bank.series[: detect.model.bank.n_series]).all()
    assert np.isfinite(detect.model.bank.entities).all()


@given(st.lists(damaged(), min_size=1, max_size=4), st.sampled_from(["auto", "mixed", "opsloop", *sorted(READERS)]))
@settings(max_examples=400, deadline=None)
def test_whatever_stands_on_a_foreign_topic_what_follows_can_be_learned_or_is_a_letter(
    values: list[bytes], format: str
) -> None:
    rekey = Rekey(lambda _: format)
    for at, value in enumerate(values):
        for said in rekey.step([raw(value, at)], NOW):
            assert isinstance(said, Sample | Event | DeadLetter)
            if isinstance(said, DeadLetter):
                assert said.raw.offset == at
                continue
            message = encode(said)
            assert message.key
            if isinstance(said, Sample):
                sent = chunk_of([Raw(METRICS.name, 0, at, message.key, message.value, (), NOW)])
                letters = [each for each in Decode().step(sent, NOW) if isinstance(each, DeadLetter)]
                assert not letters, "what the relay lets through the lane takes"


@pytest.mark.parametrize("name", sorted(REAL))
def test_a_record_cut_anywhere_is_decoded_or_dead_lettered(name: str) -> None:
    whole = REAL[name]
    values = [whole[:at] for at in range(0, len(whole), max(1, len(whole) // 150))]
    found = list(Decode().step(chunk_of(raw(value, at) for at, value in enumerate(values)), NOW))
    letters = {each.raw.offset for each in found if isinstance(each, DeadLetter)}
    taken = {int(offset) for each in found if isinstance(each, Batch) for offset in each.offset}
    silent = set(range(len(values))) - letters - taken
    assert all(was_read(values[at]) for at in silent)
    assert len(letters) > len(values) / 2
