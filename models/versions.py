"""Signed versions of texts (policies, packs): the version of each name that is active, as set by admins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec

from models.keyed import KeyedState, Table, table
from models.safety.roles import may
from models.safety.signing import AHEAD_MS, Keyring, Principal, Refused, Signer, check_clock, encoding
from topics.packs import PackVersion
from topics.policies import Policy
from topics.spec import Instant
from topics.versions import Version

V = TypeVar("V", bound=Version)


class Kind(NamedTuple):
    """What is signed, and who may sign it."""

    label: str  # begins what is signed, so that no signature is good for another kind
    noun: str
    operation: str  # see models.safety.roles
    invalid: str  # code of a refusal


POLICY: Final = "opsloop.policy/1"
KINDS: Final[Mapping[type[Version], Kind]] = {
    Policy: Kind(POLICY, "policy", "policies", "invalid_policy"),
    PackVersion: Kind("opsloop.pack/1", "pack", "packs", "invalid_pack"),
}
SKEW_MS: Final = 2 * AHEAD_MS  # maximum difference between the clocks of two authors
MOST: Final = 500  # maximum names: one more is refused, because dropping one would allow what it denies


class Held(msgspec.Struct, frozen=True):
    """The active version of one text."""

    version: int  # 0: the shipped one
    ts: Instant  # by its author's clock
    by: str
    source: str  # empty: no version is active, not even the shipped one
    said: dict[str, tuple[Instant, int]] = {}  # author → time and version of their newest record on it


class Book(KeyedState):
    """The policies or the packs of one partition. Part of an agent's state."""

    held: Table[Held] = table()

    def take(self, word: V, keyring: Keyring, check: Callable[[V], object], arrived: Instant) -> None:
        """Apply an admin's record. Call it in the order of the log: the last record counts.

        Clocks of two authors are compared only beyond `SKEW_MS`. A record that is older than its author's newest on
        this name was sent again, and changes nothing.

        check: raises Refused when the text cannot be used; then the version that was active stays active.
        arrived: time of the broker (ms since 1970).

        Raises:
            Refused: unsigned, unknown_key, revoked, forged, wrong_voter, wrong_role, clock_ahead, outdated,
                invalid_policy or invalid_pack, or what `check` raises.
        """
        author(word, keyring)
        check_clock(word.ts, arrived)
        known = self.held.get(word.name)
        if known is not None and (word.ts, word.version) <= known.said.get(word.by, (-1, 0)):
            return
        if known is not None and word.ts < known.ts - SKEW_MS:
            raise Refused("outdated", f"{known.by} has said more about {word.name} since {word.by} signed it")
        if known is None and len(self.held) >= MOST:
            kind = KINDS[type(word)]
            raise Refused(kind.invalid, f"there are {MOST} {kind.operation}")
        said = {**(known.said if known else {}), word.by: (word.ts, word.version)}
        if word.active:
            check(word)
            self.held[word.name] = Held(word.version, word.ts, word.by, word.source, said)
        elif word.version == (known.version if known else 0):
            self.held[word.name] = Held(word.version, word.ts, word.by, "", said)
        elif known is not None:  # disables a version that is not active: nothing changes, now or when it is sent again
            self.held[word.name] = msgspec.structs.replace(known, said=said)


def sign_version(word: V, signer: Signer) -> V:
    """Return the record with its signature."""
    word = msgspec.structs.replace(word, key=signer.key)
    return msgspec.structs.replace(word, signature=signer.sign(_signed(word)))


def author(word: Version, keyring: Keyring) -> Principal:
    """Return who wrote a record.

    Raises:
        Refused: unsigned, unknown_key, revoked, forged, wrong_voter (a good key, somebody else's name), wrong_role.
    """
    kind = KINDS[type(word)]
    if not word.key or not word.signature:
        raise Refused("unsigned", "it has no signature")
    who = keyring.verify(word.key, _signed(word), word.signature)
    if who.name != word.by:
        raise Refused("wrong_voter", f"the key is {who.name}'s, the {kind.noun} says it is {word.by}'s")
    if not may(who.roles, kind.operation):
        raise Refused("wrong_role", f"{who.name} may not change {kind.operation}")
    return who


def _signed(word: Version) -> bytes:
    w = word
    return encoding(KINDS[type(word)].label, msgspec.json.encode(
        (w.name, w.version, w.ts, w.by, w.source, w.active, w.comment, w.commit, w.key)
    ))  # fmt: skip
