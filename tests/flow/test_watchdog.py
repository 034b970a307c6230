"""A worker of the loop ends when nothing reaches it of a partition with records, and stays while one waits its turn."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from agents import _inbox, _transport
from agents._agent import Agent
from agents._loop import Loop, LoopSettings
from agents._watchdog import Stuck
from agents._writer import Writer
from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import Broker
from tests.builders import SAMPLES, Quiet
from tests.flow.test_transport import until
from topics.codec import encode
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant, Read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
_numbers = itertools.count()


class Count(Agent[Read[Anomaly]]):
    """Remembers of what it was told."""

    name, reads, writes = "count", (ANOMALIES,), ()
    told: ClassVar[set[str]]

    def step(self, records: Sequence[Read[Anomaly]], now: Instant) -> list[Any]:
        self.told.update(read.record.entity for read in records)
        return []


async def test_a_partition_of_which_nothing_reaches_the_loop_ends_it_and_comes_again_after_a_restart(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Count, "told", set(), raising=False)
    given, deaf = _transport.Consumer._getmany, [4]

    async def without_some(self: Any, **how: Any) -> Any:
        return {tp: found for tp, found in (await given(self, **how)).items() if tp.partition not in deaf}

    monkeypatch.setattr(_transport.Consumer, "_getmany", without_some)
    settings = LoopSettings(
        broker.bootstrap, {"bootstrap.servers": broker.bootstrap}, group=f"watched-{next(_numbers)}", stuck_s=4.0
    )
    names = {f"deaf{next(_numbers)}-{place}-{now_ms()}": place for place in (3, 4)}

    def publish(name: str) -> None:
        record = msgspec.structs.replace(SAMPLES[ANOMALIES.name], entity=name)
        with Publisher(broker) as publisher:
            publisher.send_raw(ANOMALIES.name, b"k", encode(record).value, partition=names[name])

    other, unheard = names
    loop = Loop(settings, [Count], now_ms, Quiet())
    run = asyncio.create_task(loop.run())
    publish(unheard)
    while not run.done():
        publish(other)
        await asyncio.sleep(0.2)
    with pytest.raises(Stuck, match=f"of {ANOMALIES.name}-4 on, and nothing of it was taken for 4 s"):
        await run
    assert (other in Count.told, unheard in Count.told) == (True, False)
    deaf.clear()
    loop = Loop(settings, [Count], now_ms, Quiet())
    run = asyncio.create_task(loop.run())
    await until(lambda: unheard in Count.told, 40)
    loop.stop()
    await run


async def test_the_loop_stays_that_has_a_backlog_in_which_a_partition_waits_for_its_turn(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Count, "told", set(), raising=False)
    keep = Writer.keep

    async def keep_slowly(*given: Any) -> None:
        await asyncio.sleep(1.0)
        await keep(*given)

    monkeypatch.setattr(Writer, "keep", keep_slowly)
    monkeypatch.setattr(_inbox, "AT_ONCE", 1)
    settings = LoopSettings(
        broker.bootstrap, {"bootstrap.servers": broker.bootstrap}, group=f"watched-{next(_numbers)}", stuck_s=1.0
    )
    monkeypatch.setattr(_transport, "BATCH_RECORDS", 10)
    stamp = now_ms()

    def publish(place: int, count: int) -> str:
        name = (
            f"late-{place}-{stamp}"  # one entity: others read this topic too, and an incident each would keep them busy
        )
        record = msgspec.structs.replace(SAMPLES[ANOMALIES.name], entity=name)
        with Publisher(broker) as publisher:
            for _ in range(count):
                publisher.send_raw(ANOMALIES.name, b"k", encode(record).value, partition=place)
        return name

    first = publish(3, 80)
    loop = Loop(settings, [Count], now_ms, Quiet())
    run = asyncio.create_task(loop.run())
    await until(lambda: run.done() or first in Count.told, 40)
    second = publish(4, 1)
    await until(lambda: run.done() or second in Count.told, 60)
    loop.stop()
    await run
