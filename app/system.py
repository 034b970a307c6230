"""A system: what one part of Opsloop brings to the whole, named without importing any of it.

Each room's `wiring.py` holds one, and app/pipeline.py lists them. The functions here import what they make only when
they are called, so that `opsloop --help` and a worker of one role load no more than they need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from agents._agent import Agent
    from agents.act import Actuator, Ledger
    from app.connection import Broker
    from app.settings import Settings
    from models.knowledge.packs import Packs
    from models.safety.guard import Guard
    from models.safety.signing import Keyring, Signer
    from topics.meanings import Meanings

T = TypeVar("T")
Stages = list[Callable[[], "Agent[Any]"]]  # how to make each agent of a partition, in the order data meets them


@dataclass(frozen=True, slots=True)
class Hands:
    """What the verb `act` carries commands out with."""

    actuator: Actuator
    ledger: Ledger
    guard: Guard
    stopped: Callable[[], str]  # who has turned the local kill switch on; empty: nobody


@dataclass(frozen=True, slots=True)
class Parts:
    """What agents are made from. Only the loop has keys, only an actuator's worker has hands."""

    settings: Settings
    own_key: Signer | None = None
    known_keys: Keyring | None = None
    own_hands: Hands | None = None
    own_packs: Packs | None = None
    heartbeats: bool = True  # whether a worker of the loop can read them, see `app.kafka.families.hears_heartbeats`
    said: Callable[[], Meanings | None] = lambda: None
    """What packs say of series at the time; None: as the shipped ones do, or as it was kept."""

    @property
    def signer(self) -> Signer:
        """The worker's key, which signs proposals and commands. Raises LookupError when there is none."""
        return _given(self.own_key, "signer")

    @property
    def keyring(self) -> Keyring:
        """Whose votes and settings are believed. Raises LookupError when there is none."""
        return _given(self.known_keys, "keyring")

    @property
    def packs(self) -> Packs:
        """The packs that hold until an admin changes them: the shipped ones, unless others are to be tried."""
        from app.shipped import packs

        return self.own_packs or packs()

    @property
    def hands(self) -> Hands:
        """The actuator and its ledger. Raises LookupError when there are none."""
        return _given(self.own_hands, "actuator")


def _given(part: T | None, name: str) -> T:
    if part is None:
        raise LookupError(f"this worker has no {name}")
    return part


def _home() -> Path:
    from app.settings import home

    return home()


@dataclass(frozen=True, slots=True)
class Worker:
    """What every role needs."""

    broker: Broker
    settings: Settings
    site: Path | None = None  # the folder of the site whose processes the actuator commands
    home: Path = field(default_factory=_home)  # the folder with the keys, and with the local kill switch
    only: tuple[str, ...] = ()  # verbs of the loop that it runs; empty: all


class Driver(Protocol):
    """Runs agents in a thread until it is stopped."""

    def run(self, ready: Callable[[], None]) -> None:
        """Work until `stop`; call `ready` once the first partition can be taken from."""

    def stop(self) -> None:
        """Ask `run` to finish. May be called from another thread."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One agent: agents/NAME.py."""

    name: str
    role: str  # of the worker processes that run it
    make: Callable[[Parts], Agent[Any]]


def _always(_: Worker) -> bool:
    """A role that every worker can run."""
    return True


@dataclass(frozen=True, slots=True)
class WorkerRole:
    """What `opsloop worker NAME` runs."""

    name: str
    drive: Callable[[Worker, Callable[[Parts], Stages]], Driver]
    """Makes the driver. The second argument makes the stages of the role's verbs. Raises UserError."""
    joins: str = ""
    """Runs beside this other role, and cannot be named alone."""
    possible: Callable[[Worker], bool] = _always
    """Whether a worker that was not asked for this role by name runs it."""
    prepare: Callable[[Settings], None] | None = None
    """Called before the first driver is made: compiles kernels, tunes the allocator."""


@dataclass(frozen=True, slots=True)
class CliCommand:
    """One word after `opsloop`, or a group of them."""

    name: str
    file: str  # app/cli/FILE.py, whose `register(app)` adds it
    help: str  # as `opsloop --help` shows it: the first line of the command's own help


@dataclass(frozen=True, slots=True)
class System:
    """What a system brings."""

    name: str
    agents: tuple[Verb, ...] = ()
    topics: tuple[str, ...] = ()  # families: the files of topics/
    roles: tuple[WorkerRole, ...] = ()
    commands: tuple[CliCommand, ...] = ()
