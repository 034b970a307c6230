"""Keyed state: what changed is known, can be written alone, and can be undone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.keyed import Changes, KeyedState, Table, UnknownState, table
from models.tracked import ChangeTracker


class Row(msgspec.Struct, frozen=True):
    value: int
    due: int = 0


class Inner(KeyedState):
    few: Table[Row] = table(3)
    total: int = 0


def shop_of(key: str, _row: Row) -> str:
    return key.partition("/")[0]


class Outer(KeyedState):
    rows: Table[Row] = table(when=lambda row: row.due, group=shop_of, domain=shop_of)
    names: Table[str] = table()
    inner: Inner = msgspec.field(default_factory=Inner)
    last: tuple[str, ...] = ()


Change = tuple[str, int, int]


def change(state: Outer, what: Change) -> None:
    """One of all kinds of changes, by number."""
    kind, key, value = what
    name = f"s{key % 3}/{key}"
    if kind == "set":
        state.rows[name] = Row(value, value % 7)
    elif kind == "drop":
        state.rows.pop(name, None)
    elif kind == "few":
        state.inner.few[name] = Row(value)
    elif kind == "total":
        state.inner.total, state.last = value, (name,)
    else:
        state.names[name] = str(value)


KINDS = st.sampled_from(["set", "set", "drop", "few", "total", "name"])
CHANGES = st.lists(st.tuples(KINDS, st.integers(0, 9), st.integers(0, 99)), max_size=40)


def seen(state: Outer) -> list[Any]:
    """Everything that can be known of a state, the order of rows included."""
    tables = [state.rows, state.names, state.inner.few]
    return [
        [list(each.items()) for each in tables], state.inner.total, state.last, state.rows.due(50),
        {shop: sorted(state.rows.keys_of(shop)) for shop in sorted(state.rows.groups())},
    ]  # fmt: skip


def written(changes: Any) -> bytes:
    return msgspec.msgpack.encode(changes)


@given(st.lists(CHANGES, max_size=6))
def test_a_copy_that_takes_the_changes_of_each_step_is_the_same_in_the_same_order(steps: list[list[Change]]) -> None:
    state, copy = Outer(), Outer()
    ours, theirs = ChangeTracker(state), ChangeTracker(copy)
    for step in steps:
        for what in step:
            change(state, what)
        if (changes := ours.take()) is not None:
            theirs.load(written(changes))
        assert seen(copy) == seen(state)
    assert ours.take() is None


@given(CHANGES, CHANGES, CHANGES)
def test_what_was_changed_since_the_mark_is_undone_and_leaves_no_trace(
    before: list[Change], undone: list[Change], after: list[Change]
) -> None:
    state, straight = Outer(), Outer()
    ours, theirs = ChangeTracker(state), ChangeTracker(straight)
    for each in (state, straight):
        for what in before:
            change(each, what)
    ours.mark()
    theirs.mark()
    for what in undone:
        change(state, what)
    ours.undo()
    assert seen(state) == seen(straight)
    for each in (state, straight):
        for what in after:
            change(each, what)
    assert written(ours.take()) == written(theirs.take())
    assert seen(state) == seen(straight)


@given(CHANGES)
def test_the_whole_state_in_blocks_makes_the_same_state(changes: list[Change]) -> None:
    state, copy = Outer(), Outer()
    for what in changes:
        change(state, what)
    tracked = ChangeTracker(copy)
    for block in ChangeTracker(state).whole():
        tracked.load(written(block))
    assert seen(copy) == seen(state)


def test_what_changes_while_the_whole_state_is_written_is_not_in_it() -> None:
    state, copy = Outer(), Outer()
    for number in range(500):
        state.rows[f"s/{number}"] = Row(number)
    blocks = ChangeTracker(state).whole()
    del state.rows["s/3"]
    state.rows["s/4"] = Row(-1)
    state.inner.total = 9
    tracked = ChangeTracker(copy)
    for block in blocks:
        tracked.load(written(block))
    assert [row.value for row in copy.rows.values()] == list(range(500))
    assert copy.inner.total == 0


def test_changes_hold_what_changed_and_nothing_else() -> None:
    state = Outer()
    tracked = ChangeTracker(state)
    for number in range(10_000):
        state.rows[f"s/{number}"] = Row(number)
    tracked.take()
    state.rows["s/17"] = Row(1)
    del state.rows["s/18"]
    changes = tracked.take()
    assert changes is not None
    assert (changes.rows, changes.gone, changes.values) == ({"rows": {"s/17": Row(1)}}, {"rows": ["s/18"]}, {})


def test_a_bounded_table_lets_go_of_what_was_set_longest_ago() -> None:
    few = Inner().few
    for key in ("a", "b", "c", "a", "d"):
        few[key] = Row(1)
    assert list(few) == ["c", "a", "d"]


def test_a_table_with_a_bound_that_was_lowered_comes_down_to_it() -> None:
    state = Outer()
    few = state.inner.few
    few.load({key: Row(1) for key in "abcdefgh"})
    few["i"] = Row(1)
    assert list(few) == ["g", "h", "i"]
    assert sorted(few.take()[1]) == list("abcdef")


def test_rows_cannot_be_set_past_the_changes() -> None:
    rows = Outer().rows
    with pytest.raises(TypeError):
        rows |= {"a": Row(1)}
    with pytest.raises(TypeError):
        rows.popitem()
    assert rows.take() == ({}, [])


def test_rows_are_due_in_the_order_of_their_times_until_they_are_set_or_removed() -> None:
    rows = Outer().rows
    rows["a"], rows["b"], rows["c"], rows["d"] = Row(1, 30), Row(1, 10), Row(1), Row(1, 20)
    assert (rows.next_due(), rows.due(9), rows.due(20), rows.due(20)) == (10, [], ["b", "d"], ["b", "d"])
    rows["b"] = Row(2, 40)
    del rows["d"]
    assert (rows.next_due(), rows.due(50)) == (30, ["a", "b"])
    rows.hold(["a"])
    assert rows.due(50) == ["b"]


def test_the_index_of_times_stays_small_however_often_a_row_is_set() -> None:
    rows = Outer().rows
    for number in range(10_000):
        rows["a"] = Row(number, number + 1)
    assert len(rows._heap) < 200
    assert rows.due(10_000) == ["a"]


def test_only_the_domains_that_are_ours_are_kept_and_rows_without_one() -> None:
    state = Outer()
    tracked = ChangeTracker(state)
    state.rows["s1/a"], state.rows["s2/a"], state.names["x"] = Row(1), Row(2), "x"
    tracked.keep_only(lambda domain: domain == "s2")
    assert (list(state.rows), list(state.names)) == (["s2/a"], ["x"])


class Later(KeyedState):
    """A version whose rows have another shape than those of the one before, and a field has another name."""

    version: ClassVar[int] = 3
    rows: Table[Row] = table()
    total: int = 0

    @classmethod
    def migrate(cls, old: Changes) -> Changes:
        rows = {key: {"value": value} for key, value in old.rows.get("numbers", {}).items()}
        gone = old.gone.get("numbers", [])
        values = {"total": old.values["sum"]} if "sum" in old.values else {}
        return Changes(old.version, values, {"rows": rows}, {"rows": gone})


def test_what_the_version_before_wrote_is_migrated_whole_states_and_changes_alike() -> None:
    later = Later()
    tracked = ChangeTracker(later)
    tracked.load(written(Changes(2, {"sum": 5}, {"numbers": {"a": 1, "b": 2}})))
    tracked.load(written(Changes(2, {}, {"numbers": {"c": 3}}, {"numbers": ["a"]})))
    assert (dict(later.rows), later.total) == ({"b": Row(2), "c": Row(3)}, 5)
    assert tracked.take() is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (lambda: written(ChangeTracker(Inner()).whole().__next__()), "version 1"),
        (lambda: b"\x93\x01\x02\x03", "unreadable"),
        (lambda: written({"version": 3, "rows": {"gone": {}}}), "unreadable"),
        (lambda: written({"version": 3, "rows": {"rows": {"a": {"value": "x"}}}}), "unreadable"),
    ],
    ids=["version", "garbage", "table", "row"],
)
def test_what_this_version_cannot_read_is_told(data: Callable[[], bytes], told: str) -> None:
    with pytest.raises(UnknownState, match=told):
        ChangeTracker(Later()).load(data())


def test_a_step_costs_the_same_however_many_rows_there_are() -> None:
    """Counted in rows that are touched, not in time."""

    state = Outer()
    tracked = ChangeTracker(state)
    rng = random.Random(1)
    for number in range(5_000):
        state.rows[f"s{number}/a"] = Row(number, 1_000_000 + number)
    tracked.take()
    sizes = set()
    for _ in range(50):
        tracked.mark()
        state.rows[f"s{rng.randrange(5_000)}/a"] = Row(0, 5_000_000)
        sizes.add((len(state.rows._journal), len(written(tracked.take())) // 100))
    assert sizes == {(1, 0)}
