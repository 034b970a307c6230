"""A known text with other numbers must give what a JSON parser gives, bit for bit, or be left to one."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from topics.formats.texts import Texts

SAMPLE = {"entity": "host/a:1", "ts": 1_700_000_000_000, "metrics": {"cpu": 1.5, "mem\\:2": 3, "x": -0.25}}


def knowing(*texts: bytes) -> Texts:
    found = Texts()
    for number, text in enumerate(texts):
        sample = orjson.loads(text)
        found.learn(text, sample, number, np.arange(len(sample["metrics"]), dtype=np.int32) + 10 * number)
    return found


def read(texts: Texts, *given: bytes) -> tuple[int, list[tuple[int, int, list[int], list[float]]]]:
    """How many messages were read; entity, stamp, series and values of each."""
    after, found = texts.read(b"".join(given), np.cumsum([len(each) for each in given]), 0)
    rows, at = [], 0
    for sample in range(int(found.total[0])):
        own = slice(at, at + int(found.many[sample]))
        rows.append((int(found.entity[sample]), int(found.ts[sample]),
                     found.series[own].tolist(), found.value[own].tolist()))  # fmt: skip
        at = own.stop
    return after, rows


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1), min_size=3, max_size=3
    )
)
@example([5e-324, 1.7976931348623157e308, 2.2250738585072014e-308])
@example([0.1, 123456789.123456789, 9007199254740993])
@settings(max_examples=300, deadline=None)
def test_every_number_is_the_double_that_a_parser_reads(numbers: list[float]) -> None:
    sample: dict[str, Any] = SAMPLE | {"metrics": dict(zip(SAMPLE["metrics"], numbers, strict=True))}  # type: ignore[arg-type]
    for dump in (orjson.dumps, lambda s: json.dumps(s).encode()):
        text = dump(sample)
        after, rows = read(knowing(dump(SAMPLE)), text)
        if after:
            expected = [float(v) for v in orjson.loads(text)["metrics"].values()]
            assert [bits(v) for v in rows[0][3]] == [bits(v) for v in expected]
        else:
            assert any(not 1e-200 < abs(v) < 1e99 for v in numbers), "only zeros below zero and the outermost are left"


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_read_of_a_damaged_text_is_what_a_parser_reads(data: st.DataObject) -> None:
    text = bytearray(orjson.dumps(SAMPLE))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        kind = data.draw(st.sampled_from(["change", "drop", "double"]))
        if kind == "change":
            text[at] = data.draw(st.sampled_from(list(b'0123456789.eE+-,:"{} ntx')))
        elif kind == "drop":
            del text[at]
        else:
            text[at:at] = text[at : at + 1]
    after, rows = read(knowing(orjson.dumps(SAMPLE)), bytes(text))
    if after:
        sample = orjson.loads(bytes(text))
        assert sample["entity"] == SAMPLE["entity"]
        assert list(sample["metrics"]) == list(SAMPLE["metrics"])  # type: ignore[call-overload]
        assert rows[0][1] == sample["ts"]
        assert [bits(v) for v in rows[0][3]] == [bits(float(v)) for v in sample["metrics"].values()]


@pytest.mark.parametrize(
    "number",
    ["01", "-", "1.", ".5", "1e", "1e+", "+1", "1.5.2", "0x1", "NaN", "true", "null", "-0", "-0.0", "1e400", '"1"'],
)
def test_what_is_no_plain_number_is_left_to_the_parser(number: str) -> None:
    text = orjson.dumps(SAMPLE).replace(b"1.5", number.encode())
    assert read(knowing(orjson.dumps(SAMPLE)), text) == (0, [])


@pytest.mark.parametrize("stamp", ["1.7e12", "1700000000000.0", "-5", "17000000000000000000"])
def test_a_stamp_is_a_whole_number(stamp: str) -> None:
    text = orjson.dumps(SAMPLE).replace(b"1700000000000", stamp.encode())
    assert read(knowing(orjson.dumps(SAMPLE)), text) == (0, [])


def test_texts_that_begin_alike_are_told_apart_and_the_first_unknown_one_ends_the_reading() -> None:
    one, two = orjson.dumps(SAMPLE), json.dumps(SAMPLE | {"v": 1}).encode()
    three = orjson.dumps(SAMPLE | {"metrics": {"cpu": 7}})
    texts = knowing(one, two, three)
    after, rows = read(texts, two, three, one, orjson.dumps(SAMPLE | {"entity": "host/b"}), one)
    assert after == 3
    assert [row[0] for row in rows] == [1, 2, 0]
    assert rows[1] == (2, SAMPLE["ts"], [20], [7.0])


def test_many_texts_are_all_known() -> None:
    samples = [SAMPLE | {"entity": f"host/{number}"} for number in range(3000)]
    texts = knowing(*map(orjson.dumps, samples))
    after, rows = read(texts, *map(orjson.dumps, samples))
    assert after == len(samples)
    assert [row[0] for row in rows] == list(range(3000))


def test_a_sample_with_a_number_that_is_none_of_its_own_is_not_learned() -> None:
    odd = b'{"entity":"a","ts":1700000000000,"ts":1700000000001,"metrics":{"cpu":1}}'
    texts = Texts()
    texts.learn(odd, orjson.loads(odd), 0, np.zeros(1, np.int32))
    assert read(texts, odd) == (0, [])


def test_the_texts_of_a_forgotten_entity_are_not_known_and_those_of_others_are() -> None:
    one, two = orjson.dumps(SAMPLE), orjson.dumps(SAMPLE | {"entity": "host/b:1"})
    texts = knowing(one, two)
    texts.forget([0])
    assert read(texts, one)[0] == 0
    assert [row[0] for row in read(texts, two, two)[1]] == [1, 1]
    texts.learn(one, orjson.loads(one), 7, np.arange(3, dtype=np.int32))
    assert [row[0] for row in read(texts, one, two)[1]] == [7, 1]


def test_a_sample_of_the_next_hour_is_left_to_others_and_series_are_marked_with_the_hour_they_came_in() -> None:
    text = orjson.dumps(SAMPLE)
    texts, seen, due = knowing(text), np.zeros(5, np.int32), int(SAMPLE["ts"])  # type: ignore[call-overload]
    ends = np.array([len(text)])
    assert texts.read(text, ends, 0, 3, due, seen)[0] == 0
    assert seen.tolist() == [0, 0, 0, 0, 0]
    for hour in (3, 4):
        assert texts.read(text, ends, 0, hour, due + 1, seen)[0] == 1
        assert seen.tolist() == [hour, hour, hour, 0, 0]
