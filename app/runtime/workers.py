"""Roles: which agents a worker process runs, and how it starts and stops."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop
from confluent_kafka import KafkaException

from agents._lane import Lane, LaneSettings
from agents._relay import Relay, RelaySettings
from agents.rekey import Rekey
from app import pipeline
from app.clock import now_ms
from app.errors import UserError
from app.ingest import settings as ingest
from app.kafka.admin import topic_id
from app.kafka.broker import Broker, consumer_config, producer_config, require
from app.kafka.groups import settled
from app.runtime import memory
from app.runtime.metrics import Meter
from app.security.faust import credentials
from app.security.keys import WORKER, Keys, keys_of
from app.security.switch import LocalSwitch
from app.settings import Settings, home
from models.safety.guard import Guard

if TYPE_CHECKING:
    from agents._loop import Loop

log = structlog.get_logger()

Ready = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Worker:
    """What every role needs."""

    broker: Broker
    settings: Settings
    site: Path | None = None  # the folder of the site whose processes the actuator commands
    home: Path = field(default_factory=home)  # the folder with the keys, and with the local kill switch


def make_lane(worker: Worker, stages: pipeline.Stages, group: str) -> Lane:
    """A lane of `stages` in consumer group `group`."""
    return Lane(
        LaneSettings(
            consumer_config(worker.broker, group), producer_config(worker.broker), _reading(worker.broker)
        ),
        stages, now_ms, Meter(),
    )  # fmt: skip


def make_relay(worker: Worker) -> Relay:
    """A relay from other agents' topics to ours; every worker of the group has its share of their partitions."""
    classic = replace(worker.broker, group_protocol="classic")  # whose client looks for new topics by itself
    settings = RelaySettings(
        ingest.patterns(worker.settings.ingest), consumer_config(classic, "opsloop-rekey"),
        producer_config(worker.broker), _reading(worker.broker), partial(topic_id, worker.broker),
    )  # fmt: skip
    return Relay(settings, Rekey(ingest.choose(worker.settings.ingest)), now_ms, Meter())


def _reading(broker: Broker) -> dict[str, object]:
    grouped = {
        "group.id",
        "group.protocol",
        "partition.assignment.strategy",
        "session.timeout.ms",
        "heartbeat.interval.ms",
    }
    return {k: v for k, v in consumer_config(broker, "").items() if k not in grouped}


def make_loop(worker: Worker) -> Loop:
    """The loop with all its verbs."""
    from agents._loop import Loop, LoopSettings  # Faust takes half a second that lanes need not wait

    broker = worker.broker
    settings = LoopSettings(broker.bootstrap, _reading(broker), credentials(broker.security))
    keys = keys_of(worker.home)
    return Loop(settings, pipeline.loop(worker.settings, keys.own(WORKER), keys), now_ms, Meter())


def actuator_stages(worker: Worker) -> pipeline.Stages:
    """The actuator of the processes under supervisor in the site's folder, and those that settings enable."""
    if worker.site is None:
        raise UserError("an actuator needs to know whose processes it commands", "Give --site FOLDER")
    from agents.act import Act
    from app.actuators.ledger import Ledger
    from app.actuators.registry import with_others
    from app.actuators.supervisor import SupervisorActuator
    from app.demo.plan import SYSTEM

    ledger = Ledger(worker.site / "ledger")
    actuator, audiences = with_others(SupervisorActuator(worker.site), SYSTEM, worker.settings.actuators)
    guard = Guard(keys_of(worker.home), worker.settings.safety, *audiences)
    switch = LocalSwitch(worker.site, worker.home)
    return [lambda: Act(actuator, ledger, guard, switch.said)]


def run(worker: Worker, roles: list[str], ready: Ready) -> None:
    """Run the roles in this process until SIGTERM or SIGINT.

    Raises:
        UserError: the broker does not answer, or refuses what the roles need.
    """
    if "lane" not in roles:
        memory.share_heap()
    require(worker.broker)
    worker = replace(worker, broker=settled(worker.broker))
    if "lane" in roles and worker.settings.ingest.topics:
        roles = [*roles, "rekey"]
    if "lane" in roles:
        pipeline.warm_up(worker.settings.detection)
        memory.tune_allocator()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    waiting = set(roles)

    def one_ready(role: str) -> None:
        waiting.discard(role)
        if not waiting:
            ready()

    lanes: dict[str, Callable[[], Lane | Relay]] = {
        "rekey": lambda: make_relay(worker),
        "lane": lambda: make_lane(worker, pipeline.lane(worker.settings.detection), "opsloop-lane"),
        "act": lambda: make_lane(worker, actuator_stages(worker), "opsloop-act"),
    }
    failures: list[BaseException] = []
    if "act" in roles and worker.site is not None:
        switch = LocalSwitch(worker.site, worker.home)
        follow = (worker.broker, Keys(worker.home), stopping.is_set)
        threading.Thread(target=switch.follow, args=follow, name="switch", daemon=True).start()
    threads = []
    for role in [role for role in roles if role in lanes]:
        lane = lanes[role]()
        thread = threading.Thread(target=_guarded, args=(lane, role, one_ready, failures, stopping), name=role)
        thread.start()
        threads.append((lane, thread))
    try:
        if "loop" in roles:
            uvloop.run(_run_loop(make_loop(worker), lambda: one_ready("loop"), stopping))
        while not stopping.wait(0.2) and all(thread.is_alive() for _, thread in threads):
            pass
    finally:
        stopping.set()
        for lane, thread in threads:
            lane.stop()
            thread.join(30)
    if failures:
        raise failures[0]


def _guarded(
    lane: Lane | Relay,
    role: str,
    ready: Callable[[str], None],
    failures: list[BaseException],
    stopping: threading.Event,
) -> None:
    try:
        lane.run(lambda: ready(role))
    except Exception as error:
        log.error("a lane stops", role=role, exc_info=error)
        failures.append(error)
        stopping.set()


async def _run_loop(loop: Loop, ready: Ready, stopping: threading.Event) -> None:
    async def watch() -> None:
        while not stopping.is_set():
            await asyncio.sleep(0.1)
        loop.stop()

    watcher = asyncio.create_task(watch())
    try:
        await loop.run(ready)
    except TimeoutError:
        raise UserError(
            "the loop got no partitions in time", "Look whether its topics exist: opsloop topics plan"
        ) from None
    finally:
        watcher.cancel()


def explain(error: Exception) -> UserError:
    """A failure of a worker in words that say what to do."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, KafkaException):
        return UserError(f"the broker refused: {error.args[0].str()}", "Try opsloop doctor", exit_code=1)
    return UserError(
        f"the worker stopped: {error!r}", "Its log has the details; a restart goes on where it was", exit_code=1
    )


def configure_logging(verbose: bool) -> None:
    """Log lines to stderr: warnings, or everything."""
    import logging

    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s", force=True)
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.ERROR if not verbose else level)
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper("iso"), plain],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # asked for at each line: tests change it
    )
