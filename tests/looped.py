"""The loop in memory: agents joined by topics as lists, with time that is only counted."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agents._agent import Agent
from agents.act import Act, Actuator, Begin, Done, Intent
from app import pipeline
from app.settings import Settings
from models.safety.guard import Guard
from models.safety.limits import SafetySettings
from models.safety.modes import Mode
from tests.builders import NOW, cleared, sample
from tests.keys import RING, WORKER_KEY
from topics.actions import Command, Result
from topics.catalog import topic_of
from topics.codec import decode_value, encode
from topics.incidents import SymptomKind
from topics.spec import Instant, Origin, Read, Record

TICK_MS = 100


class Ledger:
    """An actuator's ledger in memory."""

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.results: dict[str, Result] = {}
        self.intents: list[Intent] = []

    def find(self, command: str) -> Result | None:
        return self.results.get(command)

    def begin(self, command: Command, now: Instant) -> Begin:
        if command.id in self.begun:
            return Begin.KNOWN
        self.begun.add(command.id)
        self.intents.append(Intent(command, now))
        return Begin.BEGUN

    def finish(self, result: Result) -> None:
        self.results[result.command] = result

    def past(self) -> Sequence[Intent]:
        return self.intents

    def orphans(self) -> Sequence[Intent]:
        return ()


class World:
    """What hurts, what cures it, and the hands that do it. It looks at every entity that hurts, five times a second."""

    name = "hands"

    def __init__(self, cures: Iterable[tuple[str, str]] = ()) -> None:
        self.cures = set(cures)  # (action, target)
        self.hurting: dict[str, tuple[SymptomKind, ...]] = {}
        self.ran: list[Command] = []
        self.now = NOW
        self._reported: set[str] = set()

    def break_(self, entity: str, *symptoms: SymptomKind) -> None:
        self.hurting[entity] = symptoms

    def heal(self) -> None:
        self.hurting.clear()

    def can(self, action: str, target: str) -> str | None:
        return None

    def run(self, command: Command) -> Done:
        self.ran.append(command)
        if (command.action, command.target) in self.cures:
            self.heal()
        return Done("succeeded", "done", self.now)

    def probe(self, command: Command) -> Done:
        return Done("unknown", "", self.now)

    def samples(self, now: Instant) -> list[Record]:
        """What detection says at this time: a look at each entity that hurts, one more when it has stopped."""
        self.now = now
        if now % 200:
            return []
        over = self._reported - set(self.hurting)
        self._reported = set(self.hurting)
        return [sample(e, now, *s) for e, s in self.hurting.items()] + [cleared(e, now) for e in sorted(over)]


def stages(actuator: Actuator, ledger: Ledger, mode: Mode) -> list[Callable[[], Agent[Any]]]:
    """How to make each agent of the loop, with an actuator in its place."""
    settings = Settings(safety=SafetySettings(mode=mode))
    guard = Guard(RING, settings.safety, "supervisor/shop")
    return [*pipeline.loop(settings, WORKER_KEY, RING), lambda: Act(actuator, ledger, guard, lambda: "")]


class MemoryLoop:
    """Every agent on one partition. `rng` reads topics in random order and batches of random size."""

    def __init__(
        self, world: World, mode: Mode = Mode.AUTONOMOUS, *, rng: random.Random | None = None, copies: int = 1
    ) -> None:
        self.world, self.rng, self.copies, self.now = world, rng, copies, NOW
        self.agents = [make() for make in stages(world, Ledger(), mode)]
        self.fed: dict[str, list[tuple[Instant, Sequence[Read[Record]]]]] = defaultdict(list)  # by agent: each step
        self.told: list[Read[Record]] = []  # of all topics, in the order in which it was said
        self.log: dict[str, list[Read[Record]]] = defaultdict(list)
        self.kinds: dict[type[Any], list[Any]] = defaultdict(list)
        self.next: dict[tuple[str, str], int] = defaultdict(int)

    def publish(self, *records: Record) -> None:
        """Append to the topics, through bytes as on a broker."""
        for record in records:
            topic = topic_of(record)
            for _ in range(self.copies):
                kept = decode_value(topic, encode(record).value)
                read = Read(kept, Origin(topic.name, 0, len(self.log[topic.name])), self.now)
                self.log[topic.name].append(read)
                self.kinds[type(kept)].append(kept)
                self.told.append(read)

    def settle(self) -> None:
        """Let every agent read until nothing is left to read."""
        read = [
            (agent, (agent.name, topic.name), self.log[topic.name]) for agent in self.agents for topic in agent.reads
        ]
        while unread := [one for one in read if self.next[one[1]] < len(one[2])]:
            agent, place, log = self.rng.choice(unread) if self.rng else unread[0]
            batch = log[self.next[place] :]
            if self.rng:
                batch = batch[: self.rng.randint(1, len(batch))]
            self.next[place] += len(batch)
            self._step(agent, batch)

    def run(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Let time pass in ticks; `each` is called in every one."""
        for _ in range(round(seconds * 1000 / TICK_MS)):
            self.now += TICK_MS
            self.publish(*self.world.samples(self.now))
            each()
            self.settle()
            for agent in self.agents:
                self._wake(agent)
            self.settle()

    def _wake(self, agent: Agent[Any]) -> None:
        """Ask an agent without a record if it wants to be asked; actuators are asked all the time, as on the lane."""
        at = agent.next_deadline()
        if isinstance(agent, Act) or (at is not None and at <= self.now):
            self._step(agent, ())

    def _step(self, agent: Agent[Any], batch: Sequence[Read[Record]]) -> None:
        self.fed[agent.name].append((self.now, batch))
        self.publish(*agent.step(batch, self.now))

    def repeat_something(self, rng: random.Random) -> None:
        """Publish a record of before again, as a worker does that takes up its work after a crash."""
        topic = rng.choice(sorted(name for name, reads in self.log.items() if reads))
        self.publish(rng.choice(self.log[topic]).record)

    def of(self, kind: type[Any]) -> list[Any]:
        """The records of one kind, in the order of their topic."""
        return [*self.kinds[kind]]
