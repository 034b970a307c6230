"""Versions of signed texts, for people: all that there are, the one in force, and records that change it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from app.client import Publisher
from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker
from app.security.keys import Keys
from models.safety.masking import mask
from models.safety.roles import Role, may
from models.safety.signing import Keyring, Refused
from models.versions import KINDS, Book, author, sign_version
from topics.versions import Version

V = TypeVar("V", bound=Version)


@dataclass
class VersionStore(Generic[V]):
    """All versions that an admin has signed, and the book of the workers: which version of each name is in force."""

    kind: type[V]
    shipped: Mapping[str, str]  # texts that hold until an admin changes them, by name; version 0
    book: Book = field(default_factory=Book)
    versions: dict[str, dict[int, V]] = field(default_factory=dict)  # by name; the newest record of each version

    def name_of(self, text: str) -> str:
        """The name that a text gives itself."""
        raise NotImplementedError

    def check(self, word: V) -> None:
        """Raise Refused when a version cannot be used."""
        raise NotImplementedError

    def add(self, word: V, keyring: Keyring, arrived: int) -> None:
        """Add a record as a worker does. A record whose signature a worker would refuse is ignored."""
        try:
            author(word, keyring)
        except Refused:
            return
        known = self.versions.setdefault(word.name, {})
        if word.version not in known or known[word.version].ts <= word.ts:
            known[word.version] = word
        try:
            self.book.take(word, keyring, self.check, arrived)
        except Refused:
            return

    def holds(self, name: str) -> int | None:
        """The version in force; 0: the shipped one; None: no version is in force."""
        held = self.book.held.get(name)
        if held is None:
            return 0 if name in self.shipped else None
        return held.version if held.source else None

    def source(self, name: str, version: int) -> str:
        """The text of a version; 0 is the shipped one. Raises UserError when there is no such version."""
        if version == 0 and name in self.shipped:
            return self.shipped[name]
        found = self.versions.get(name, {}).get(version)
        if found is None or not found.source:
            have = ", ".join(str(v) for v in self.known(name)) or "no version of it"
            raise UserError(f"there is no version {version} of {name}: there is {have}", self.see, exit_code=1)
        return found.source

    @property
    def see(self) -> str:
        """What to type to see what there is."""
        return f"See opsloop {KINDS[self.kind].noun} list"

    def known(self, name: str) -> list[int]:
        """The numbers of all versions that have a text; 0 is the shipped one."""
        signed = {version for version, word in self.versions.get(name, {}).items() if word.source}
        return sorted(signed | ({0} if name in self.shipped else set()))

    def held(self, name: str) -> tuple[int, str]:
        """The version in force and its text. Raises UserError when no version is in force."""
        version = self.holds(name)
        if version is None:
            raise UserError(f"no version of {name} holds", self.see, exit_code=1)
        return version, self.source(name, version)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.versions.keys() | self.shipped.keys())

    # records to be signed

    def next(self, source: str, comment: str = "", commit: str = "") -> V | None:
        """The next version of a text, unsigned; None when this text is in force already."""
        name = self.name_of(source)
        version = self.holds(name)
        if version is not None and self.source(name, version) == source:
            return None
        word = self._draft(name, max(self.versions.get(name, {}), default=0) + 1, source, comment)
        return msgspec.structs.replace(word, commit=commit)

    def again(self, name: str, version: int, comment: str = "") -> V:
        """The unsigned record that puts a version in force again. Raises UserError when there is no such version."""
        return self._draft(name, version, self.source(name, version), comment)

    def none(self, name: str, comment: str = "") -> list[V]:
        """The unsigned records that take a name out of force, the shipped version included.

        There is one for each version, the one in force first: otherwise an older record could count again after
        compaction of the topic.
        """
        holds = self.holds(name)
        if holds is None:
            raise UserError(f"no version of {name} holds", self.see, exit_code=1)
        others = sorted({0, *self.versions.get(name, {})} - {holds})
        texts = {version: word.source for version, word in self.versions.get(name, {}).items()}
        return [
            msgspec.structs.replace(self._draft(name, version, texts.get(version, ""), comment), active=False)
            for version in (holds, *others)
        ]

    def before(self, name: str) -> int | None:
        """The version below the one in force; None when there is none."""
        version, _ = self.held(name)
        return max((v for v in self.known(name) if v < version), default=None)

    def back(self, name: str, comment: str = "") -> tuple[list[V], str]:
        """The unsigned records that put the version before in force again, or none; and what to tell."""
        noun, version = KINDS[self.kind].noun, self.before(name)
        if version is None:
            return self.none(name, comment), f"no version of {name} holds from now on"
        told = f"{name} version {version} holds again" if version else f"{noun} {name} as it is shipped holds again"
        return [self.again(name, version, comment)], told

    def _draft(self, name: str, version: int, source: str, comment: str) -> V:
        newest = max((word.ts for word in self.versions.get(name, {}).values()), default=0)
        return self.kind(
            name=name, version=version, ts=max(now_ms(), newest + 1), by="", source=source, active=True, comment=comment
        )


def publish(broker: Broker, drafts: Iterable[V], by: str, keys: Keys) -> list[V]:
    """Sign records and publish them to all workers. Returns the signed ones, which the broker has.

    Raises:
        UserError: `by` is no admin here, or has no key on this host.
    """
    drafts, entry = list(drafts), keys.entry(by)
    operations = {KINDS[type(word)].operation for word in drafts}
    if entry is None or not all(may(entry.roles, operation) for operation in operations):
        raise UserError(f"{by} may not change {' or '.join(sorted(operations))}", keys.whom_to_ask(Role.ADMIN))
    own = keys.own(by)
    signed = [sign_version(msgspec.structs.replace(word, by=by, comment=mask(word.comment)), own) for word in drafts]
    with Publisher(broker) as publisher:
        for word in signed:
            publisher.send(word)
    return signed
