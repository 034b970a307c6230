"""Runs the demo: broker, site, collector and workers as real processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from app.clock import now_ms
from app.demo import learning
from app.demo.board import Board, Follower, Injected, judge
from app.demo.people import at_home, introduce, invite, left_behind
from app.kafka.broker import Broker
from app.runtime.parent import FOLLOW
from app.security.switch import LocalSwitch
from app.settings import home, load
from models.safety.modes import Mode
from topics.incidents import SymptomKind
from topics.spec import Instant

PERIOD_S = 0.25
WARM_ENTITIES = 5  # the services of the site
LEARNING_S = 0.2
WARM_SAMPLES = 66  # of each service before the first fault, when `DetectorConfig.learned` is over: 16.5 s
SETTLE_S = 4.0  # seconds between a remedied fault and the next


@dataclass(slots=True)
class Child:
    """One process of the demo."""

    name: str
    arguments: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self, environment: dict[str, str]) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, start_new_session=True,
            )  # fmt: skip
        self.starts += 1

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether the process is ready: a worker has printed so; the collector always is."""
        return self.arguments[0] != "worker" or b"is ready" in self.log.read_bytes()


@dataclass
class Crew:
    """The demo's processes: started together, restarted when one ends, stopped together."""

    children: list[Child]
    environment: dict[str, str]
    say: Callable[[str], None]
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Start all processes, and a thread that restarts those that end."""
        for child in self.children:
            child.start(self.environment)
        threading.Thread(target=self._watch_stalls, name="crew", daemon=True).start()

    def _watch_stalls(self) -> None:
        while not self._stopping.wait(0.2):
            for child in self.children:
                if not child.alive and not self._stopping.is_set():
                    if child.starts >= 10:
                        self.say(f"{child.name} died {child.starts} times; see {child.log}")
                        return
                    self.say(f"{child.name} died and is started again")
                    child.start(self.environment)

    def stop(self) -> None:
        """Stop all processes."""
        self._stopping.set()
        for child in self.children:
            if child.alive and child.process is not None:
                child.process.terminate()
        end = time.monotonic() + 8
        for child in self.children:
            if child.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.1, end - time.monotonic()))
                child.process.kill()
                child.process.wait()


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What a run of the demo does: faults, approvals, end."""

    mode: str
    faults: tuple[str, ...] = ()
    until_resolved: bool = False
    seconds: float = 0.0  # length of the run; 0: until it is stopped
    limit_s: float = 120.0  # longest time for one fault
    folder: Path | None = None


