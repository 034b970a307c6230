"""What a loop worker costs that has nothing to do, and how late it is when a deadline comes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
import psutil
from confluent_kafka.admin import NewTopic

from agents._loop import Loop, LoopSettings
from agents._state import Stateful
from app.clock import now_ms
from app.drills.processes import spread_systems
from app.errors import UserError
from app.kafka.broker import Broker, admin
from app.kafka.local import LocalKafka
from app.kafka.publisher import Publisher
from app.printing import err, print_json, print_table
from app.runtime.metrics import Meter
from models.keyed import KeyedState, Table, table
from topics.catalog import ALL
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant, Read, Record

SETTLE_S: Final = 10.0  # after the start, before the processor time counts
DEADLINES: Final = 300
SPREAD_MS: Final = 10_000  # the deadlines come within so many milliseconds


def run(partitions: int, seconds: float, json: bool) -> None:
    """Run a worker of the whole loop over `partitions` for `seconds` without a record; then let deadlines come."""
    spread_systems()
    with tempfile.TemporaryDirectory(prefix="opsloop-bench-") as folder, LocalKafka(Path(folder)) as kafka:
        broker = kafka.broker
        client = admin(broker)
        made = client.create_topics(
            [NewTopic(topic.name, partitions, replication_factor=1, config=topic.config) for topic in ALL]
        )
        for each in made.values():
            each.result(60)
        err.print(f"· a broker with {len(ALL)} topics of {partitions} partitions")
        found = {"partitions": float(partitions), "cpu_share": _idle(broker, Path(folder), seconds)}
        late = sorted(asyncio.run(_lateness(broker)))
    found |= {"deadline_late_p50_ms": late[len(late) // 2], "deadline_late_max_ms": late[-1]}
    if json:
        print_json(found)
    else:
        print_table("An idle loop", ("figure", "value"), ((k, f"{v:,.3g}") for k, v in found.items()))


def _idle(broker: Broker, folder: Path, seconds: float) -> float:
    """The share of a core that a worker takes. Raises UserError when it does not start."""
    command = [sys.executable, "-m", "app", "worker", "loop", "--broker", broker.bootstrap]
    home = os.environ | {"OPSLOOP_HOME": str(folder / "home")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=home) as process:
        try:
            assert process.stderr is not None
            if not any("is ready" in line for line in process.stderr):
                raise UserError("the loop worker did not start", "Run `opsloop worker loop` to see why", exit_code=1)
            worker = psutil.Process(process.pid)
            time.sleep(SETTLE_S)
            before, began = worker.cpu_times(), time.monotonic()
            time.sleep(seconds)
            after = worker.cpu_times()
            return float(after.user + after.system - before.user - before.system) / (time.monotonic() - began)
        finally:
            process.terminate()


class _Reminder(msgspec.Struct, frozen=True):
    due: Instant


class _Reminders(KeyedState):
    reminders: Table[_Reminder] = table(when=lambda reminder: reminder.due)


class _Remind(Stateful[_Reminders]):
    """Notes how late it is asked: an anomaly's stamp says when it wants to be."""

    name = "bench-remind"
    reads = (ANOMALIES,)
    writes = ()
    shape = _Reminders
    late: ClassVar[list[float]] = []

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Any]:
        for read in records:
            if isinstance(read.record, Anomaly):
                self.state.reminders[read.record.id] = _Reminder(read.record.onset)
        for key in self.state.reminders.due(now) if not records else ():
            self.late.append(float(now - self.state.reminders[key].due))
            del self.state.reminders[key]
        yield from ()


async def _lateness(broker: Broker) -> list[float]:
    """How late (ms) an agent is asked whose deadlines come on all partitions in turn."""
    from app.bench.loop import anomaly  # its systems are spread over the partitions

    settings = LoopSettings(broker.bootstrap, {"bootstrap.servers": broker.bootstrap}, group="opsloop-bench-idle")
    loop = Loop(settings, [_Remind], now_ms, Meter())
    ready = asyncio.Event()
    running = asyncio.create_task(loop.run(ready.set))
    await asyncio.wait_for(ready.wait(), 60)
    start = now_ms() + 3_000
    with Publisher(broker) as publisher:
        for number in range(DEADLINES):
            record = anomaly(f"idle{number}/service/0", "raised", start + number * SPREAD_MS // DEADLINES)
            publisher.send(record)
    while len(_Remind.late) < DEADLINES and now_ms() < start + SPREAD_MS + 10_000:
        await asyncio.sleep(0.2)
    loop.stop()
    await running
    if len(_Remind.late) < DEADLINES:
        raise UserError(f"{DEADLINES - len(_Remind.late)} deadlines never came", "Run it again", exit_code=1)
    return _Remind.late
