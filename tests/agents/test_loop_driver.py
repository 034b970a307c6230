"""The loop's driver at a rebalance: nothing of before it counts after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from agents import _loop
from agents._agent import Buffer
from agents._changelog import ChangeLog, StateUnreadable
from agents._loop import Loop, LoopSettings
from agents._suspension import Suspended, SuspensionDetector
from agents._transport import RecordBatch, _Rebalance
from agents._unit import Unit
from agents._writer import Revoked
from agents.decide import Decide
from app.shipped import packs
from models.decision.advisor import Bounds
from models.decision.planner import Plan
from tests.builders import Quiet
from tests.keys import RING, WORKER_KEY
from topics.spec import Instant
from topics.state import LOOP_STATE


def decide() -> Decide:
    return Decide(packs(), Bounds(), WORKER_KEY, RING)


@pytest.fixture
async def loop() -> Loop:
    """A loop that never met a broker: only its books are tried."""
    made = Loop(LoopSettings("127.0.0.1:1", {}), [decide], lambda: 0, Quiet())
    made.app.consumer_generation_id = 5
    made._suspension = SuspensionDetector(60.0)
    return made


def unit() -> Unit:
    return Unit(decide(), ChangeLog(LOOP_STATE, "decide", 0), {})


def waits_until(at: Instant) -> Unit:
    """A unit that wants to be asked at `at`."""
    made = unit()
    made.agent.state.plans["i1"] = Plan("shop", retry_at=at)
    return made


def message(generation: int) -> Any:
    return SimpleNamespace(generation_id=generation)


async def test_a_restore_that_a_rebalance_overtook_is_thrown_away(loop: Loop) -> None:
    restored = asyncio.Event()

    async def load(_: Sequence[int]) -> dict[tuple[str, int], Unit]:
        await restored.wait()
        return {("decide", 0): unit()}

    loop._load = load  # type: ignore[method-assign]
    waiting = asyncio.create_task(loop._unit("decide", 0))
    await asyncio.sleep(0)
    await loop._revoked(loop.app, [])
    restored.set()
    with pytest.raises(Revoked):
        await waiting
    assert loop.units == {}


async def rebalanced(loop: Loop, generation: int) -> None:
    async def load(partitions: Sequence[int]) -> dict[tuple[str, int], Unit]:
        return {("decide", partition): unit() for partition in partitions}

    loop._load = load  # type: ignore[method-assign]
    await loop._revoked(loop.app, [])
    loop.app.consumer_generation_id = generation
    await loop._assigned(loop.app, [TP("opsloop.decisions", 0)])


async def test_what_stays_here_in_a_rebalance_is_kept_and_only_the_rest_restored(loop: Loop) -> None:
    stays, goes = unit(), unit()
    loop.units = {("decide", 0): stays, ("decide", 1): goes}
    await rebalanced(loop, 6)
    assert [(key, kept.agent) for key, kept in loop.units.items()] == [(("decide", 0), stays.agent)]
    assert not loop.loading
    loop.writer.require(await loop._unit("decide", 0))
    for before in (stays, goes):
        with pytest.raises(Revoked):
            loop.writer.require(before)


async def test_a_generation_that_this_worker_missed_leaves_nothing_to_keep(loop: Loop) -> None:
    loop.units["decide", 0] = before = unit()
    await rebalanced(loop, 7)
    assert list(loop.loading) == [0]
    assert (await loop._unit("decide", 0)).agent is not before.agent


async def test_a_deadline_of_a_partition_that_came_in_a_rebalance_waits_for_no_record(loop: Loop) -> None:
    loaded = asyncio.Event()

    async def load(partitions: Sequence[int]) -> dict[tuple[str, int], Unit]:
        await loaded.wait()
        return {("decide", partition): waits_until(1_000) for partition in partitions}

    loop._load = load  # type: ignore[method-assign]
    await loop._assigned(loop.app, [TP("opsloop.decisions", 0), TP("opsloop.decisions", 1)])
    loaded.set()
    await asyncio.wait_for(asyncio.gather(*loop._working), 5)
    assert sorted(loop.deadlines.due(1_000)) == [("decide", 0), ("decide", 1)]


async def test_a_rebalance_right_after_an_assignment_leaves_nothing_that_was_restored_for_it(loop: Loop) -> None:
    async def load(_: Sequence[int]) -> dict[tuple[str, int], Unit]:
        return {("decide", 0): unit()}

    loop._load = load  # type: ignore[method-assign]
    await loop._assigned(loop.app, [TP("opsloop.decisions", 0)])
    await loop._revoked(loop.app, [])
    await asyncio.wait_for(asyncio.gather(*loop._working), 5)
    assert (loop.units, loop.loading) == ({}, {})


async def test_a_state_that_cannot_be_restored_ends_the_loop_before_a_record_comes(loop: Loop) -> None:
    async def load(_: Sequence[int]) -> dict[tuple[str, int], Unit]:
        raise StateUnreadable("decide", 0, "of a version that is not known")

    loop._load = load  # type: ignore[method-assign]
    await loop._assigned(loop.app, [TP("opsloop.decisions", 0)])
    await asyncio.wait_for(asyncio.gather(*loop._working), 5)
    assert isinstance(loop.failure, StateUnreadable)


async def test_a_unit_that_ends_after_a_rebalance_does_not_move_the_deadline_of_its_successor(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after, written = waits_until(1_000), waits_until(2_000), asyncio.Event()

    async def keep(*_: Any) -> None:
        await written.wait()

    monkeypatch.setattr(loop.writer, "keep", keep)
    loop._own(("decide", 0), before)
    ending = asyncio.create_task(loop._apply(("decide", 0), [Event("decide", "opsloop.decisions", 0, 3).message.value]))
    await asyncio.sleep(0)
    loop.units.clear()
    loop._own(("decide", 0), after)
    written.set()
    await ending
    assert (loop.deadlines.due(1_999), loop.deadlines.due(2_000)) == ([], [("decide", 0)])


async def test_what_was_not_ended_when_the_rebalance_came_is_not_kept(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_loop, "HAND_OVER_S", 0.05)
    loop.units["decide", 0] = busy = unit()
    await busy.lock.acquire()
    await rebalanced(loop, 6)
    assert list(loop.loading) == [0]


async def test_a_state_that_could_not_be_written_is_not_kept(loop: Loop) -> None:
    loop.units["decide", 0] = unsaid = unit()
    unsaid.durable = False
    await rebalanced(loop, 6)
    assert list(loop.loading) == [0]


async def test_a_rebalance_waits_for_what_was_begun_and_ends_it(loop: Loop) -> None:
    begun = loop.units["decide", 0] = unit()
    await begun.lock.acquire()
    rebalance = asyncio.create_task(loop._revoked(loop.app, []))
    await asyncio.sleep(0.05)
    assert not rebalance.done()
    loop.writer.require(begun)
    begun.lock.release()
    await rebalance
    with pytest.raises(Revoked):
        loop.writer.require(begun)


async def test_messages_of_before_a_rebalance_are_nobodys_to_ack(loop: Loop) -> None:
    assert loop._is_ours(message(5))
    assert not loop._is_ours(message(4))
    await loop._revoked(loop.app, [])
    assert not loop._is_ours(message(5))
    loop.app.consumer_generation_id = 6
    assert loop._is_ours(message(6))


class Event:
    """An event of Faust with one batch."""

    def __init__(self, verb: str, topic: str, partition: int, offset: int, generation: int = 5) -> None:
        record = SimpleNamespace(
            topic=topic, partition=partition, offset=offset, key=b"", value=b"{}", headers=(), timestamp=0
        )
        batch = RecordBatch(TP(topic, partition), [record])
        self.key, self.acked = (verb, partition), False
        self.message = SimpleNamespace(generation_id=generation, value=batch)

    def ack(self) -> None:
        self.acked = True


async def test_batches_that_wait_are_taken_together_and_a_slow_unit_holds_up_no_other(loop: Loop) -> None:
    """Each write waits for the broker: one at a time for all partitions of a verb was what made slow runs slow."""
    taken: list[tuple[int, int]] = []
    slow = asyncio.Event()

    async def keep(partition: int, kept: Unit, outputs: Sequence[Any]) -> None:
        kept.durable = True
        taken.append((partition, kept.applied["opsloop.incidents"]))
        if partition == 0:
            await slow.wait()

    loop.writer.keep = keep  # type: ignore[method-assign]
    loop.units = {("decide", partition): unit() for partition in (0, 1)}
    events = [Event("decide", "opsloop.incidents", at % 2, at // 2) for at in range(12)]
    late = Event("decide", "opsloop.incidents", 1, 6, generation=4)
    for event in events[:1]:
        await loop._inbox(event.key).put(event)
    await asyncio.sleep(0.01)
    for event in (*events[1:], late):
        await loop._inbox(event.key).put(event)
    await asyncio.sleep(0.01)
    assert taken == [(0, 1), (1, 6)], "the six batches of partition 1 are one write"
    assert [event.acked for event in events] == [bool(at % 2) for at in range(12)]
    slow.set()
    await asyncio.sleep(0.01)
    assert taken[2:] == [(0, 6)]
    assert all(event.acked for event in events)
    assert not late.acked
    for task in loop._working:
        task.cancel()


async def test_a_deadline_is_kept_while_batches_wait(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    busy, asked = waits_until(1_000), list[tuple[bool, int]]()

    async def keep(*_: Any) -> None:
        await loop._wake(("decide", 0))  # its time comes while the unit is at work
        busy.durable = True

    def step(reads: Sequence[Any], now: Instant) -> Sequence[Any]:
        asked.append((isinstance(reads, list), now))
        return ()

    monkeypatch.setattr(loop.writer, "keep", keep)
    monkeypatch.setattr(busy.agent, "step", step)
    loop.now = lambda: 1_000
    loop._own(("decide", 0), busy)
    for offset in range(2):
        await loop._apply(("decide", 0), [Event("decide", "opsloop.decisions", 0, offset).message.value])
    assert asked[:2] == [(True, 1_000), (False, 1_000)], "a batch, and then what was due"


async def test_a_loop_that_slept_says_nothing_more(loop: Loop) -> None:
    loop._suspension._slept = 61.0
    with pytest.raises(Suspended):
        loop.writer.require(unit())


async def test_a_loop_that_slept_ends_at_its_next_deadline_and_does_not_join_its_group_again(loop: Loop) -> None:
    loop._suspension._slept = 61.0
    await asyncio.wait_for(loop._keep_deadlines(), 5)
    assert isinstance(loop.failure, Suspended)
    rebalance = object.__new__(_Rebalance)
    rebalance._coordinator = SimpleNamespace(require=loop._suspension.require)
    assert await rebalance.perform_group_join() is None


def test_every_state_is_read_once_before_threads_read_it() -> None:
    """Two threads that meet a type of msgspec 0.22 for the first time crash the process."""
    restored: list[Buffer] = []

    class Told(Decide):
        def restore(self, state: Buffer) -> None:
            restored.append(state)
            super().restore(state)

    Loop(LoopSettings("127.0.0.1:1", {}), [lambda: Told(packs(), Bounds(), WORKER_KEY, RING)], lambda: 0, Quiet())
    assert restored == [decide().snapshot()]
    assert restored[0]


async def test_who_is_given_no_partition_for_a_while_is_a_spare_worker(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_loop, "SPARE_S", 0.05)
    assert not await loop._spare(), "it has not joined yet"
    loop.app.unassigned = True
    assert await loop._spare()
    asyncio.get_running_loop().call_later(0.01, setattr, loop.app, "unassigned", False)
    assert not await loop._spare(), "what it has is on its way"


async def test_a_worker_makes_no_folder_that_a_kill_would_leave_behind(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await loop.app.on_first_start()
    assert not list(tmp_path.iterdir())
