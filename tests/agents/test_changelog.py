"""The state of the loop on its topic: whole states, changes, damage, two owners, and compaction."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from agents import _changelog
from agents._changelog import LEAST_BYTES, PART_BYTES, ChangeLog, StateUnreadable
from topics.codec import Message, encode
from topics.spec import Raw
from topics.state import GENERATIONS, LOOP_STATE, Snapshot

AGENT, PARTITION = "gate", 3


class Broker:
    """A partition of the state topic. `compact`: only the newest record of each key is left."""

    def __init__(self) -> None:
        self.kept: list[tuple[bytes, bytes]] = []

    def write(self, messages: list[Message]) -> None:
        self.kept += [(message.key, message.value) for message in messages]

    def compact(self) -> None:
        last = {key: at for at, (key, _) in enumerate(self.kept)}
        self.kept = [self.kept[at] for at in sorted(last.values())]

    def replay(self, _config: Any, starts: Mapping[tuple[str, int], int]) -> Iterator[Raw]:
        assert list(starts) == [(LOOP_STATE.name, PARTITION)]
        yield from (Raw(LOOP_STATE.name, PARTITION, at, *record) for at, record in enumerate(self.kept))

    def owner(self) -> ChangeLog:
        found, _ = _changelog.restored({}, LOOP_STATE, [PARTITION])
        return found[PARTITION].get(AGENT) or ChangeLog(LOOP_STATE, AGENT, PARTITION)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(_changelog, "replay", made.replay)
    return made


class Owner:
    """What a worker does with a log: a state that is a list of numbers, each change one more."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.log = broker, broker.owner()
        self.known = [int(number) for state in self.log.states for number in bytes(state).split()]

    def change(self, number: int, size: int = 0) -> None:
        self.known.append(number)
        offsets = {"t": len(self.known)}
        if self.log.must_renew or self.log.overdue:
            renewal = self.log.renew(offsets)
            self.whole(renewal)
        else:
            self.broker.write(self.log.changed(offsets, b"%d " % number + b" " * size))

    def whole(self, renewal: Any = None) -> None:
        renewal = renewal or self.log.renew()
        self.broker.write(self.log.whole(renewal, [b"%d " % number for number in self.known]))
        self.log.based = renewal.generation


def test_a_new_owner_knows_the_whole_state_and_what_changed_since_with_its_offsets(broker: Broker) -> None:
    owner = Owner(broker)
    for number in range(5):
        owner.change(number)
    owner.whole()
    owner.change(5)
    again = Owner(broker)
    assert (again.known, again.log.applied) == ([0, 1, 2, 3, 4, 5], {"t": 6})
    assert again.log.epoch == owner.log.epoch + 1


def test_changes_that_are_written_while_a_whole_state_is_on_its_way_come_after_it(broker: Broker) -> None:
    owner = Owner(broker)
    owner.change(1)
    renewal, blocks = owner.log.renew(), [b"1 "]
    owner.change(2)
    assert Owner(broker).known == [1, 2], "the whole state is not there yet"
    broker.write(owner.log.whole(renewal, blocks))
    assert Owner(broker).known == [1, 2]


def test_only_offsets_that_moved_are_written_with_changes(broker: Broker) -> None:
    log = broker.owner()
    broker.write(log.changed({"a": 1, "b": 7}, b"1 "))
    broker.write(log.changed({"a": 2, "b": 7}, b"2 "))
    assert [msgspec.msgpack.decode(value, type=Snapshot).applied for _, value in broker.kept] == [
        {"a": 1, "b": 7}, {"a": 2},
    ]  # fmt: skip
    assert broker.owner().applied == {"a": 2, "b": 7}


def test_a_torn_change_and_all_after_it_are_not_taken(broker: Broker) -> None:
    owner = Owner(broker)
    owner.change(1)
    owner.change(2, size=3 * PART_BYTES)
    owner.change(3)
    del broker.kept[2]  # a part of the second
    again = Owner(broker)
    assert (again.known, again.log.applied) == ([1], {"t": 1})
    again.change(7)
    assert Owner(broker).known == [1, 7], "what was torn is never taken up again"


