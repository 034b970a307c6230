"""Reads and writes the topic of packs for people: versions, the version in force, and changes of it."""

from __future__ import annotations

from pathlib import Path

from app.errors import UserError
from app.history.records import records
from app.kafka.broker import Broker, require
from app.kafka.remembered import remembered
from app.policy.versions import VersionStore
from app.security.keys import Keys
from app.settings import home
from app.shipped import packs
from models.actions.catalogue import ACTIONS
from models.knowledge.base import Pack, PackFault
from models.knowledge.checks import Flaw, flaws
from models.knowledge.packs import Packs
from models.safety.signing import Keyring
from topics.packs import PACKS, PackVersion
from topics.spec import Instant


class PackStore(VersionStore[PackVersion]):
    """All versions of packs, and which of them the workers hold to."""

    def __init__(self, ready: Packs) -> None:
        super().__init__(PackVersion, ready.shipped)
        self.ready = ready

    def name_of(self, text: str) -> str:
        return self.ready.load(text).name

    def check(self, word: PackVersion) -> None:
        self.ready.check(word)

    def texts(self) -> dict[str, str]:
        """The texts in force, by name."""
        return self.ready.texts(self.book.held)

    def packs(self) -> list[Pack]:
        """The packs in force, sorted by name."""
        return [self.ready.load(text) for _, text in sorted(self.texts().items())]

    def beside(self, pack: Pack) -> list[Pack]:
        """The packs that would hold if this one did."""
        return sorted([pack, *(p for p in self.packs() if p.name != pack.name)], key=lambda p: p.name)


def pack_of(path: Path, ready: Packs) -> tuple[str, Pack]:
    """The text of a file, and the pack in it. Raises UserError when it cannot be read, with the place."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error})", "Give a .toml file"
        ) from None
    try:
        return text, ready.load(text)
    except PackFault as fault:
        raise UserError(f"{path}: {fault.detail}", fault.remedy, exit_code=1) from None


def faults(pack: Pack, store: PackStore) -> list[Flaw]:
    """What is wrong with a pack beside those that hold: its own faults, and what it clashes with."""
    together = store.beside(pack)
    known = set(flaws([p for p in together if p.name != pack.name], ACTIONS))
    return [flaw for flaw in flaws(together, ACTIONS) if flaw not in known]


def load(broker: Broker, keyring: Keyring, before: Instant | None = None) -> PackStore:
    """Read the topic of packs. before: only what arrived before this time. Raises UserError when it cannot be read."""
    store = PackStore(packs())
    for read in records(broker, [PACKS]):
        if isinstance(read.record, PackVersion) and (before is None or read.arrived < before):
            store.add(read.record, keyring, read.arrived)
    return store


def opened(address: str) -> tuple[Broker, PackStore]:
    """Connect to the broker at an address and load its packs. Raises UserError when it does not answer."""
    broker = Broker.from_environment(address or remembered())
    require(broker)
    return broker, load(broker, Keys(home()))
