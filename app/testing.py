"""The whole loop in memory, for tests of detectors, actions, actuators and policies: no broker, no clock, no sleeping.

    world = World({("restart_service", "shop/catalog/0")})
    loop = MemoryLoop(world)
    world.break_("shop/catalog/0", SymptomKind.DOWN)
    loop.run(30)
    assert loop.of(Verdict)[-1].effect == "remediated"

Keys are derived from names, so that signatures are the same in every run. They protect nothing: use them in tests only.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents._agent import Agent
from agents.act import Act, Actuator, Begin, Done, Intent
from app import pipeline
from app.security.keys import WORKER, Key
from app.settings import Settings
from app.shipped import packs
from models.knowledge.base import read as read_pack
from models.policy.header import read as read_header
from models.safety.guard import Guard
from models.safety.modes import Mode
from models.safety.roles import Role
from models.safety.settings import SafetySettings
from models.safety.signing import Principal, Refused, sign_proposal
from models.versions import Book, sign_version
from topics.actions import Command, Result
from topics.catalog import topic_of
from topics.codec import decode_value, encode
from topics.incidents import SymptomKind
from topics.packs import PackVersion
from topics.policies import Policy
from topics.proposals import Proposal
from topics.signals import Anomaly, Contribution
from topics.spec import Instant, Origin, Read, Record, derive

NOW: Final = 1_700_000_000_000  # where the time of a `MemoryLoop` begins, in milliseconds since 1970
TICK_MS: Final = 100  # one step of that time
SYSTEM: Final = "shop"  # the system whose commands the loop's actuator obeys

# keys


@functools.cache
def key_of(name: str) -> Key:
    """The key of a person or worker, derived from the name."""
    return Key(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


@functools.cache
def _public_key(name: str) -> Any:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()).public_key()


@functools.lru_cache(20_000)
def is_good(name: str, message: bytes, signature: bytes) -> bool:
    """Whether a signature is by that name's key. Answers are kept: tests feed one history to many agents."""
    try:
        _public_key(name).verify(signature, message)
    except InvalidSignature:
        return False
    return True


class Ring:
    """A keyring in memory: who exists, and in which roles. See `models.safety.signing.Keyring`.

    people: a name to its roles; `_` in a name stands for `-`.
    """

    def __init__(self, **people: Iterable[Role]) -> None:
        self.people = {name.replace("_", "-"): frozenset(roles) for name, roles in people.items()}
        self.names = {key_of(name).key: name for name in self.people}
        self.revoked: set[str] = set()

    def verify(self, key: str, message: bytes, signature: bytes) -> Principal:
        """Who signed. Raises Refused: unknown_key, revoked, forged."""
        name = self.names.get(key)
        if name is None:
            raise Refused("unknown_key", "nobody has it")
        if name in self.revoked:
            raise Refused("revoked", name)
        if not is_good(name, message, signature):
            raise Refused("forged", name)
        return Principal(name, self.people[name])


# ana is a lead, ben and cem are approvers, vera is a viewer, ada and nora are administrators, ada also an operator
RING: Final = Ring(
    opsloop_worker=[Role.WORKER], ana=[Role.APPROVER, Role.LEAD], ben=[Role.APPROVER], cem=[Role.APPROVER],
    vera=[Role.VIEWER], ada=[Role.ADMIN, Role.OPERATOR], nora=[Role.ADMIN],
)  # fmt: skip
WORKER_KEY: Final = key_of(WORKER)

# records

KNOWN: Final = packs().knowledge(Book())  # what the shipped packs say

# for each kind of symptom one contribution to an anomaly, far beyond what the symptom's rule asks for
HURTS: Final = {
    SymptomKind.DOWN: Contribution("up.refused", 50.0, 1.0, 0.0),
    SymptomKind.UNRESPONSIVE: Contribution("up", -50.0, 0.0, 1.0),
    SymptomKind.ERRORS: Contribution("http.server.error_ratio", 30.0, 0.5, 0.01),
    SymptomKind.MEMORY: Contribution("process.memory.usage", 30.0, 200e6, 60e6),
    SymptomKind.SATURATION: Contribution("http.server.utilization", 20.0, 0.95, 0.3),
    SymptomKind.LATENCY: Contribution("http.server.own_duration.p95", 20.0, 0.5, 0.02),
    SymptomKind.DEPENDENCY: Contribution("http.client.error_ratio.catalog", 20.0, 0.6, 0.0),
    SymptomKind.SURPLUS: Contribution("service.idle_replicas", 20.0, 3.0, 0.0),
}


