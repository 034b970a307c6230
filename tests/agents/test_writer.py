"""What a unit leaves on the broker: whole states when they are due, whoever wrote before."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agents._changelog import LEAST_BYTES, ChangeLog
from agents._unit import Unit
from agents._writer import Writer
from agents.decide import Decide
from app.shipped import packs
from models.decision.advisor import Bounds
from models.decision.planner import Plan
from tests.keys import RING, WORKER_KEY
from topics.state import LOOP_STATE, Snapshot


class Producer:
    """Keeps the snapshots that are sent; each is acknowledged at once."""

    def __init__(self) -> None:
        self.sent: list[Snapshot] = []

    async def send(self, _topic: str, _key: bytes, value: bytes, *_: Any) -> asyncio.Future[None]:
        self.sent.append(msgspec.msgpack.decode(value, type=Snapshot))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def fail(error: BaseException) -> None:
    raise AssertionError from error


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4])
async def test_a_whole_state_that_is_due_is_written_however_many_owners_came_without_one(before: int) -> None:
    producer = Producer()
    writer = Writer(SimpleNamespace(producer=producer), lambda: None, (), fail)
    log = ChangeLog(LOOP_STATE, "decide", 0, generation=2 + before, based=2, since_bytes=2 * LEAST_BYTES)
    unit = Unit(Decide(packs(), Bounds(), WORKER_KEY, RING), log, {})
    unit.agent.state.plans["i1"] = Plan("shop")
    await writer.keep(0, unit, ())
    await asyncio.gather(*writer.renewals)
    whole = [snapshot.generation for snapshot in producer.sent if not snapshot.index]
    assert (whole, log.based, log.due) == ([log.generation], log.generation, False)
    assert (log.generation - 2) % 3, "it would overwrite the whole state of generation 2 part by part"
