"""The two drivers, set up for this broker: lanes through confluent-kafka, the loop through Faust."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from agents._lane import Lane, LaneSettings
from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker, consumer_config, producer_config
from app.kafka.families import hears_heartbeats
from app.kafka.groups import claim
from app.runtime.metrics import Meter
from app.security.faust import credentials
from app.security.keys import WORKER, keys_of
from app.system import Parts, Stages, Worker

if TYPE_CHECKING:
    from agents._loop import Loop

log = structlog.get_logger()

OF_GROUPS: Final = frozenset(  # consumer settings that only apply to a group
    {"group.id", "group.protocol", "partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"}
)
STOP_PERIOD_S: Final = 0.1


def make_lane(worker: Worker, stages: Stages, group: str) -> Lane:
    """A lane of `stages` in consumer group `group`."""
    settings = LaneSettings(
        consumer_config(worker.broker, group), producer_config(worker.broker), client_config(worker.broker)
    )
    return Lane(settings, stages, now_ms, Meter())


def client_config(broker: Broker) -> dict[str, object]:
    """How a consumer without a group connects."""
    return {key: value for key, value in consumer_config(broker, "").items() if key not in OF_GROUPS}


def make_loop(worker: Worker, stages_of: Callable[[Parts], Stages]) -> LoopDriver:
    """The loop with its agents. They sign with the worker's key and accept signatures of the keys in its home."""
    from agents._loop import Loop, LoopSettings  # importing Faust takes half a second, which lanes need not pay

    keys, heard = keys_of(worker.home), hears_heartbeats(worker.broker)
    if not heard:
        log.warning("heartbeats are not heard: their topic has other partitions than those of the loop",
                    remedy="opsloop topics grow telemetry or loop, until both have as many")  # fmt: skip
    parts = Parts(worker.settings, keys.own(WORKER), keys, heartbeats=heard)
    known = {(agent := make()).name: (make, agent.reads) for make in stages_of(parts)}
    if unknown := [verb for verb in worker.only if verb not in known]:
        raise UserError(f"the loop has no verb {unknown[0]!r}", f"--only takes some of {', '.join(known)}")
    reads = {verb: [topic.name for topic in topics] for verb, (_, topics) in known.items()}
    verbs = worker.only or tuple(known)
    stages = [make for verb, (make, _) in known.items() if verb in verbs]
    settings = LoopSettings(
        worker.broker.bootstrap, client_config(worker.broker), credentials(worker.broker.security),
        long_polls=not worker.broker.embedded, group=claim(worker.broker, verbs, reads),
        first_readers={topic: verb for verb, topics in reversed(reads.items()) for topic in topics},
    )  # fmt: skip
    return LoopDriver(lambda: Loop(settings, stages, now_ms, Meter()))


class LoopDriver:
    """Runs a Faust loop in a thread. `make` is called in the event loop that it will use."""

    def __init__(self, make: Callable[[], Loop]) -> None:
        self._make = make
        self._stopping = threading.Event()

    def run(self, ready: Callable[[], None]) -> None:
        """Run until `stop` is called. Raises UserError when the group assigns no partitions in time."""
        uvloop.run(self._work(ready))

    def stop(self) -> None:
        """Ask `run` to return. It does so within 0.1 s."""
        self._stopping.set()

    async def _work(self, ready: Callable[[], None]) -> None:
        loop = self._make()
        stopper = asyncio.create_task(self._stop_when_asked(loop))
        try:
            await loop.run(ready)
        except TimeoutError:
            raise UserError(
                "the loop got no partitions in time", "Look whether its topics exist: opsloop topics plan"
            ) from None
        finally:
            stopper.cancel()

    async def _stop_when_asked(self, loop: Loop) -> None:
        while not self._stopping.is_set():
            await asyncio.sleep(STOP_PERIOD_S)
        loop.stop()