def sample(entity: str, ts: Instant, *shown: SymptomKind | Contribution, **changes: Any) -> Anomaly:
    """The anomaly of one sample of an entity that shows these symptoms or deviations; none: of something else.

    ts: in milliseconds. changes: fields of the anomaly that are to be different.
    """
    attribution = tuple(HURTS[s] if isinstance(s, SymptomKind) else s for s in shown)
    first = attribution[0] if attribution else Contribution("system.cpu.utilization", 7.0, 0.6, 0.5)
    fields: dict[str, Any] = {
        "id": derive("anomaly", entity, "bank", ts), "entity": entity, "ts": ts, "state": "continuing",
        "kind": "point", "score": 2.0, "grade": "major", "confidence": 0.9, "metric": first.metric, "direction": "up",
        "value": first.value, "expected": first.expected, "low": 0.0, "high": 1.0, "onset": ts,
        "attribution": attribution or (first,), "detector": "bank", "detector_version": 1,
        "evidence": f"opsloop.telemetry.metrics-0-{ts % 100_000}",
    }  # fmt: skip
    return Anomaly(**fields | changes)


def cleared(entity: str, ts: Instant) -> Anomaly:
    """The anomaly record that ends an alarm."""
    return sample(entity, ts, state="cleared", grade="none", score=0.1)


def asked(action: str, target: str, *, by: str = "ada", ts: Instant = NOW, **changes: Any) -> Proposal:
    """A proposal that a person of `RING` has signed. changes: other fields of `Proposal`, as `parameters`."""
    fields: dict[str, Any] = {
        "id": derive("asked", action, target, ts), "ts": ts, "action": action, "target": target, "parameters": {},
        "requester": by, "confidence": 0.96, "cause": "asked", "reasons": (f"{by} asks for it",),
    }  # fmt: skip
    return sign_proposal(Proposal(**fields | changes), key_of(by))


def policy_of(source: str, *, version: int = 1, by: str = "ada", **changes: Any) -> Policy:
    """A version of a policy that holds, signed by an administrator. source: the text of a Rego file."""
    fields: dict[str, Any] = {
        "name": changes.get("name") or read_header(source).id, "version": version, "ts": NOW + version - 1, "by": by,
        "source": source, "active": True,
    }  # fmt: skip
    return sign_version(Policy(**fields | changes), key_of(by))


def pack_of(source: str, *, version: int = 1, by: str = "ada", **changes: Any) -> PackVersion:
    """A version of a pack that holds, signed by an administrator. source: its TOML text."""
    fields: dict[str, Any] = {
        "name": changes.get("name") or read_pack(source).name, "version": version, "ts": NOW + version - 1, "by": by,
        "source": source, "active": True,
    }  # fmt: skip
    return sign_version(PackVersion(**fields | changes), key_of(by))


# the loop


class MemoryLedger:
    """An actuator's ledger in memory. See `agents.act.Ledger`."""

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.results: dict[str, Result] = {}
        self.intents: list[Intent] = []

    def find(self, command: str) -> Result | None:
        """How a command ended; None when it did not."""
        return self.results.get(command)

    def begin(self, command: Command, now: Instant) -> Begin:
        """Note that a command begins; KNOWN when it has begun before."""
        if command.id in self.begun:
            return Begin.KNOWN
        self.begun.add(command.id)
        self.intents.append(Intent(command, now))
        return Begin.BEGUN

    def finish(self, result: Result) -> None:
        """Note how a command ended."""
        self.results[result.command] = result

    def past(self) -> Sequence[Intent]:
        """Every command that began."""
        return self.intents

    def orphans(self) -> Sequence[Intent]:
        """None: nothing dies in memory."""
        return ()


