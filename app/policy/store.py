"""Reads and writes the topic of policies for people: versions, the version in force, and changes of it."""

from __future__ import annotations

import msgspec

from app.history.records import records
from app.kafka.broker import Broker, require
from app.kafka.remembered import remembered
from app.policy.shipped import policies
from app.policy.versions import VersionStore
from app.security.keys import Keys
from app.settings import home
from models.policy.engine import Active, Policies
from models.policy.header import read as read_head
from models.safety.signing import Keyring
from topics.policies import POLICIES, Policy


class Store(VersionStore[Policy]):
    """All versions of policies, and which of them the gates hold to."""

    def __init__(self, ready: Policies) -> None:
        super().__init__(Policy, ready.shipped)
        self.ready = ready

    def name_of(self, text: str) -> str:
        return read_head(text).id

    def check(self, word: Policy) -> None:
        self.ready.check(word)

    @property
    def active(self) -> list[Active]:
        """The policies in force, compiled."""
        return self.ready.active(self.book)


def load(broker: Broker, keyring: Keyring) -> Store:
    """Read the whole topic of policies. Raises UserError when it cannot be read."""
    store = Store(policies())
    for read in records(broker, [POLICIES]):
        if isinstance(read.record, Policy):
            store.add(read.record, keyring, read.arrived)
    return store


def opened(address: str) -> tuple[Broker, Store]:
    """Connect to the broker at an address and load its policies. Raises UserError when it does not answer."""
    broker = Broker.from_environment(address or remembered())
    require(broker)
    return broker, load(broker, Keys(home()))


class PolicyRow(msgspec.Struct, frozen=True):
    """One line of `opsloop policy list`."""

    name: str
    holds: int | None  # the version in force; 0: the shipped one; None: none
    versions: list[int]
    type: str = ""
    enforcement: str = ""
    scope: str = ""
    owner: str = ""
    title: str = "withdrawn"


def rows(store: Store) -> list[PolicyRow]:
    """A row for each policy, sorted by name."""
    found = []
    for name in store.names():
        row = PolicyRow(name, store.holds(name), store.known(name))
        if row.holds is not None:
            head = read_head(store.source(name, row.holds))
            row = PolicyRow(
                name, row.holds, row.versions, head.type, head.enforcement, head.scope or "everything", head.owner,
                head.title,
            )  # fmt: skip
        found.append(row)
    return found