def test_a_damaged_whole_state_costs_nothing(broker: Broker) -> None:
    owner = Owner(broker)
    for number in range(3):
        owner.change(number)
    owner.whole()
    owner.change(3)
    owner.whole()
    owner.change(4)
    broker.compact()
    damaged = next(at for at in reversed(range(len(broker.kept))) if broker.kept[at][0].endswith(b"/0/0"))
    key, value = broker.kept[damaged]
    broker.kept[damaged] = key, value[:-3] + b"xyz"
    assert Owner(broker).known == [0, 1, 2, 3, 4]


def test_what_an_owner_of_before_writes_late_does_not_count(broker: Broker) -> None:
    before = Owner(broker)
    before.change(1)
    after = Owner(broker)
    after.change(2)
    before.change(66)
    before.change(67)
    after.change(3)
    assert Owner(broker).known == [1, 2, 3]


@pytest.mark.parametrize("seed", range(30))
def test_kills_whole_states_zombies_and_compaction_in_any_order_lose_nothing(broker: Broker, seed: int) -> None:
    rng = random.Random(seed)
    owner, expected = Owner(broker), []
    for number in range(200):
        draw = rng.random()
        if draw < 0.1:
            zombie, owner = owner, Owner(broker)
            assert owner.known == expected
            if rng.random() < 0.3 and len(zombie.known) == len(owner.known) and not zombie.log.must_renew:
                owner.change(number)
                expected.append(number)
        elif draw < 0.2:
            owner.whole()
        elif draw < 0.3:
            broker.compact()
        else:
            owner.change(number)
            expected.append(number)
    assert Owner(broker).known == expected


def test_owners_that_die_before_their_first_whole_state_overwrite_nothing_that_is_needed(broker: Broker) -> None:
    expected = []
    for number in range(4 * GENERATIONS):
        owner = Owner(broker)
        assert owner.known == expected
        owner.change(number)
        expected.append(number)
        broker.compact()
    assert Owner(broker).known == expected


@pytest.mark.parametrize("deaths", range(5))
def test_a_log_of_which_owners_died_between_two_whole_states_is_renewed_by_the_next_one(
    broker: Broker, deaths: int
) -> None:
    Owner(broker).whole()
    for number in range(deaths):
        Owner(broker).change(number)
    lasting = Owner(broker)
    for number in range(deaths, 50):
        lasting.change(number, size=LEAST_BYTES // 4)
        if lasting.log.due and lasting.log.can_renew:
            lasting.whole()
    broker.compact()
    assert sum(len(value) for _, value in broker.kept) < 5 * LEAST_BYTES
    assert Owner(broker).known == list(range(50))


@pytest.mark.parametrize("deaths", range(1, 9))
def test_owners_that_die_in_the_middle_of_a_whole_state_leave_the_one_before(broker: Broker, deaths: int) -> None:
    first = Owner(broker)
    for number in range(GENERATIONS + 1):
        first.change(number)
        first.whole()
    for _ in range(deaths):
        broken = Owner(broker)
        broker.write(broken.log.whole(broken.log.renew(), [b"9 " * PART_BYTES])[:1])
        broker.compact()
        assert Owner(broker).known == list(range(GENERATIONS + 1))


def test_the_topic_holds_some_times_the_state_after_compaction(broker: Broker) -> None:
    owner = Owner(broker)
    for number in range(3_000):
        owner.known = owner.known[-100:]
        owner.change(number, size=500)
        if owner.log.due and owner.log.can_renew:
            owner.whole()
        if number % 100 == 0:
            broker.compact()
    broker.compact()
    assert sum(len(value) for _, value in broker.kept) < (GENERATIONS + 1) * 2 * LEAST_BYTES
    assert Owner(broker).known[-1] == 2_999


def test_a_state_of_before_is_refused_with_what_to_do(broker: Broker) -> None:
    old = Snapshot(agent=AGENT, partition=PARTITION, applied={}, state=memoryview(b"{}"), checksum="", epoch=1, seq=1)
    old = msgspec.structs.replace(old, checksum=_changelog.checksum(old))
    broker.write([encode(old, LOOP_STATE)])
    with pytest.raises(StateUnreadable, match=r"gate on partition 3 is of a version before 0\.2.*delete the"):
        broker.owner()
