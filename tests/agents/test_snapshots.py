"""Snapshots: the newest whole one counts, whoever wrote what, and whatever is torn or damaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING
from hypothesis import given
from hypothesis import strategies as st

from agents import _snapshots
from agents._snapshots import MAX_PARTS, SnapshotStore, StateTooLarge, newest_store, store_of, stores
from topics.codec import Message
from topics.spec import Raw
from topics.state import LANE_STATE, Snapshot

NAME = "lane/test"


class Log:
    """A partition of the state topic in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept: list[tuple[bytes, bytes]] = []
        self.asked: list[int] = []
        monkeypatch.setattr(_snapshots, "replay", self._replay)

    def _replay(self, _config: Mapping[str, Any], starts: Mapping[tuple[str, int], int]) -> list[Raw]:
        [((topic, partition), offset)] = starts.items()
        self.asked.append(offset)
        found = enumerate(self.kept)
        return [Raw(topic, partition, number, key, value) for number, (key, value) in found if number >= offset]

    def write(self, messages: list[Message]) -> None:
        self.kept += [(message.key, message.value) for message in messages]

    def compact(self) -> None:
        last = {key: number for number, (key, _) in enumerate(self.kept)}
        self.kept = [self.kept[number] for number in sorted(last.values())]

    def store(self) -> SnapshotStore:
        return store_of(stores({}, LANE_STATE, 3), LANE_STATE, NAME, 3)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    return Log(monkeypatch)


def damaged(value: bytes) -> bytes:
    snapshot = msgspec.msgpack.decode(value, type=Snapshot)
    return msgspec.msgpack.encode(msgspec.structs.replace(snapshot, applied={"t": 999}))


def test_an_empty_partition_gives_an_empty_shelf(log: Log) -> None:
    store = log.store()
    assert (store.applied, store.state, store.epoch) == (None, b"", 1)


def test_what_was_kept_is_found_with_its_offsets(log: Log) -> None:
    log.write(log.store().pack({"t": 7}, b"state"))
    store = log.store()
    assert (store.applied, store.state, store.epoch) == ({"t": 7}, b"state", 2)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_damaged_snapshot_is_refused_and_the_one_before_it_used(log: Log, compacted: bool) -> None:
    store = log.store()
    for number in range(5):
        log.write(store.pack({"t": number}, b"%d" % number))
    if compacted:
        log.compact()
    key, value = log.kept[-1]
    log.kept[-1] = key, damaged(value)
    assert (log.store().applied, log.store().state) == ({"t": 3}, b"3")


def test_a_zombies_late_snapshot_never_wins(log: Log) -> None:
    zombie = log.store()
    log.write(zombie.pack({"t": 1}, b"old"))
    owner = log.store()
    log.write(owner.pack({"t": 2}, b"new"))
    for _ in range(3):
        log.write(zombie.pack({"t": 9}, b"zombie"))
    assert log.store().state == b"new"
    assert log.store().epoch > owner.epoch


def test_a_snapshot_with_a_part_missing_is_refused(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_snapshots, "PART_BYTES", 10)
    store = log.store()
    log.write(store.pack({"t": 1}, bytes(range(35))))
    assert log.store().state == bytes(range(35))
    log.write(store.pack({"t": 2}, bytes(40))[:-1])
    assert (log.store().applied, log.store().state) == ({"t": 1}, bytes(range(35)))
    later = log.store()
    log.write(later.pack({"t": 3}, b"small"))
    assert log.store().state == b"small"


@given(st.lists(st.binary(max_size=25)))
def test_a_state_comes_back_however_it_was_cut_into_pieces(pieces: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_snapshots, "PART_BYTES", 10)
        log = Log(patched)
        log.write(log.store().pack({"t": 1}, *pieces))
        assert (log.store().applied, log.store().state) == ({"t": 1}, b"".join(pieces))


def test_a_state_that_is_too_large_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_snapshots, "PART_BYTES", 10)
    with pytest.raises(StateTooLarge, match="641 bytes"):
        SnapshotStore(LANE_STATE, NAME, 0).pack({}, bytes(MAX_PARTS * 10 + 1))


@given(st.data())
def test_any_flipped_byte_is_found(data: st.DataObject) -> None:
    message = SnapshotStore(LANE_STATE, NAME, 3).pack({"t": 7}, b"some state of a learner")[0]
    place = data.draw(st.integers(0, len(message.value) - 1))
    flipped = bytearray(message.value)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    found = _snapshots.read_snapshot(LANE_STATE, Raw(LANE_STATE.name, 3, 0, message.key, bytes(flipped)))
    whole = msgspec.msgpack.decode(message.value, type=Snapshot)
    assert found is None or (found.state, found.applied) == (whole.state, whole.applied)


def test_garbage_among_snapshots_is_passed_over(log: Log) -> None:
    log.write(log.store().pack({"t": 7}, b"state"))
    log.kept += [(b"x", b"\x00\xff"), (b"y", b""), (b"z", b"{}")]
    assert log.store().state == b"state"


def told(log: Log, since: int | None) -> SnapshotStore:
    return newest_store({}, LANE_STATE, NAME, 3, since)


def test_a_new_owner_reads_from_where_the_last_one_said_and_no_more(log: Log) -> None:
    store = log.store()
    for number in range(5):
        log.write(store.pack({"t": number}, b"%d" % number))
    log.asked.clear()
    assert told(log, 4) == told(log, None)
    assert log.asked == [4, OFFSET_BEGINNING]


def test_a_late_one_of_an_owner_of_before_does_not_win_where_only_the_end_is_read(log: Log) -> None:
    before = log.store()
    log.write(before.pack({"t": 1}, b"old"))
    log.write(log.store().pack({"t": 2}, b"new"))
    log.write(before.pack({"t": 1}, b"late"))
    assert told(log, 1).state == b"new"


@pytest.mark.parametrize("since", [1, 2, 9], ids=["damaged", "another's", "beyond the end"])
def test_everything_is_read_when_what_was_said_is_damaged_or_not_there(log: Log, since: int) -> None:
    store = log.store()
    log.write(store.pack({"t": 1}, b"first"))
    log.write(store.pack({"t": 2}, b"second"))
    log.kept[1] = (log.kept[1][0], damaged(log.kept[1][1]))
    log.write(SnapshotStore(LANE_STATE, "lane/other", 3).pack({"t": 7}, b"other"))
    log.asked.clear()
    assert (told(log, since).state, told(log, since).applied) == (b"first", {"t": 1})
    assert log.asked[:2] == [since, OFFSET_BEGINNING]
