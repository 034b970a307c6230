"""Messages to arrays: what passes, what is refused and with which cause, and that nothing is lost in between."""

from __future__ import annotations

import struct

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.decode import Decode, chunk_of
from topics.batch import Batch, Names, Steer
from topics.codec import Cause, DeadLetter, encode
from topics.frames import Frame, FrameBuilder, pack, pack_names
from topics.learning import Learning
from topics.relayed import stamp
from topics.spec import Raw
from topics.telemetry import METRICS, Sample

NOW = 1_700_000_000_000


def raw(value: bytes | None, offset: int = 0) -> Raw:
    return Raw(METRICS.name, 0, offset, b"k", value, (), NOW)


def sample(entity: str = "web-1", ts: object = NOW, **metrics: object) -> bytes:
    return orjson.dumps({"entity": entity, "ts": ts, "metrics": metrics or {"cpu": 0.5}})


def frame(entities: int = 2, metrics: int = 3, samples: int = 4, ts: int = NOW) -> Frame:
    """`looks` samples of each of `entities`, entity after entity within a look."""
    names = pack_names(
        [f"e{e}" for e in range(entities)], [(e, f"m{m}") for e in range(entities) for m in range(metrics)]
    )
    m = entities * samples
    return Frame(
        names, ts + np.repeat(np.arange(samples, dtype=np.int64), entities),
        np.tile(np.arange(entities, dtype=np.uint32), samples),
        np.arange(0, m * metrics + 1, metrics, dtype=np.uint32),
        np.tile(np.arange(entities * metrics, dtype=np.uint32), samples), np.arange(m * metrics, dtype=np.float64),
    )  # fmt: skip


def decoded(*values: bytes | None, decode: Decode | None = None) -> list[object]:
    return list((decode or Decode()).step(chunk_of(raw(v, at) for at, v in enumerate(values)), NOW))


def only(found: list[object]) -> Batch:
    (batch,) = found
    assert isinstance(batch, Batch)
    return batch


def test_samples_become_columns_in_their_order() -> None:
    batch = only(decoded(sample(cpu=1, load=2.5), sample("web-2", cpu=3), sample(cpu=4, load=5)))
    assert batch.entity.tolist() == [0, 1, 0]
    assert batch.start.tolist() == [0, 2, 3, 5]
    assert batch.series.tolist() == [0, 1, 2, 0, 1]
    assert batch.value.tolist() == [1, 2.5, 3, 4, 5]
    assert batch.offset.tolist() == [0, 1, 2]
    assert batch.names.series[:] == [(0, "cpu"), (0, "load"), (1, "cpu")]


REFUSED = {
    "nothing": (None, Cause.EMPTY),
    "empty": (b"", Cause.EMPTY),
    "random bytes": (b"\x8f\x00\x13\xff", Cause.MALFORMED),
    "truncated": (sample()[:-9], Cause.MALFORMED),
    "deep": (b"[" * 1500, Cause.MALFORMED),
    "a list": (b"[1,2]", Cause.MALFORMED),
    "NaN": (b'{"entity":"a","ts":1700000000000,"metrics":{"x":NaN}}', Cause.NOT_FINITE),
    "1e308": (sample(x=1e308), Cause.NOT_FINITE),
    "a huge integer": (b'{"entity":"a","ts":1700000000000,"metrics":{"x":1%s}}' % (b"0" * 200), Cause.NOT_FINITE),
    "text for a number": (sample(x="7"), Cause.WRONG_TYPE),
    "null for a number": (sample(x=None), Cause.WRONG_TYPE),
    "no metrics": (b'{"entity":"a","ts":1700000000000,"metrics":{}}', Cause.WRONG_TYPE),
    "no entity": (b'{"ts":1700000000000,"metrics":{"x":1}}', Cause.WRONG_TYPE),
    "a list for an entity": (b'{"entity":["a"],"ts":1700000000000,"metrics":{"x":1}}', Cause.WRONG_TYPE),
    "a fraction of a millisecond": (sample(ts=1.7e12), Cause.WRONG_TYPE),
    "seconds": (sample(ts=1_700_000_000), Cause.TIMESTAMP),
    "the future": (sample(ts=NOW + 86_400_000), Cause.TIMESTAMP),
    "a newer version": (b'{"v":9,"entity":"a","ts":1700000000000,"metrics":{"x":1}}', Cause.VERSION),
    "a million names": (sample(**{f"m{n}": 1 for n in range(2001)}), Cause.TOO_MANY_SERIES),
    "oversized": (sample(**{"x" * 1_000_001: 1}), Cause.OVERSIZED),
    "a cut frame": (pack(frame())[:-8], Cause.MALFORMED),
    "a frame of nothing's series": (pack(frame()._replace(series=np.full(24, 99, np.uint32))), Cause.MALFORMED),
    "a frame with another's series": (pack(frame()._replace(series=np.zeros(24, np.uint32))), Cause.MALFORMED),
}


