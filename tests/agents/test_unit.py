"""A unit of the loop: what breaks an agent is set aside alone, in a record and in a deadline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from agents._agent import Agent
from agents._changelog import ChangeLog, StateUnreadable
from agents._state import Stateful
from agents._unit import BROKEN_MS, PAUSE_MS, Unit, restored_unit
from models.keyed import KeyedState, Table, table
from tests.builders import NOW, sample
from topics.codec import Cause, DeadLetter
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant, Origin, Read, Record
from topics.state import LOOP_STATE


class Item(msgspec.Struct, frozen=True):
    due: Instant
    bad: bool


class Items(KeyedState):
    items: Table[Item] = table(when=lambda item: item.due)
    count: int = 0


class Remind(Stateful[Items]):
    """Says each entity again when its time has come. One whose name begins with `bad` breaks it, at once or then."""

    name = "remind"
    reads = (ANOMALIES,)
    writes = (ANOMALIES,)
    shape = Items
    always_broken = False

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[str]:
        for read in records:
            assert isinstance(read.record, Anomaly)
            entity = read.record.entity
            self.state.items[entity] = Item(now + 1_000, entity.startswith("bad"))
            self.state.count += 1
            if entity.startswith("bad now"):
                raise ValueError("broken by a record")
            yield entity
        if not records:
            if self.always_broken:
                raise ValueError("broken by nothing in particular")
            for key in self.state.items.due(now):
                if self.state.items[key].bad:
                    raise ValueError(f"broken by {key}")
                del self.state.items[key]
                yield f"{key} again"


def unit() -> Unit:
    return Unit(Remind(), ChangeLog(LOOP_STATE, "remind", 0), {})


def reads(*entities: str) -> list[Read[Record]]:
    return [Read(sample(e, NOW), Origin(ANOMALIES.name, 0, at), NOW) for at, e in enumerate(entities)]


def letters(outputs: Sequence[Any]) -> list[DeadLetter]:
    return [each for each in outputs if isinstance(each, DeadLetter)]


def test_a_record_that_breaks_the_agent_is_a_dead_letter_and_the_state_never_saw_it() -> None:
    one = unit()
    outputs = one.step(reads("a", "bad now", "b"), NOW)
    assert [each for each in outputs if isinstance(each, str)] == ["a", "b"]
    (letter,) = letters(outputs)
    assert (letter.cause, letter.raw.offset, letter.topic) == (Cause.HANDLER, 1, ANOMALIES.dlq)
    assert "broken by a record" in letter.detail
    assert (list(one.agent.state.items), one.agent.state.count) == (["a", "b"], 2)


def test_r10_an_item_that_breaks_a_deadline_is_set_aside_with_its_cause_and_the_rest_goes_on() -> None:
    one = unit()
    one.step(reads("a", "b", "bad later", "c", "bad too", "d"), NOW)
    outputs = one.wake(NOW + 1_000)
    assert sorted(each for each in outputs if isinstance(each, str)) == ["a again", "b again", "c again", "d again"]
    told = letters(outputs)
    assert [msgspec.json.decode(letter.raw.value or b"")["key"] for letter in told] == ["bad later", "bad too"]
    assert all(letter.cause == Cause.HANDLER and "ValueError" in letter.detail for letter in told)
    assert not one.agent.state.items
    assert one.next_deadline() is None


def test_r10_what_one_item_ends_or_makes_due_while_others_are_set_aside_blames_no_other() -> None:
    class Linked(Remind):
        def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[str]:
            for made in super().step(records, now):
                if made == "first again":  # ends one that is due as well, and leaves one that breaks the next step
                    self.state.items.pop("second", None)
                    self.state.items["bad new"] = Item(now, True)
                yield made

    one = Unit(Linked(), ChangeLog(LOOP_STATE, "remind", 0), {})
    one.step(reads("first", "second", "third", "bad later", "fourth"), NOW)
    outputs = [each for at in (1_000, 1_100) for each in one.wake(NOW + at)]
    assert [each for each in outputs if isinstance(each, str)] == ["first again", "third again", "fourth again"]
    told = [msgspec.json.decode(letter.raw.value or b"")["key"] for letter in letters(outputs)]
    assert told == ["bad later", "bad new"]
    assert not one.agent.state.items


def test_r10_the_next_owner_does_not_meet_what_was_set_aside() -> None:
    one = unit()
    one.step(reads("bad later", "a"), NOW)
    one.wake(NOW + 1_000)
    log = ChangeLog(LOOP_STATE, "remind", 0, states=[one.agent.changes()])
    again = restored_unit(Remind, log, None)
    assert again.wake(NOW + 2_000) == []


def test_a_deadline_that_breaks_by_no_single_item_is_tried_again_in_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    one = unit()
    one.step(reads("a"), NOW)
    monkeypatch.setattr(Remind, "always_broken", True)
    assert one.wake(NOW + 1_000) == []
    assert one.next_deadline() == NOW + 1_000 + BROKEN_MS
    monkeypatch.setattr(Remind, "always_broken", False)
    assert one.wake(NOW + 1_000 + BROKEN_MS) == ["a again"]


def test_an_agent_that_leaves_its_deadline_where_it_was_is_not_asked_without_a_pause() -> None:
    class Idle(Remind):
        def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[str]:
            yield from super().step(records, now) if records else ()

    one = Unit(Idle(), ChangeLog(LOOP_STATE, "remind", 0), {})
    one.step(reads("a"), NOW)
    assert one.wake(NOW + 5_000) == []
    assert one.next_deadline() == NOW + 5_000 + PAUSE_MS


def test_a_chain_has_no_record_to_leave_out() -> None:
    class Chain(Agent[Any]):
        name, reads, writes, chain = "chain", (ANOMALIES,), (ANOMALIES,), ANOMALIES

        def step(self, records: Sequence[Any], now: Instant) -> Iterator[Any]:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Unit(Chain(), ChangeLog(LOOP_STATE, "chain", 0), {}).step(reads("a"), NOW)


def test_a_state_that_cannot_be_read_names_its_agent_and_partition_and_what_to_do() -> None:
    log = ChangeLog(LOOP_STATE, "remind", 5, states=[msgspec.msgpack.encode({"version": 9})])
    with pytest.raises(StateUnreadable, match=r"remind on partition 5 is version 9.*Run the version that wrote it"):
        restored_unit(Remind, log, None)