class World:
    """A simulated site: which entities show which symptoms, which actions end them, and an actuator for it.

    It reports an anomaly of each entity with a symptom five times a second.

    cures: pairs of action and target; running one of them ends every symptom.
    """

    name = "hands"

    def __init__(self, cures: Iterable[tuple[str, str]] = ()) -> None:
        self.cures = set(cures)
        self.hurting: dict[str, tuple[SymptomKind, ...]] = {}
        self.ran: list[Command] = []
        self.now = NOW
        self._reported: set[str] = set()

    def break_(self, entity: str, *symptoms: SymptomKind) -> None:
        """Let an entity show symptoms until something cures it."""
        self.hurting[entity] = symptoms

    def heal(self) -> None:
        """End every symptom."""
        self.hurting.clear()

    def can(self, action: str, target: str) -> str | None:  # noqa: ARG002
        """None: everything is possible here."""
        return None

    def run(self, command: Command) -> Done:
        """Note the command, and end every symptom when it is a cure."""
        self.ran.append(command)
        if (command.action, command.target) in self.cures:
            self.heal()
        return Done("succeeded", "done", self.now)

    def probe(self, command: Command) -> Done:  # noqa: ARG002
        """Unknown: nothing is looked up here."""
        return Done("unknown", "", self.now)

    def samples(self, now: Instant) -> list[Anomaly]:
        """The anomalies of this time: one of each entity with symptoms, `cleared` when they have ended."""
        self.now = now
        if now % 200:
            return []
        over = self._reported - set(self.hurting)
        self._reported = set(self.hurting)
        return [sample(e, now, *s) for e, s in self.hurting.items()] + [cleared(e, now) for e in sorted(over)]


def stages(
    actuator: Actuator, ledger: MemoryLedger, mode: Mode, settings: Settings | None = None
) -> list[Callable[[], Agent[Any]]]:
    """How to make each agent of the loop, and `act` with an actuator that obeys as the supervisor of `SYSTEM`.

    settings: of the loop; its mode is replaced by `mode`.
    """
    given = settings or Settings(safety=SafetySettings(mode=mode))
    guard = Guard(RING, given.safety, f"supervisor/{SYSTEM}", f"{actuator.name}/{SYSTEM}")
    return [*pipeline.loop(given, WORKER_KEY, RING), lambda: Act(actuator, ledger, guard, lambda: "")]


class MemoryLoop:
    """Every agent of the loop on one partition, joined by topics that are lists. Records pass through bytes.

    world: what happens, and the actuator. mode: how much is done without a person; `settings`, when given, has its own.
    rng: reads topics in random order and in batches of random size. copies: how often each record is delivered.
    actuator: carries commands out in the place of `world`.
    """

    def __init__(
        self, world: World | None = None, mode: Mode = Mode.AUTONOMOUS, *, rng: random.Random | None = None,
        copies: int = 1, settings: Settings | None = None, actuator: Actuator | None = None,
    ) -> None:  # fmt: skip
        self.world = world or World()
        self.rng, self.copies, self.now = rng, copies, NOW
        made = stages(actuator or self.world, MemoryLedger(), mode, settings)
        self.agents = [make() for make in made]
        self.fed: dict[str, list[tuple[Instant, Sequence[Read[Record]]]]] = defaultdict(list)  # by agent: each step
        self.told: list[Read[Record]] = []  # of all topics, in the order in which it was published
        self.log: dict[str, list[Read[Record]]] = defaultdict(list)
        self.kinds: dict[type[Any], list[Any]] = defaultdict(list)
        self.next: dict[tuple[str, str], int] = defaultdict(int)

    def publish(self, *records: Record) -> None:
        """Append records to their topics."""
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
        """Let counted time pass in ticks of `TICK_MS`; `each` is called once a tick, before the agents read."""
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
        """Publish an earlier record again, as a worker does that resumes after a crash."""
        topic = rng.choice(sorted(name for name, reads in self.log.items() if reads))
        self.publish(rng.choice(self.log[topic]).record)

    def of(self, kind: type[Any]) -> list[Any]:
        """The records of one class, in the order of their topic."""
        return [*self.kinds[kind]]
