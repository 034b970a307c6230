"""One replica of one service of the demo site: `python -m app.demo.service SERVICE INSTANCE PORT` in the site's folder.

It does real work and real calls. SIGUSR1 corrupts its data and SIGUSR2 makes it leak memory, until a restart.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Final, Literal

import uvloop

from app.clock import now_ms
from app.demo import files, plan
from app.demo.http import Answer, Server
from app.demo.layout import Layout, Line
from app.demo.metrics import Gauges
from app.demo.peers import Peers

TICK_S: Final = 0.1
LEAK_PER_TICK: Final = 1_000_000  # bytes: ten megabytes a second
LEAK_LIMIT: Final = 400_000_000
ITEMS: Final = 100
PATIENCE_S: Final = 0.3  # seconds for running requests when it stops


class Replica:
    """The state of one process."""

    def __init__(self, layout: Layout, service: str, instance: int, peers: Peers) -> None:
        self.layout, self.service, self.instance = layout, service, instance
        self.peers = peers
        self.gauges = Gauges(plan.CALLS[service])
        self._items = [json.dumps({"item": n, "price": n * 1.5, "text": f"{service} {n} " * 20}) for n in range(ITEMS)]
        self._leak: list[bytes] | None = None
        self._random = random.Random(f"{service}/{instance}")
        self._pointer_file = files.Watched(layout.pointer_file(service))
        self._pointer_file.changed()
        self._load_config()

    def _load_config(self) -> None:
        self.pointer = self.layout.pointer(self.service)
        self.config = self.layout.config(self.service, self.pointer.revision)
        self._slots = asyncio.Semaphore(self.config.concurrency)

    async def answer(self, path: str) -> Answer:
        """Answer a request for health, for metrics, or to the service."""
        if path == "/healthz":
            return Answer(200, "ok\n")
        if path == "/metrics":
            text = self.gauges.text(replicas=self.peers.count(self.service), revision=self.pointer.revision)
            return Answer(200, text, "text/plain; version=0.0.4; charset=utf-8")
        return await self._serve(path)

    async def _serve(self, path: str) -> Answer:
        """Do the request's own work, then its call. Only failures of the former count as this service's errors."""
        self.gauges.arrived()
        began, own_s, failed = time.monotonic(), None, False
        try:
            body = await self._work(path)
            own_s = time.monotonic() - began
            peer = self._peer(path)
            if peer and not await self._call(peer, path):
                return Answer(502, f"{peer} failed\n")
            return Answer(200, body, "application/json")
        except ValueError as error:
            failed = True
            return Answer(500, f"{error}\n")
        finally:
            all_s = time.monotonic() - began
            self.gauges.left(all_s if own_s is None else own_s, all_s, failed)

    async def _work(self, path: str) -> str:
        """Wait for a slot, then read an item with the delay of the configuration."""
        slots = self._slots  # a new configuration replaces them
        self.gauges.queued += 1
        try:
            await slots.acquire()
        finally:
            self.gauges.queued -= 1
        try:
            with self.gauges.busy.slot():
                await asyncio.sleep(self.config.delay_ms / 1000 * self._random.gammavariate(16, 1 / 16))
                if self._random.random() < self.config.error_rate:
                    raise ValueError("refused, as the configuration says")
                return self._look_up(int(path.rpartition("/")[2]))
        finally:
            slots.release()

    def _look_up(self, number: int) -> str:
        item = json.loads(self._items[number % ITEMS])
        item["tag"] = hashlib.sha256(json.dumps(item).encode()).hexdigest()
        return json.dumps(item)

    def _peer(self, path: str) -> str:
        called = plan.CALLS[self.service]
        wanted = path.split("/", 2)[1]
        if len(called) > 1 and wanted not in called:
            raise ValueError(f"there is no {wanted!r} here")
        return wanted if len(called) > 1 else "".join(called)

    async def _call(self, peer: str, path: str) -> bool:
        return await self.peers.call(peer, path, self.config.timeout_ms / 1000, lambda ok: self.gauges.called(peer, ok))

    async def tick(self) -> None:
        """Read changed files, update the gauges, and leak memory after SIGUSR2, ten times a second."""
        while True:
            if self._pointer_file.changed():
                moves = self.pointer.moves
                self._load_config()
                for cause in self.pointer.since(moves):
                    self.note("config", cause)
            self.peers.refresh()
            self.gauges.tick(self.config.concurrency)
            if self._leak is not None and len(self._leak) * LEAK_PER_TICK < LEAK_LIMIT:
                self._leak.append(b"\x5a" * LEAK_PER_TICK)
            await asyncio.sleep(TICK_S)

    def spoil(self) -> None:
        """Make half of the items unreadable."""
        self._items[::2] = [item[: len(item) // 2] for item in self._items[::2]]
        self.note("fault", "fault:errors")

    def leak(self) -> None:
        """Start to leak memory."""
        self._leak = self._leak or []
        self.note("fault", "fault:leak")

    def note(self, event: Literal["start", "stop", "config", "fault"], cause: str) -> None:
        """Write one line to the journal."""
        self.layout.write(Line(now_ms(), event, self.service, self.instance, os.getpid(), self.pointer.revision, cause))


async def run(service: str, instance: int, port: int) -> None:
    """Serve until SIGTERM."""
    layout, program = Layout(Path.cwd()), plan.program(service, instance)
    replica = Replica(layout, service, instance, Peers(layout))
    replica.note("start", layout.take_cause(program))
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number, handler in (
        (signal.SIGTERM, stopped.set), (signal.SIGUSR1, replica.spoil), (signal.SIGUSR2, replica.leak),
    ):  # fmt: skip
        loop.add_signal_handler(number, handler)
    server = Server(replica.answer)
    await server.start(port)
    ticking, stopping = asyncio.create_task(replica.tick()), asyncio.create_task(stopped.wait())
    await asyncio.wait({ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if ticking.done():
        ticking.result()
    replica.note("stop", layout.cause(program))
    await server.stop(PATIENCE_S)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
