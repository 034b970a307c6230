"""The collector measures this host, its processes and Prometheus endpoints periodically, and publishes samples.

Sources run independently: one that hangs delays no other. During an outage of the broker, samples wait in a bounded
outbox. The collector's own sample has the metrics `collector.pending` and `collector.dropped.rate`.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import structlog
import uvloop

from app.clock import now_ms
from app.ingest.collect.host import Host, Processes
from app.ingest.collect.lines import NewLines
from app.ingest.collect.outbox import Outbox
from app.ingest.collect.rates import Rates
from app.ingest.collect.scrape import Scraper, Target
from app.kafka.broker import Broker
from topics.telemetry import Event, Heartbeat, Sample

log = structlog.get_logger()

Work = Coroutine[None, None, None]

PUMP_S: Final = 0.02  # seconds; the longest time that a sample waits before it is sent
FILES_S: Final = 0.2


@dataclass(frozen=True)
class Sources:
    """The sources of a collector and its period."""

    node: str
    """The entity of this host, and the name of its heartbeats."""
    period_s: float = 1.0
    host: bool = True
    """Whether the host itself is measured."""
    processes: tuple[str, ...] = ()
    """Names or ids of processes; each becomes an entity NODE/NAME."""
    targets: tuple[Target, ...] = ()
    targets_file: Path | None = None
    """A JSON list of {"entity", "url"}, read again when it changes."""
    events_file: Path | None = None
    """JSON lines of topics.telemetry.Event, read from the start and then as it grows."""
    timeout_s: float = 0.0
    """Seconds without an answer after which a target is hung; 0: three periods, at least half a second."""
    start_s: float = 10.0
    """Seconds for which a new target that has not answered counts as starting. No samples of it are published in this
    time, because detection would learn that being down is normal."""
    keep_s: float = 60.0
    """Seconds for which samples are kept while the broker does not answer."""
    keep_bytes: int = 50_000_000

    @property
    def patience_s(self) -> float:
        """The time-out of one scrape, in seconds."""
        return self.timeout_s or max(3 * self.period_s, 0.5)


class Collector:
    """Measures and publishes until it is stopped."""

    def __init__(self, broker: Broker, sources: Sources) -> None:
        self.sources = sources
        self.outbox = Outbox(broker, sources.keep_s, sources.keep_bytes)
        self.bad_lines = 0
        self._scrapes: dict[Target, asyncio.Task[None]] = {}
        self._spawn: Callable[[Work], asyncio.Task[None]]
        self._rates = Rates()
        self._beats = 0

    def run(self, stop: threading.Event, limit_s: float = 3.0) -> int:
        """Collect in this thread until `stop` is set. Returns the number of samples that could not be published."""

        async def until() -> None:
            stopping = asyncio.Event()
            serving = asyncio.create_task(self.serve(stopping))
            while not stop.is_set() and not serving.done():
                await asyncio.sleep(0.05)
            stopping.set()
            await serving

        uvloop.run(until())
        return self.outbox.flush(limit_s)

    async def serve(self, stop: asyncio.Event) -> None:
        """Collect in this event loop until `stop` is set. The caller flushes the outbox."""
        open_session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with open_session as session, asyncio.TaskGroup() as group:
            self._spawn = group.create_task
            tasks = [self._spawn(work) for work in self._works(session)]
            self._follow_targets(session, self.sources.targets)
            await stop.wait()
            for task in (*tasks, *self._scrapes.values()):
                task.cancel()
        self.outbox.pump()

    def _works(self, session: aiohttp.ClientSession) -> Iterator[Work]:
        yield _every(PUMP_S, self.outbox.pump)
        yield _every(self.sources.period_s, self._node_reader())
        soon_s = min(FILES_S, self.sources.period_s)
        if (file := self.sources.targets_file) is not None:
            yield _every(soon_s, self._targets_reader(session, file))
        if (file := self.sources.events_file) is not None:
            yield _every(soon_s, self._events_reader(file))

    # --- this host ----------------------------------------------------------------------------------------------------

    def _node_reader(self) -> Callable[[], None]:
        host = Host() if self.sources.host else None
        processes = [Processes(self.sources.node, wanted) for wanted in self.sources.processes]

        def measure() -> None:
            node, now = self.sources.node, now_ms()
            period_ms = int(self.sources.period_s * 1000)
            self.outbox.add(Heartbeat(node=node, ts=now, seq=self._beats, period_ms=period_ms))
            self._beats += 1
            metrics = {} if host is None else host.read(now)
            metrics["collector.pending"] = float(self.outbox.pending)
            self._rates.put(metrics, "collector.dropped.rate", float(self.outbox.dropped), now)
            self.outbox.add(Sample(entity=node, ts=now, metrics=metrics))
            for each in processes:
                self.outbox.add(each.read(now_ms()))

        return measure

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def _follow_targets(self, session: aiohttp.ClientSession, targets: tuple[Target, ...]) -> None:
        for gone in self._scrapes.keys() - set(targets):
            self._scrapes.pop(gone).cancel()
        for new in set(targets) - self._scrapes.keys():
            self._scrapes[new] = self._spawn(self._scrape_forever(session, new))

    async def _scrape_forever(self, session: aiohttp.ClientSession, target: Target) -> None:
        scraper = Scraper(target, self.sources.patience_s)
        # targets are spread over the period, each at a fixed phase
        turn = zlib.crc32(target.entity.encode()) / 2**32
        clock = asyncio.get_running_loop().time
        starting_until = clock() + self.sources.start_s

        async def once() -> None:
            nonlocal starting_until
            samples = await scraper.scrape(session)
            if samples[0].metrics["up"]:
                starting_until = 0.0
            if clock() >= starting_until:
                for sample in samples:
                    self.outbox.add(sample)

        await _every(self.sources.period_s, once, turn)

    def _targets_reader(self, session: aiohttp.ClientSession, file: Path) -> Callable[[], None]:
        seen: tuple[int, int] | None = None

        def read() -> None:
            nonlocal seen
            try:
                stat = file.stat()
                if (version := (stat.st_mtime_ns, stat.st_ino)) == seen:
                    return
                targets = msgspec.json.decode(file.read_bytes(), type=list[Target])
                seen = version
            except (OSError, msgspec.DecodeError) as error:
                if seen is not None:  # keep the present targets; a file that never existed may still come
                    log.warning("the targets file cannot be read", file=file.name, error=str(error))
                    seen = None
                return
            self._follow_targets(session, (*self.sources.targets, *targets))

        return read

    # --- events -------------------------------------------------------------------------------------------------------

    def _events_reader(self, file: Path) -> Callable[[], None]:
        lines = NewLines(file)
        decoder = msgspec.json.Decoder(Event)

        def read() -> None:
            for number, line in lines.read():
                try:
                    self.outbox.add(decoder.decode(line))
                except msgspec.DecodeError as error:
                    self.bad_lines += 1
                    log.warning("not an event", file=file.name, line=number, error=str(error))

        return read


async def _every(period_s: float, work: Callable[[], Awaitable[None] | None], turn: float = 0.0) -> None:
    """Call `work` at each multiple of the period. Times that pass while it runs are skipped."""
    loop = asyncio.get_running_loop()
    start = loop.time() + turn * period_s
    while True:
        await asyncio.sleep(max(0.0, start - loop.time()))
        waiting = work()
        if waiting is not None:
            await waiting
        start = max(start + period_s, start + period_s * int((loop.time() - start) / period_s))