class Demo:
    """A running demo. `with Demo.start(...) as demo`."""

    def __init__(self, broker: Broker, plan: DemoPlan, folder: Path, say: Callable[[str], None]) -> None:
        from app.demo.site import Site

        self.broker, self.plan, self.folder, self.say = broker, plan, folder, say
        self.board = Board(began=_started())
        self.injected: list[Injected] = []
        self.follower = Follower(broker, self.board)
        self.crew = Crew(self._children(), self._environment(), say)
        self.over = threading.Event()
        self.site: Site | None = None

    def _children(self) -> list[Child]:
        site = self.folder / "site"
        commands = {
            "collector": ["collect", "--period", str(PERIOD_S), "--targets", str(site / "targets.json"), "--events",
                          str(site / "events.jsonl")],
            "lane": ["worker", "lane"],
            "loop": ["worker", "loop", "--mode", self.plan.mode],
            "act": ["worker", "act", "--site", str(site), "--mode", self.plan.mode],
        }  # fmt: skip
        return [
            Child(name, [*arguments, "--broker", self.broker.bootstrap], self.folder / f"{name}.log")
            for name, arguments in commands.items()
        ]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "OPSLOOP_BROKER": self.broker.bootstrap, FOLLOW: str(os.getpid())}

    def begin(self) -> None:
        """Start all processes. The site comes last: its start takes the longest, and the others start meanwhile."""
        from app.demo.site import Site

        people = invite(home())
        if self.plan.mode == Mode.APPROVE:
            for line in introduce(people):
                self.say(line)
        if said := LocalSwitch(home()).said():
            self.say(f"nothing will act: the kill switch is on ({said}); opsloop kill-switch off")
        self.follower.start()
        self.follower.listening.wait(10)
        learning.begin(self.folder / "site", WARM_SAMPLES * PERIOD_S)
        self.crew.start()
        self.site = Site.start(self.folder / "site", progress=self.say)
        threading.Thread(target=self._learn, name="learning", daemon=True).start()

    def learning_s(self) -> float:
        """Estimated seconds until detection has learned what is normal; 0 when it has."""
        if self._warm():
            return 0.0
        return max(1.0, (WARM_SAMPLES - self.board.samples(WARM_ENTITIES)) * PERIOD_S)

    def _learn(self) -> None:
        """Record how long detection still learns, so that faults from other terminals wait."""
        folder = self.folder / "site"
        while (left := self.learning_s()) and not self.over.wait(LEARNING_S):
            learning.begin(folder, left)
        learning.end(folder)
        if not self.over.is_set():
            self.say("detection knows what is ordinary: break something")

    def script(self) -> None:
        """Inject the planned faults one after another. End the run when all are done."""
        for spec in self.plan.faults:
            if not self._wait(self._warm, self.plan.limit_s):
                break
            if self.injected:
                self.over.wait(SETTLE_S)
            self.inject(spec)
            if self.plan.until_resolved and not self._wait(self._last_resolved, self.plan.limit_s):
                break
        if self.plan.until_resolved:
            self.over.set()

    def _warm(self) -> bool:
        return self.board.samples(WARM_ENTITIES) >= WARM_SAMPLES and all(child.ready for child in self.crew.children)

    def inject(self, spec: str) -> Injected:
        """Inject a fault now."""
        from app.demo import faults

        assert self.site is not None
        fault, service = faults.parse(spec)
        done = faults.inject(self.site, fault, service)
        injected = Injected(fault=done.fault, service=done.service, injected_at=done.ts)
        self.injected.append(injected)
        self.say(f"{done.fault} of {done.service} injected")
        return injected

    def _last_resolved(self) -> bool:
        return judge(self.board, self.injected[-1]).resolved

    def _wait(self, condition: Callable[[], bool], limit_s: float) -> bool:
        end = time.monotonic() + limit_s
        while time.monotonic() < end and not self.over.is_set():
            if condition():
                return True
            time.sleep(0.02)
        return False

    def report(self) -> dict[str, object]:
        """The report of the run, as one JSON object."""
        board = self.board
        faults = [judge(board, fault) for fault in self.injected]
        ours = {fault.incident for fault in faults}
        effects = self.site.effects() if self.site else []
        return {
            "kind": "report",
            "faults": faults,
            "decisions": len(board.decisions),
            "effects": len(effects),
            "repeated_effects": sum(effect.times > 1 for effect in effects),
            "dead_letters": board.dead_letters,
            "false_alarms": {
                "anomalies": sum(board.alarms.values()) if not faults else None,
                "incidents": sum(
                    i.id not in ours and i.symptom is not SymptomKind.SURPLUS for i in board.incidents.values()
                ),
            },
            "first_figures_s": round((board.first_figures - board.began) / 1000, 3) if board.first_figures else None,
            "seconds": round((now_ms() - board.began) / 1000, 1),
        }

    def stop(self) -> None:
        """Stop all processes."""
        self.over.set()
        self.follower.halt.set()
        self.crew.stop()
        if self.site is not None:
            self.site.stop()


def _started() -> Instant:
    """When this process started, imports included."""
    return int(psutil.Process().create_time() * 1000)


@contextlib.contextmanager
def broker_for(address: str, say: Callable[[str], None]) -> Iterator[Broker]:
    """The demo's broker: the one at `address`, with its topics created, or an in-memory one.

    Raises:
        UserError: the broker at `address` does not answer.
    """
    from app.kafka import admin
    from app.kafka.broker import require
    from app.kafka.embedded import Embedded

    if address:
        broker = Broker.from_environment(address)
        require(broker)
        admin.ensure(broker, settings=load().topics)
        say(f"using the broker at {broker.bootstrap}")
        yield broker
        return
    with Embedded.start({want.name: want.partitions for want in admin.wanted(1, settings=load().topics)}) as cluster:
        say(f"in-memory Kafka at {cluster.bootstrap}")
        yield cluster.broker


@contextlib.contextmanager
def running(broker: Broker, plan: DemoPlan, say: Callable[[str], None]) -> Iterator[Demo]:
    """A running demo, which is stopped at the end of the `with`.

    Raises:
        UserError: a planned fault does not exist, or the site does not start.
    """
    from app.demo import faults

    for spec in plan.faults:
        faults.parse(spec)
    for name in left_behind(home()):
        say(f"{name} of an earlier demo is still believed in {home()}: opsloop user revoke {name}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(at_home())
        folder = plan.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opsloop-demo-")))
        folder.mkdir(parents=True, exist_ok=True)
        demo = Demo(broker, plan, folder, say)
        stack.callback(demo.stop)
        demo.begin()
        yield demo
