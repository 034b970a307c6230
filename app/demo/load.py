"""The visitors: `python -m app.demo.load SEED` in the site's folder. Open loop: a slow site gets the same traffic."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import uvloop

from app.clock import now_ms
from app.demo import files, plan
from app.demo.layout import Layout, Tally
from app.demo.peers import Peers

TICK_S: Final = 0.1
TIMEOUT_S: Final = 3.0
MOST_OUTSTANDING: Final = 2000


class Visitors:
    """Sends requests to the gateway, in one stream for each service."""

    def __init__(self, layout: Layout, peers: Peers, seed: int) -> None:
        self.layout, self.peers, self.seed = layout, peers, seed
        self.count: Counter[str] = Counter()
        self._outstanding: set[asyncio.Task[None]] = set()
        self._pointer_file = files.Watched(layout.pointer_file(plan.LOAD))
        self._pointer_file.changed()
        self._load_traffic()

    def _load_traffic(self) -> None:
        self.traffic = self.layout.traffic(self.layout.pointer(plan.LOAD).revision)

    async def visit(self, service: str) -> None:
        """Send requests for ever at the rate in force, with gamma-distributed gaps."""
        draw = random.Random(f"{self.seed}/{service}")
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            shape = self.traffic.regularity
            due += draw.gammavariate(shape, 1 / (shape * self.traffic.rates[service]))
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._send(f"/{service}/{draw.randrange(1000)}")

    def _send(self, path: str) -> None:
        self.count["sent"] += 1
        if len(self._outstanding) >= MOST_OUTSTANDING:
            self.count["failed"] += 1
            return
        task = asyncio.create_task(self._ask(path))
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)

    async def _ask(self, path: str) -> None:
        ok = await self.peers.call("gateway", path, TIMEOUT_S, lambda _: None)
        self.count["ok" if ok else "failed"] += 1

    async def tick(self) -> None:
        """Read changed files, end a surge whose time is over, and write the tally."""
        while True:
            if self._pointer_file.changed():
                self._load_traffic()
            traffic = self.traffic
            if traffic.lasts_s and now_ms() - traffic.began > traffic.lasts_s * 1000:
                self.layout.point(plan.LOAD, traffic.parent, "fault:surge", "the surge is over")
            self.peers.refresh()
            files.replace(self.layout.tally, Tally(**self.count))
            await asyncio.sleep(TICK_S)


async def run(seed: int) -> None:
    """Send requests until SIGTERM."""
    layout = Layout(Path.cwd())
    visitors = Visitors(layout, Peers(layout), seed)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    working = [visitors.tick(), *(visitors.visit(service) for service in visitors.traffic.rates), stopped.wait()]
    done, _ = await asyncio.wait(list(map(asyncio.ensure_future, working)), return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1])))