@pytest.mark.parametrize("what", REFUSED)
def test_poison_is_refused_with_its_cause_and_the_rest_goes_on(what: str) -> None:
    value, cause = REFUSED[what]
    decode = Decode()
    decoded(sample(), decode=decode)  # the shape is known: the quick path is taken
    letter, batch = decoded(sample(cpu=1), value, sample(cpu=2), decode=decode)
    assert isinstance(letter, DeadLetter)
    assert letter.cause is cause
    assert letter.raw.value == value
    assert isinstance(batch, Batch)
    assert batch.value.tolist() == [1, 2]
    assert batch.offset.tolist() == [0, 2]


@pytest.mark.parametrize("samples", [4, 400], ids=["small", "large"])
def test_frames_and_json_of_the_same_samples_are_the_same_batch(samples: int) -> None:
    sent = frame(samples=samples)
    texts = [
        sample(f"e{sent.entity[i]}", int(sent.ts[i]), **{f"m{m}": float(sent.value[3 * i + m]) for m in range(3)})
        for i in range(len(sent.ts))
    ]
    one, two = only(decoded(pack(sent))), only(decoded(*texts))
    for column in ("entity", "ts", "start", "series", "value"):
        assert getattr(one, column).tolist() == getattr(two, column).tolist()
    assert one.names.series[:] == two.names.series[:]


def test_a_large_frame_stands_between_what_came_before_it_and_what_came_after_and_its_values_are_not_copied() -> None:
    message = pack(frame(samples=400))
    before, large, after = decoded(sample(cpu=1), message, sample(cpu=2))
    assert isinstance(before, Batch)
    assert isinstance(large, Batch)
    assert isinstance(after, Batch)
    assert (before.value.tolist(), after.value.tolist()) == ([1], [2])
    assert [before.offset[0], large.offset[0], after.offset[0]] == [0, 1, 2]
    assert np.shares_memory(large.value, np.frombuffer(message, np.uint8))


@pytest.mark.parametrize("samples", [4, 400], ids=["small", "large"])
def test_a_frame_with_one_wild_value_loses_that_sample_alone_and_is_kept_for_a_person(samples: int) -> None:
    sent = frame(samples=samples)
    sent.value[4] = np.nan
    letter, batch = decoded(pack(sent))
    assert isinstance(letter, DeadLetter)
    assert letter.cause is Cause.NOT_FINITE
    assert isinstance(batch, Batch)
    assert len(batch) == len(sent.ts) - 1
    assert np.isfinite(batch.value).all()


@pytest.mark.parametrize("wild", ["1e300", "-1e101", "1" + "0" * 101, "123e99"])
@pytest.mark.parametrize("known", [0, 1, 6])
def test_a_wild_value_is_refused_alone_however_well_its_message_is_known(wild: str, known: int) -> None:
    decode, text = Decode(), '{"entity":"web-1","ts":%d,"metrics":{"b":%s,"c":2.0}}'
    for number in range(known):
        only(decoded((text % (NOW + number, "1.0")).encode(), decode=decode))
    found = decoded((text % (NOW + known, wild)).encode(), decode=decode)
    (batch,), letters = (
        [each for each in found if isinstance(each, Batch)], [each for each in found if isinstance(each, DeadLetter)],
    )  # fmt: skip
    assert [batch.names.series[series][1] for series in batch.series.tolist()] == ["c"]
    assert batch.value.tolist() == [2.0]
    assert len(letters) == 1


def test_a_learning_control_stands_between_what_came_before_it_and_what_came_after() -> None:
    control = orjson.dumps({"entity": "web-1", "ts": NOW, "learning": "open", "incident": "i"})
    found = decoded(sample(cpu=1), sample(cpu=-1, ts=5), control, sample(cpu=2))
    letter, before, fork, after = found
    assert isinstance(letter, DeadLetter)
    assert isinstance(before, Batch)
    assert isinstance(after, Batch)
    assert isinstance(fork, Steer)
    assert fork.control == Learning(entity="web-1", ts=NOW, learning="open", incident="i")
    assert (before.value.tolist(), after.value.tolist()) == ([1], [2])


