"""A lane that measures its own rate.

`python -m app.bench.lane_worker BROKER END BEGIN [turns | signals]`, or `BROKER timed`, or `BROKER shared GROUP`.
With `signals` END and BEGIN count messages, since what follows from values is more or less than they were.
"""

from __future__ import annotations

import itertools
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agents._agent import Agent
from agents._lane import Lane, LaneSettings
from agents.decode import Decode
from agents.detect import Detect
from app.bench.loads import ratios
from app.clock import now_ms
from app.ingest.warm_up import warm_up
from app.kafka.broker import Broker, consumer_config, producer_config
from app.kafka.groups import settled
from app.printing import print_json
from app.runtime.memory import tune_allocator
from topics.batch import Batch, Names
from topics.meanings import NOTHING
from topics.signals import Anomaly
from topics.spec import Instant

TURN_S = 2.0
IDLE_S = 60.0  # seconds within which a lane without input has reported why
PATIENT_S = 150.0  # seconds; session of a worker that is paused until the topic is filled


class Clocked(Agent[Any]):
    """A stage that counts its time and its points."""

    def __init__(self, inner: Agent[Any], book: Book, *, messages: bool = False) -> None:
        """messages: they are counted in the place of points."""
        self.inner, self.book, self.messages = inner, book, messages
        self.name, self.reads, self.writes, self.raw = inner.name, inner.reads, inner.writes, inner.raw  # type: ignore[misc]
        self.pieces, self.restore = inner.pieces, inner.restore  # type: ignore[method-assign]

    def step(self, records: Sequence[Any], now: Instant) -> Iterator[Any]:
        """Call the stage and count its time and points."""
        began = time.perf_counter()
        found = list(self.inner.step(records, now))
        self.book.spent[self.name] = self.book.spent.get(self.name, 0.0) + time.perf_counter() - began
        if self.name == "decode":
            points = sum(len(batch.value) for batch in found if isinstance(batch, Batch))
            self.book.counted(len(records) if self.messages else points)
        yield from found


class Turns(Lane):
    """A lane that alternates between turns with and without snapshots of equal length, once it is warm.

    Turns in one run share the machine's other load, which separate runs may not.
    """

    held_s = 0.0
    held_cpu_s = 0.0
    saved = 0

    def __init__(
        self, settings: LaneSettings, stages: Sequence[Callable[[], Agent[Any]]], now: Callable[[], Instant], book: Book
    ) -> None:
        super().__init__(settings, stages, now, book)
        self.book = book
        self.turns: list[Counter[str]] = []  # counts of each turn; the first is with snapshots
        self._began: Counter[str] = Counter()

    def _save_some(self) -> bool:
        now, without = self._now(), len(self.turns) % 2 == 1
        if not self._began:
            self._began = now if self.book.from_time else self._began
        elif now["s"] - self._began["s"] >= (self.turns[-1]["s"] if without else TURN_S):
            now.subtract(self._began)
            self.turns.append(now)
            self._began, without = self._now(), not without
        if without:
            return True
        began, cpu = time.perf_counter(), time.process_time()
        left = super()._save_some()
        self.held_s += time.perf_counter() - began
        self.held_cpu_s += time.process_time() - cpu
        self.saved += 1
        return left

    def _now(self) -> Counter[str]:
        return Counter({
            "points": self.book.points, "cpu_s": time.process_time(), "s": time.perf_counter(),
            "held_s": self.held_s, "held_cpu_s": self.held_cpu_s, "saved": self.saved,
        })  # fmt: skip

    def told(self) -> dict[str, float]:
        """Rates of the turns, and the median loss of one with snapshots against its neighbour."""
        found = {"turns": float(len(self.turns)), "snapshots": float(sum(turn["saved"] for turn in self.turns))}
        for by in ("cpu_s", "s"):
            rates = [turn["points"] / turn[by] for turn in self.turns]
            pairs = [(w, o) if at % 2 == 0 else (o, w) for at, (w, o) in enumerate(itertools.pairwise(rates))]
            found |= {
                f"points_per_{by}_with": statistics.median(rates[::2]),
                f"points_per_{by}_without": statistics.median(rates[1::2]),
                f"share_{by}": statistics.median(1.0 - with_them / without for with_them, without in pairs),
                f"held_share_{by}": sum(turn[f"held_{by}"] for turn in self.turns)
                / sum(turn[by] for turn in self.turns[::2]),
            } if pairs else {}  # fmt: skip
        return found


