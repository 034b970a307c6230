"""Measures the loop's state on a real broker: an event beside many open items, and the restore of all items.

The agent is `approve`: each item is a decision of 2 kB that waits for two votes, each event the first vote on one of
them. The plain alternative writes the whole state at every event, as the loop once did.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer

from agents import _changelog
from agents._changelog import ChangeLog
from agents._unit import Unit, restored_unit
from agents._writer import Writer
from agents.approve import Approve
from app.bench.lane import broker_for_bench
from app.clock import now_ms
from app.kafka.broker import Broker
from app.printing import err, print_json, print_table
from app.security.keys import WORKER, Keys, keys_of
from models.safety.modes import Mode
from models.safety.roles import Role
from models.safety.settings import SafetySettings
from models.safety.signing import sign_vote
from topics.approvals import APPROVALS, Approval, subject
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.proposals import Proposal
from topics.spec import Instant, Origin, Read
from topics.state import LOOP_STATE

ITEM_BYTES: Final = 2_000
FEW: Final = 10
WAIT_MS: Final = 3_600_000  # ms to wait for votes: longer than the measurement
PLAIN_EVENTS: Final = 20
SETTINGS: Final = SafetySettings(mode=Mode.APPROVE, quorum=2, approval_ms=WAIT_MS)


def run(address: str, items: int, events: int, json: bool) -> None:
    """Measure `events` events beside `items` open items, and print their cost."""
    with tempfile.TemporaryDirectory(prefix="opsloop-bench-") as home, broker_for_bench(address) as broker:
        keys = keys_of(Path(home))
        keys.add("ana", (Role.APPROVER,))
        found = asyncio.run(_written(broker, keys, items, events)) | _plain(keys, items)
        found["flat_ratio"] = _flat(keys, items)
    if json:
        print_json(found)
    else:
        print_table("State of the loop", ("figure", "value"), ((k, f"{v:,.3g}") for k, v in found.items()))


async def _written(broker: Broker, keys: Keys, items: int, events: int) -> dict[str, float]:
    """Time events from the vote until the broker has the change; then time the restore by a new owner."""
    partition = 0
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", linger_ms=2)
    await producer.start()
    counted = _Counting(producer)
    writer = Writer(SimpleNamespace(producer=counted), lambda: None, (), _raise)
    agent = _agent(keys)
    unit = Unit(agent, ChangeLog(LOOP_STATE, f"bench-{time.time_ns()}", partition), {})
    decisions = list(_decisions(items))
    for first in range(0, items, 500):
        async with unit.lock:
            unit.step([_read(each, 0) for each in decisions[first : first + 500]], now_ms())
            await writer.keep(partition, unit, ())
    await asyncio.gather(*writer.renewals)
    err.print(f"· {items:,} items are open, {counted.bytes / 1e6:.0f} MB are written")
    changed, took = 0, []
    counted.bytes = 0
    for number, decision in zip(range(events), itertools.cycle(decisions), strict=False):
        vote = _read(_vote(decision, keys), number)
        began = time.perf_counter()
        async with unit.lock:
            outputs = unit.step([vote], now_ms())
            assert isinstance(outputs[0], Decision), outputs
            changed += _size(agent.state.waiting[decision.id]) + _size(agent.state.votes[decision.id])
            unit.applied[APPROVALS.name] = number + 1
            await writer.keep(partition, unit, ())
        took.append(time.perf_counter() - began)
        if (number + 1) % len(decisions) == 0:
            break
    await asyncio.gather(*writer.renewals)
    await producer.stop()
    began = time.perf_counter()
    logs, _ = _changelog.restored({"bootstrap.servers": broker.bootstrap}, LOOP_STATE, [partition])
    again = _agent(keys)
    restored_unit(lambda: again, logs[partition][unit.log.agent], None)
    recovery = time.perf_counter() - began
    assert list(again.state.waiting.items()) == list(agent.state.waiting.items())
    return {
        "written_per_changed": counted.bytes / changed, "event_p50_ms": statistics.median(took) * 1e3,
        "event_p99_ms": statistics.quantiles(took, n=100)[98] * 1e3, "recovery_s": recovery, "events": len(took),
    }  # fmt: skip


def _plain(keys: Keys, items: int) -> dict[str, float]:
    """The same events in memory, where each writes the whole state."""
    agent, decisions = _filled(keys, items)
    changed = written = 0
    for number, decision in enumerate(decisions[:PLAIN_EVENTS]):
        list(agent.step([_read(_vote(decision, keys), number)], now_ms()))
        changed += _size(agent.state.waiting[decision.id]) + _size(agent.state.votes[decision.id])
        written += len(agent.snapshot())
    return {"plain_written_per_changed": written / changed}


def _flat(keys: Keys, items: int) -> float:
    """The median step at `items` items over that at `FEW`, measured in turn. Encoding the changes is included."""
    units = [(*_unit(keys, count), itertools.cycle(_decisions(count)), list[float]()) for count in (FEW, items)]
    for number in range(3_000):
        for agent, unit, decisions, took in units:
            decision = next(decisions)
            if decision.id in agent.state.votes:  # remove the vote, so that the decision waits again
                agent.state.votes.pop(decision.id)
                agent.state.waiting[decision.id] = decision
                agent.changes()
            vote = _read(_vote(decision, keys), number)
            began = time.perf_counter()
            unit.step([vote], now_ms())
            unit.applied[APPROVALS.name] = number + 1
            unit.log.changed(unit.applied, agent.changes())
            took.append(time.perf_counter() - began)
    few, many = (statistics.median(took) for *_, took in units)
    return many / few


def _unit(keys: Keys, items: int) -> tuple[Approve, Unit]:
    agent, _ = _filled(keys, items)
    agent.changes()
    return agent, Unit(agent, ChangeLog(LOOP_STATE, "bench", 0), {})


def _filled(keys: Keys, items: int) -> tuple[Approve, list[Decision]]:
    agent, decisions = _agent(keys), list(_decisions(items))
    list(agent.step([_read(each, number) for number, each in enumerate(decisions)], now_ms()))
    return agent, decisions


def _agent(keys: Keys) -> Approve:
    return Approve(SETTINGS, keys.own(WORKER), keys)


def _decisions(count: int) -> Iterator[Decision]:
    now = now_ms()
    for number in range(count):
        proposal = Proposal(
            id=f"p{number}", ts=now, action="restart_service", target=f"bench{number % 500}/service/{number}",
            parameters={}, requester="decide", confidence=0.9, cause="process_gone", reasons=("why " * 300,),
        )  # fmt: skip
        decision = Decision(
            id=f"d{number}", ts=now, state=DecisionState.PENDING, proposal=proposal, tier="automatic", mode="approve",
            reasons=("mode approve: somebody says yes",), expires=now + WAIT_MS,
        )  # fmt: skip
        missing = max(0, ITEM_BYTES - _size(decision))
        yield msgspec.structs.replace(decision, reasons=(*decision.reasons, "x" * missing))


def _vote(decision: Decision, keys: Keys) -> Approval:
    wanted, now = decision.proposal, now_ms()
    bound = subject(decision.id, wanted.action, wanted.target, wanted.parameters, wanted.requester)
    return sign_vote(
        Approval(
            id=f"v{decision.id}", decision=decision.id, system="bench", ts=now, voter="ana", vote="approve", reason="",
            subject=bound, expires=now + 60_000,
        ),
        keys.own("ana"),
    )  # fmt: skip


def _read(record: Any, offset: int) -> Read[Any]:
    topic = APPROVALS if isinstance(record, Approval) else DECISIONS
    return Read(record, Origin(topic.name, 0, offset), now_ms())


def _size(row: Any) -> int:
    return len(msgspec.msgpack.encode(row))


def _raise(error: BaseException) -> None:
    raise error


class _Counting:
    """A producer with the interface of Faust's that counts the bytes of keys, values and headers."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self.bytes = 0

    async def send(
        self, topic: str, key: bytes, value: bytes, partition: int, _ts: Instant | None, headers: Sequence[Any]
    ) -> Any:
        self.bytes += len(key) + len(value) + sum(len(name) + len(content) for name, content in headers)
        return await self._producer.send(topic, value, key, partition, None, headers)