def test_names_come_back_from_a_snapshot_and_keep_their_numbers() -> None:
    decode, again = Decode(), Decode()
    decoded(sample(cpu=1), pack(frame()), decode=decode)
    again.restore(decode.snapshot())
    assert again.names.dump() == decode.names.dump()
    assert only(decoded(sample(cpu=1), decode=again)).series.tolist() == [0]


@given(st.lists(st.binary(max_size=200) | st.sampled_from([sample(), pack(frame())]), max_size=8), st.randoms())
def test_every_message_is_decoded_or_dead_lettered_whatever_is_in_it(values: list[bytes], rng: object) -> None:
    found = decoded(*values) if values else []
    letters = [item.raw.offset for item in found if isinstance(item, DeadLetter)]
    taken = {int(o) for item in found if isinstance(item, Batch) for o in item.offset}
    assert set(letters) | taken == set(range(len(values)))
    assert len(letters) == len(set(letters))
    assert all(np.isfinite(item.value).all() for item in found if isinstance(item, Batch))


@given(st.integers(0, len(pack(frame())) - 1), st.integers(0, 255))
def test_a_frame_with_a_byte_changed_never_breaks_the_decoder(at: int, byte: int) -> None:
    damaged = bytearray(pack(frame()))
    damaged[at] = byte
    found = decoded(bytes(damaged))
    assert all(isinstance(item, Batch | DeadLetter) for item in found)
    assert found


def test_names_are_bounded_and_a_refusal_changes_nothing() -> None:
    decode = Decode(Names(most_series=3))
    decoded(sample(a=1, b=2), decode=decode)
    before = decode.names.dump()
    (letter,) = decoded(sample("other", a=1, b=2), decode=decode)
    assert isinstance(letter, DeadLetter)
    assert letter.cause is Cause.TOO_MANY_SERIES
    assert decode.names.dump() == before


def test_a_frame_that_says_more_than_it_has_is_refused_without_allocating_it() -> None:
    data = bytearray(pack(frame()))
    at = 8 + len(frame().names) + (-len(frame().names) % 8)
    data[at : at + 8] = struct.pack("<II", 2**31, 2**31)
    (letter,) = decoded(bytes(data))
    assert isinstance(letter, DeadLetter)
    assert letter.cause is Cause.MALFORMED


def test_what_a_sender_collects_comes_out_as_it_went_in_frame_after_frame() -> None:
    builder, decode = FrameBuilder(), Decode()
    for round in range(3):
        builder.add("web-1", NOW + round, {"cpu": 0.5 + round, "load": 2})
        builder.add("web-2", NOW + round, {"cpu": 1.0})
        batch = only(decoded(builder.take(), decode=decode))
        assert batch.value.tolist() == [0.5 + round, 2.0, 1.0]
        assert batch.series.tolist() == [0, 1, 2]
        assert batch.ts.tolist() == [NOW + round] * 2
    assert decode.names.entities == ["web-1", "web-2"]
    with pytest.raises(TypeError):
        builder.add("web-1", NOW, {"cpu": "high"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="at least one metric"):
        builder.add("web-1", NOW, {})


def test_i2_what_was_relayed_again_is_taken_once_before_and_after_a_snapshot() -> None:
    def message(number: int, at: int) -> Raw:
        made = encode(Sample(entity="web-1", ts=NOW + number, metrics={"cpu": 0.5}))
        return Raw(METRICS.name, 0, at, made.key, made.value, (stamp("id/0", number, 0),), NOW)

    def taken(decode: Decode, *raws: Raw) -> list[int]:
        found = list(decode.step(chunk_of(raws), NOW))
        return [ts - NOW for batch in found if isinstance(batch, Batch) for ts in batch.ts.tolist()]

    decode = Decode()
    assert taken(decode, message(0, 0), message(1, 1), message(0, 2), message(1, 3), message(2, 4)) == [0, 1, 2]
    again = Decode()
    again.restore(decode.snapshot())
    assert again.snapshot() == decode.snapshot()
    assert taken(again, raw(sample(), 5), message(1, 6), message(2, 7), message(3, 8)) == [0, 3]