class Book:
    """Points processed over time. The first tenth is warm-up."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin, self.end = begin, end
        self.points = 0
        self.from_point, self.from_time, self.from_cpu = 0, 0.0, 0.0
        self.last, self.last_cpu = time.perf_counter(), 0.0
        self.spent: dict[str, float] = {}
        self.full = threading.Event()
        self.causes: Counter[str] = Counter()

    def counted(self, points: int) -> None:
        """Count points, and note when warm-up ends and when all are processed."""
        self.points += points
        self.last, self.last_cpu = time.perf_counter(), time.process_time()
        if not self.from_time and self.points >= self.begin + (self.end - self.begin) // 10:
            self.from_point, self.from_time, self.from_cpu = self.points, self.last, self.last_cpu
            self.spent = {}
        if self.points >= self.end:
            self.full.set()

    def stepped(self, agent: str, records: int, outputs: int, oldest: Instant, now: Instant) -> None: ...

    def misplaced(self, topic: str, cause: str) -> None: ...

    def refused(self, agent: str, cause: str) -> None:  # noqa: ARG002
        """Count a dead letter by its cause."""
        self.causes[cause] += 1


def main(address: str, end: int, begin: int, how: str) -> None:
    """Process the topic from its start and print the rate of the points from `begin` to `end`. how: see above."""
    warm_up()
    tune_allocator()
    broker, book = Broker.from_environment(address), Book(begin, end)
    reading = {"bootstrap.servers": broker.bootstrap}
    settings = LaneSettings(consumer_config(broker, f"bench-{now_ms()}"), producer_config(broker), reading)
    signals = how == "signals"
    stages: list[Callable[[], Agent[Any]]] = [
        lambda: Clocked(Decode(Names(meanings=ratios() if signals else NOTHING)), book, messages=signals),
        lambda: Clocked(Detect(), book),
    ]
    lane = (Turns if how == "turns" else Lane)(settings, stages, now_ms, book)
    lane.name = f"{lane.name}-{now_ms()}"  # a new name finds no earlier snapshot
    threading.Thread(target=_watch, args=(lane, book), daemon=True).start()
    lane.run()
    if book.points < end:
        refused = f"; refused: {dict(book.causes)}" if book.causes else ": this machine is too busy to measure on"
        raise SystemExit(f"only {book.points:,} of {end:,} points came in time{refused}")
    seconds, taken = book.last - book.from_time, book.points - book.from_point
    cpu = book.last_cpu - book.from_cpu
    print_json({
        "points_per_s": taken / seconds, "points_per_cpu_s": taken / cpu, "points": book.points,
        "decode_s": book.spent.get("decode", 0.0),
        "detect_s": book.spent.get("detect", 0.0), "seconds": seconds, "cpu_s": cpu,
        **(lane.told() if isinstance(lane, Turns) else {}),
    })  # fmt: skip


class Diary(Book):
    """The number of points processed, at each time."""

    def __init__(self) -> None:
        super().__init__(0, sys.maxsize)
        self.line: list[tuple[float, float, int]] = []

    def counted(self, points: int) -> None:
        """Note the number of points at this time."""
        super().counted(points)
        self.line.append((time.time(), self.last_cpu, self.points))


def shared(address: str, group: str) -> None:
    """Print `ready` once the group assigned partitions. Process what comes from then on, and print when it was."""
    warm_up()
    tune_allocator()
    broker, book = Broker.from_environment(address), Diary()
    patient = {"session.timeout.ms": round(PATIENT_S * 1000), "auto.offset.reset": "latest"}
    settings = LaneSettings(
        consumer_config(broker, group) | patient, producer_config(broker), {"bootstrap.servers": broker.bootstrap},
        session_s=PATIENT_S, stuck_s=PATIENT_S,
    )  # fmt: skip
    lane = Lane(settings, [lambda: Clocked(Decode(), book), lambda: Clocked(Detect(), book)], now_ms, book)
    lane.name = group  # finds no snapshot of an earlier run
    threading.Thread(target=_watch, args=(lane, book), daemon=True).start()
    lane.run(lambda: print_json("ready"))
    print_json(book.line)


class Timed(Agent[Any]):
    """A stage that records for each alarm when its batch began (ms), and the time of decoding and detection."""

    def __init__(self, inner: Agent[Any], lines: list[tuple[str, float, float, float]], mark: list[float]) -> None:
        self.inner, self.lines, self.marks = inner, lines, mark
        self.name, self.reads, self.writes, self.raw = inner.name, inner.reads, inner.writes, inner.raw  # type: ignore[misc]
        self.pieces, self.restore = inner.pieces, inner.restore  # type: ignore[method-assign]

    def step(self, records: Sequence[Any], now: Instant) -> Iterator[Any]:
        """Call the stage and record its alarms."""
        began, at = time.perf_counter(), float(now_ms())
        found = list(self.inner.step(records, now))
        took = time.perf_counter() - began
        if self.name == "decode":
            self.marks[:] = [at, took]
        raised = [a.id for a in found if isinstance(a, Anomaly) and a.state == "raised"]
        self.lines += [(alarm, self.marks[0], self.marks[1], took) for alarm in raised]
        yield from found


def timed(address: str) -> None:
    """Run until SIGTERM, then print a line for each alarm that was raised."""
    warm_up()
    tune_allocator()
    broker, book = settled(Broker.from_environment(address)), Book(0, sys.maxsize)
    reading = {"bootstrap.servers": broker.bootstrap}
    lines: list[tuple[str, float, float, float]] = []
    mark = [0.0, 0.0]
    settings = LaneSettings(consumer_config(broker, f"bench-{now_ms()}"), producer_config(broker), reading)
    lane = Lane(settings, [lambda: Timed(Decode(), lines, mark), lambda: Timed(Detect(), lines, mark)], now_ms, book)
    signal.signal(signal.SIGTERM, lambda *_: lane.stop())
    lane.run()
    print_json(lines)


def _watch(lane: Lane, book: Book) -> None:
    while not book.full.wait(0.5) and time.perf_counter() - book.last < IDLE_S:
        pass
    lane.stop()


if __name__ == "__main__":
    if sys.argv[2] == "timed":
        timed(sys.argv[1])
    elif sys.argv[2] == "shared":
        shared(sys.argv[1], sys.argv[3])
    else:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "".join(sys.argv[4:]))
