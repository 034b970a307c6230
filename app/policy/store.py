"""Reads and writes the topic of policies for people: versions, the version in force, and changes of it."""

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
from models.policy.engine import Active, Policies
from models.policy.header import read as read_head
from models.safety.masking import mask
from models.safety.roles import Role, may
from models.safety.signing import Keyring, Refused
from models.versions import Book, author, sign_version
from topics.policies import POLICIES, Policy
from topics.spec import Instant

SEE_LIST: Final = "See opsloop policy list"


@dataclass
class Store:
    """All versions that an admin has signed, and the book of the gates: which version of each policy is in force."""

    ready: Policies
    book: Book = field(default_factory=Book)
    versions: dict[str, dict[int, Policy]] = field(default_factory=dict)  # by name; the newest record of each version

    def add(self, policy: Policy, keyring: Keyring, arrived: Instant) -> None:
        """Add a record as a gate does. A record whose signature a gate would refuse is ignored."""
        try:
            author(policy, keyring)
        except Refused:
            return
        known = self.versions.setdefault(policy.name, {})
        if policy.version not in known or known[policy.version].ts <= policy.ts:
            known[policy.version] = policy
        try:
            self.book.take(policy, keyring, self.ready.check, arrived)
        except Refused:
            return

    @property
    def active(self) -> list[Active]:
        """The policies in force, compiled."""
        return self.ready.active(self.book)

    def holds(self, name: str) -> int | None:
        """The version in force; 0: the shipped one; None: no version is in force."""
        held = self.book.held.get(name)
        if held is None:
            return 0 if name in self.ready.shipped else None
        return held.version if held.source else None

    def source(self, name: str, version: int) -> str:
        """The text of a version; 0 is the shipped one. Raises UserError when there is no such version."""
        if version == 0 and name in self.ready.shipped:
            return self.ready.shipped[name]
        found = self.versions.get(name, {}).get(version)
        if found is None or not found.source:
            have = ", ".join(str(v) for v in self.known(name)) or "no version of it"
            raise UserError(f"there is no version {version} of {name}: there is {have}", SEE_LIST, exit_code=1)
        return found.source

    def known(self, name: str) -> list[int]:
        """The numbers of all versions that have a text; 0 is the shipped one."""
        signed = {version for version, policy in self.versions.get(name, {}).items() if policy.source}
        return sorted(signed | ({0} if name in self.ready.shipped else set()))

    def held(self, name: str) -> tuple[int, str]:
        """The version in force and its text. Raises UserError when no version is in force."""
        version = self.holds(name)
        if version is None:
            raise UserError(f"no version of {name} holds", SEE_LIST, exit_code=1)
        return version, self.source(name, version)

    def names(self) -> list[str]:
        """The names of all policies, sorted."""
        return sorted(self.versions.keys() | self.ready.shipped.keys())

    # records to be signed

    def next(self, source: str, comment: str = "", commit: str = "") -> Policy | None:
        """The next version of a policy, unsigned; None when this text is in force already."""
        name = read_head(source).id
        version = self.holds(name)
        if version is not None and self.source(name, version) == source:
            return None
        policy = self._draft(name, max(self.versions.get(name, {}), default=0) + 1, source, comment)
        return msgspec.structs.replace(policy, commit=commit)

    def again(self, name: str, version: int, comment: str = "") -> Policy:
        """The unsigned record that puts a version in force again. Raises UserError when there is no such version."""
        return self._draft(name, version, self.source(name, version), comment)

    def none(self, name: str, comment: str = "") -> list[Policy]:
        """The unsigned records that take a policy out of force, the shipped version included.

        There is one for each version, the one in force first: otherwise an older record could count again after
        compaction of the topic.
        """
        holds = self.holds(name)
        if holds is None:
            raise UserError(f"no version of {name} holds", SEE_LIST, exit_code=1)
        others = sorted({0, *self.versions.get(name, {})} - {holds})
        texts = {version: policy.source for version, policy in self.versions.get(name, {}).items()}
        return [
            msgspec.structs.replace(self._draft(name, version, texts.get(version, ""), comment), active=False)
            for version in (holds, *others)
        ]

    def before(self, name: str) -> int | None:
        """The version below the one in force; None when there is none."""
        version, _ = self.held(name)
        return max((v for v in self.known(name) if v < version), default=None)

    def _draft(self, name: str, version: int, source: str, comment: str) -> Policy:
        newest = max((policy.ts for policy in self.versions.get(name, {}).values()), default=0)
        return Policy(
            name=name, version=version, ts=max(now_ms(), newest + 1), by="", source=source, active=True, comment=comment
        )


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


def publish(broker: Broker, drafts: Iterable[Policy], by: str, keys: Keys) -> list[Policy]:
    """Sign records of policies and publish them to all gates. Returns the signed ones, which the broker has.

    Raises:
        UserError: `by` is no admin here, or has no key on this host.
    """
    entry = keys.entry(by)
    if entry is None or not may(entry.roles, "policies"):
        raise UserError(f"{by} may not change policies", keys.whom_to_ask(Role.ADMIN))
    own = keys.own(by)
    signed = [
        sign_version(msgspec.structs.replace(policy, by=by, comment=mask(policy.comment)), own) for policy in drafts
    ]  # fmt: skip
    with Publisher(broker) as publisher:
        for policy in signed:
            publisher.send(policy)
    return signed


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
