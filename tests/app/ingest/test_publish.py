from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UserError
from app.ingest.publish import Bad, instant, read_csv, read_jsonl, replay
from topics.spec import Record
from topics.telemetry import EVENTS, METRICS, Sample

AT = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    "text",
    ["2026-01-01T00:00:00Z", "2026-01-01 00:00:00", "2026-01-01T01:00:00+01:00", "1767225600", "1767225600.0",
     "1767225600000", "1767225600000000", "1767225600000000000"],
)  # fmt: skip
def test_a_time_is_read_however_it_is_written(text: str) -> None:
    assert instant(text) == AT


@pytest.mark.parametrize("text", ["", "yesterday", "nan", "inf", "-5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        instant(text)


def test_a_table_becomes_a_sample_a_row_with_gaps_left_out() -> None:
    table = "Time;Host;cpu;mem;note\n1767225600;web-1;0.5;7;hello\n1767225601;web-2;;NaN;\n1767225602;web-1;0.25;;x\n"
    assert list(read_csv(io.StringIO(table))) == [
        Sample(entity="web-1", ts=AT, metrics={"cpu": 0.5, "mem": 7.0}),
        Bad(3, "no number in it"),
        Sample(entity="web-1", ts=AT + 2_000, metrics={"cpu": 0.25}),
    ]


def test_bad_rows_are_told_with_their_line_and_the_others_read() -> None:
    table = "ts,cpu\n1767225600,1\nsoon,1\n1767225601,high\n1767225602,2,3\n\n1767225603,4\n"
    found = list(read_csv(io.StringIO(table), "web-1"))
    assert [each.line for each in found if isinstance(each, Bad)] == [3, 4, 5]
    assert [each.ts - AT for each in found if isinstance(each, Sample)] == [0, 3_000]


@pytest.mark.parametrize(
    ("table", "why"),
    [("a,b\n1,2\n", "no column of time"), ("ts,cpu\n1,2\n", "whose"), ("", "no column of time")],
)
def test_a_table_that_cannot_be_read_says_what_it_lacks(table: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        list(read_csv(io.StringIO(table)))


def test_json_lines_are_checked_against_the_topics_record() -> None:
    good = '{"entity":"a","ts":1,"metrics":{"x":1}}'
    lines = [good, "", "{", '{"entity":"a","ts":1}', '{"ts":1,"metrics":{"x":2}}']
    assert [type(each) for each in read_jsonl(lines, METRICS)] == [Sample, Bad, Bad, Bad]
    named = list(read_jsonl(lines, METRICS, "b"))
    assert [each.entity for each in named if isinstance(each, Sample)] == ["b", "b"]
    assert [each.line for each in named if isinstance(each, Bad)] == [3, 4]
    assert isinstance(next(iter(read_jsonl([good], EVENTS))), Bad)


@given(st.lists(st.text(max_size=30), max_size=10))
def test_every_line_is_either_published_or_reported(lines: list[str]) -> None:
    found = list(read_jsonl(lines, METRICS))
    assert len(found) == sum(bool(line.strip()) for line in lines)


class World:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.at = 5_000

    def now(self) -> int:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += round(seconds * 1000)


def samples(*times: int) -> list[Record | Bad]:
    return [Sample(entity="a", ts=ts, metrics={}) for ts in times]


@pytest.mark.parametrize(("speed", "expected"), [(1.0, [5_000, 6_000, 15_000]), (10.0, [5_000, 5_100, 6_000])])
def test_a_replay_happens_now_and_so_much_faster(speed: float, expected: list[int]) -> None:
    world = World()
    seen = []
    for record in replay(samples(100, 1_100, 10_100), speed, world.now, world.sleep):
        assert isinstance(record, Sample)
        seen.append((record.ts, world.at))
    assert seen == [(ts, ts) for ts in expected]


def test_speed_zero_keeps_every_time_and_never_waits() -> None:
    records = [*samples(100, 50), Bad(3, "x")]
    assert list(replay(records, 0, lambda: 1 // 0, lambda _: 1 // 0)) == records


def test_a_column_whose_first_cell_is_a_gap_is_read_and_so_are_decimal_commas() -> None:
    table = "ts;cpu;mem;big\n1767225600;N/A;0,5;1.234,5\n1767225601;0,25;null;7\n"
    assert list(read_csv(io.StringIO(table), "web-1")) == [
        Sample(entity="web-1", ts=AT, metrics={"mem": 0.5, "big": 1234.5}),
        Sample(entity="web-1", ts=AT + 1_000, metrics={"cpu": 0.25, "big": 7.0}),
    ]


def test_a_table_with_the_newest_row_first_is_refused_with_its_lines() -> None:
    table = "ts,host,cpu\n1767225602,a,1\n1767225600,b,1\n1767225601,a,1\n1767225603,a,1\n"
    found = list(read_csv(io.StringIO(table)))
    (bad,) = [each for each in found if isinstance(each, Bad)]
    assert bad.line == 4
    assert bad.why.endswith("sort the file by time, oldest first")


@pytest.mark.parametrize("head", ["\ufeff", "sep=;\n", "\ufeffsep=;\n"])
def test_what_a_spreadsheet_puts_before_a_table_is_no_column(head: str) -> None:
    rows = [*read_csv(io.StringIO(f"{head}ts;cpu\n1767225600;0,5\nx;1\n"), "web-1")]
    assert rows[0] == Sample(entity="web-1", ts=AT, metrics={"cpu": 0.5})
    assert isinstance(rows[1], Bad)
    assert rows[1].line == 3 + head.count("\n")


@pytest.mark.parametrize("gap", ["?", "--", "\\N", "nil", "NULL", "#N/A", " n/a "])
def test_every_way_to_write_a_gap_is_a_gap_also_in_the_first_row(gap: str) -> None:
    rows = [*read_csv(io.StringIO(f"ts|cpu|mem\n1767225600|{gap}|1\n1767225601|2|3\n"), "web-1")]
    assert [row.metrics for row in rows if isinstance(row, Sample)] == [{"mem": 1.0}, {"cpu": 2.0, "mem": 3.0}]


@pytest.mark.parametrize(("row", "why"), [('1767225600,"0,5"', "semicolons"), ("1767225601,1_000", "no number")])
def test_what_is_no_number_is_refused_with_its_line(row: str, why: str) -> None:
    (bad,) = read_csv(io.StringIO(f"ts,cpu\n{row}\n"), "web-1")
    assert isinstance(bad, Bad)
    assert bad.line == 2
    assert why in bad.why


def test_two_columns_of_one_name_are_refused_and_one_without_a_name_is_no_metric() -> None:
    with pytest.raises(UserError, match="two columns are called cpu"):
        list(read_csv(io.StringIO("ts,cpu,cpu\n1,2,3\n"), "web-1"))
    (row,) = read_csv(io.StringIO(",ts,cpu\n0,1767225600,1\n"), "web-1")
    assert isinstance(row, Sample)
    assert row.metrics == {"cpu": 1.0}
