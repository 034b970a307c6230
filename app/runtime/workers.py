"""A worker process: starts its roles' drivers, and ends all of them when it is stopped or one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

import structlog
from confluent_kafka import KafkaException

from app.errors import UserError
from app.kafka.broker import require
from app.kafka.families import require_even
from app.kafka.groups import settled
from app.runtime import memory
from app.runtime.signals import on_stop
from app.system import Driver, Parts, Stages, Worker, WorkerRole

log = structlog.get_logger()

Ready = Callable[[], None]
StagesOf = Callable[[str, Parts], Stages]  # (role, parts) → the factory of each agent of the role
JOIN_S = 30.0  # seconds for a driver to end; after that the process ends without waiting for it


def run(worker: Worker, roles: Sequence[WorkerRole], stages_of: StagesOf, ready: Ready) -> None:
    """Run the roles in this process until SIGTERM or SIGINT. `ready` is called once, when all of them are ready.

    All drivers are made before the first one starts: when one cannot be made, none has to be stopped.

    Raises:
        UserError: the broker does not answer, or refuses what the roles need; or a role cannot be started.
    """
    preparations = [role.prepare for role in roles if role.prepare]
    if not preparations:
        memory.share_heap()
    require(worker.broker)
    require_even(worker.broker)
    worker = replace(worker, broker=settled(worker.broker))
    for prepare in preparations:
        prepare(worker.settings)
    group = DriverGroup(ready)
    on_stop(group.stop)
    group.run({role.name: role.drive(worker, partial(stages_of, role.name)) for role in roles})


class DriverGroup:
    """The drivers of one process, each in a thread of its own. When one ends, all are stopped."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self._waiting: set[str] = set()
        self._failures: list[Exception] = []
        # not an Event: `put` is reentrant, so a signal handler may call it at any moment
        self._end: SimpleQueue[None] = SimpleQueue()

    def stop(self) -> None:
        """Ask `run` to return. May be called from a signal handler and from any thread."""
        self._end.put(None)

    def run(self, drivers: Mapping[str, Driver]) -> None:
        """Run the drivers until `stop`, or until one ends. Raises the first failure."""
        self._waiting = set(drivers)
        threads = [  # daemon threads: a driver that hangs must not keep the process alive
            threading.Thread(target=self._guard, args=(name, driver), name=name, daemon=True)
            for name, driver in drivers.items()
        ]
        try:
            for thread in threads:
                thread.start()
            self._end.get()
        finally:
            for driver in drivers.values():
                driver.stop()
            for thread in threads:
                if thread.ident is not None:  # it was started
                    thread.join(JOIN_S)
        if self._failures:
            raise self._failures[0]

    def _guard(self, name: str, driver: Driver) -> None:
        try:
            driver.run(partial(self._one_ready, name))
        except Exception as error:
            if not isinstance(error, UserError):
                log.error("a worker's role stops", role=name, exc_info=error)
            self._failures.append(error)
        finally:
            self.stop()

    def _one_ready(self, name: str) -> None:
        self._waiting.discard(name)
        if not self._waiting:
            self._ready()


def explain(error: Exception) -> UserError:
    """The UserError for a worker's failure: one line with the cause and the remedy."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, KafkaException):
        return UserError(f"the broker refused: {error.args[0].str()}", "Try opsloop doctor", exit_code=1)
    return UserError(
        f"the worker stopped: {error!r}", "Its log has the details; a restart goes on where it was", exit_code=1
    )
