"""Deadlines of units: each is due once, at its newest time."""

from __future__ import annotations

import asyncio

from agents._deadlines import Deadlines

A, B = ("gate", 0), ("decide", 3)


def test_keys_are_due_in_the_order_of_their_newest_deadlines_and_then_have_none() -> None:
    deadlines = Deadlines()
    deadlines.schedule(A, 10)
    deadlines.schedule(B, 5)
    deadlines.schedule(A, 30)
    assert (deadlines.due(4), deadlines.due(20), deadlines.due(20)) == ([], [B], [])
    deadlines.schedule(A, 25)
    assert deadlines.due(30) == [A]


def test_a_deadline_that_was_taken_back_is_never_due() -> None:
    deadlines = Deadlines()
    deadlines.schedule(A, 10)
    deadlines.schedule(A, None)
    deadlines.schedule(A, None)
    assert deadlines.due(100) == []
    deadlines.schedule(A, 10)
    deadlines.clear()
    assert deadlines.due(100) == []


async def test_an_earlier_deadline_ends_the_wait_for_a_later_one() -> None:
    deadlines = Deadlines()
    deadlines.schedule(A, 10_000)
    waiting = asyncio.create_task(deadlines.wait(0))
    await asyncio.sleep(0)
    deadlines.schedule(B, 1)
    await asyncio.wait_for(waiting, 0.4)
