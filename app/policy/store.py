"""The topic of policies, read and written by people: versions, which of them holds, and a new word about one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from app.client import Publisher
from app.clock import now_ms
from app.errors import UserError
from app.history.records import records
from app.kafka.broker import Broker, require
from app.kafka.remembered import remembered
from app.policy.shipped import policies
from app.security.keys import Keys
from app.settings import home
from models.policy.book import Book, author, sign_policy
from models.policy.engine import Active, Policies
from models.policy.header import read as read_head
from models.safety.masking import mask
from models.safety.roles import Role, may
from models.safety.signing import Keyring, Refused
from topics.policies import POLICIES, Policy
from topics.spec import Instant

SEE_LIST: Final = "See opsloop policy list"


@dataclass
class Store:
    """Every version that an admin has signed, and what the gates make of them."""

    ready: Policies
    book: Book = field(default_factory=Book)
    versions: dict[str, dict[int, Policy]] = field(default_factory=dict)  # by name; the newest word about each

    def add(self, word: Policy, keyring: Keyring, arrived: Instant) -> None:
        """Take a word as a gate does; what is not believed is left out, as gates leave it out."""
        try:
            author(word, keyring)
        except Refused:
            return
        known = self.versions.setdefault(word.name, {})
        if word.version not in known or known[word.version].ts <= word.ts:
            known[word.version] = word
        try:
            self.book.take(word, keyring, self.ready.check, arrived)
        except Refused:
            return

    @property
    def active(self) -> list[Active]:
        return self.ready.active(self.book)

    def holds(self, name: str) -> int | None:
        """The version that holds; None: none does."""
        held = self.book.held.get(name)
        if held is None:
            return 0 if name in self.ready.shipped else None
        return held.version if held.source else None

    def source(self, name: str, version: int) -> str:
        """The text of a version; 0 is the one that is shipped. Raises UserError: there is none."""
        if version == 0 and name in self.ready.shipped:
            return self.ready.shipped[name]
        found = self.versions.get(name, {}).get(version)
        if found is None or not found.source:
            have = ", ".join(str(v) for v in self.known(name)) or "no version of it"
            raise UserError(f"there is no version {version} of {name}: there is {have}", SEE_LIST, exit_code=1)
        return found.source

    def known(self, name: str) -> list[int]:
        """The versions there are, the shipped one among them."""
        signed = {version for version, word in self.versions.get(name, {}).items() if word.source}
        return sorted(signed | ({0} if name in self.ready.shipped else set()))

    def held(self, name: str) -> tuple[int, str]:
        """The version that holds, with its text. Raises UserError: none does."""
        version = self.holds(name)
        if version is None:
            raise UserError(f"no version of {name} holds", SEE_LIST, exit_code=1)
        return version, self.source(name, version)

    def names(self) -> list[str]:
        return sorted(self.versions.keys() | self.ready.shipped.keys())

    # words to be signed

    def next(self, source: str, comment: str = "", commit: str = "") -> Policy | None:
        """The next version of a policy, unsigned; None: this text holds already."""
        name = read_head(source).id
        version = self.holds(name)
        if version is not None and self.source(name, version) == source:
            return None
        word = self._word(name, max(self.versions.get(name, {}), default=0) + 1, source, comment)
        return msgspec.structs.replace(word, commit=commit)

    def again(self, name: str, version: int, comment: str = "") -> Policy:
        """The word that lets an older version hold again. Raises UserError: there is no such version."""
        return self._word(name, version, self.source(name, version), comment)

    def none(self, name: str, comment: str = "") -> list[Policy]:
        """The words after which no version of a policy holds, not even one that is shipped.

        There is one about each version, the one that holds first: once the topic is compacted, an older word must not
        come to count again.
        """
        holds = self.holds(name)
        if holds is None:
            raise UserError(f"no version of {name} holds", SEE_LIST, exit_code=1)
        others = sorted({0, *self.versions.get(name, {})} - {holds})
        texts = {version: word.source for version, word in self.versions.get(name, {}).items()}
        return [
            msgspec.structs.replace(self._word(name, version, texts.get(version, ""), comment), active=False)
            for version in (holds, *others)
        ]

    def before(self, name: str) -> int | None:
        """The version below the one that holds; None: there is none."""
        version, _ = self.held(name)
        return max((v for v in self.known(name) if v < version), default=None)

    def _word(self, name: str, version: int, source: str, comment: str) -> Policy:
        newest = max((word.ts for word in self.versions.get(name, {}).values()), default=0)
        return Policy(
            name=name, version=version, ts=max(now_ms(), newest + 1), by="", source=source, active=True, comment=comment
        )


def load(broker: Broker, keyring: Keyring) -> Store:
    """What the topic says now."""
    store = Store(policies())
    for read in records(broker, [POLICIES]):
        if isinstance(read.record, Policy):
            store.add(read.record, keyring, read.arrived)
    return store


def opened(address: str) -> tuple[Broker, Store]:
    """The broker at an address, with what its topic of policies says now. Raises UserError: there is none."""
    broker = Broker.from_environment(address or remembered())
    require(broker)
    return broker, load(broker, Keys(home()))


def publish(broker: Broker, words: Iterable[Policy], by: str, keys: Keys) -> list[Policy]:
    """Sign words and say them to every gate; return them when the broker has them.

    Raises:
        UserError: whoever says it is no admin here, or has no key on this host.
    """
    entry = keys.entry(by)
    if entry is None or not may(entry.roles, "policies"):
        raise UserError(f"{by} may not change policies", keys.whom_to_ask(Role.ADMIN))
    own = keys.own(by)
    signed = [
        sign_policy(msgspec.structs.replace(word, by=by, comment=mask(word.comment)), own) for word in words
    ]  # fmt: skip
    with Publisher(broker) as publisher:
        for word in signed:
            publisher.send(word)
    return signed


class Row(msgspec.Struct, frozen=True):
    """A policy in a list."""

    name: str
    holds: int | None  # version; 0: shipped; None: none does
    versions: list[int]
    type: str = ""
    enforcement: str = ""
    scope: str = ""
    owner: str = ""
    title: str = "withdrawn"


def rows(store: Store) -> list[Row]:
    """Every policy there is, by name."""
    found = []
    for name in store.names():
        row = Row(name, store.holds(name), store.known(name))
        if row.holds is not None:
            head = read_head(store.source(name, row.holds))
            row = Row(
                name, row.holds, row.versions, head.type, head.enforcement, head.scope or "everything", head.owner,
                head.title,
            )  # fmt: skip
        found.append(row)
    return found
