"""Which versions of which policies hold: the newest word of an admin about each name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from models.keyed import KeyedState, Table, table
from models.safety.roles import may
from models.safety.signing import Keyring, Principal, Refused, Signer, encoding
from topics.policies import Policy
from topics.spec import Instant

POLICY: Final = "opsloop.policy/1"
MOST: Final = 500  # names: one more is refused, because to forget one would allow what it denies


class Held(msgspec.Struct, frozen=True):
    """What was said last about a name."""

    version: int  # 0: the one that is shipped
    ts: Instant
    by: str
    source: str  # empty: no version of it holds, not even one that is shipped


class Book(KeyedState):
    """The policies of one partition's gate. A part of a state."""

    held: Table[Held] = table()

    def take(self, policy: Policy, keyring: Keyring, check: Callable[[Policy], object]) -> None:
        """Follow what was said about a policy, unless something newer was.

        check: raises Refused when the text is none that can be asked; then what held before still holds.

        Raises:
            Refused: unsigned, unknown_key, revoked, forged, wrong_voter, wrong_role, or what `check` raises.
        """
        author(policy, keyring)
        known = self.held.get(policy.name)
        if known is not None and (policy.ts, policy.version) <= (known.ts, known.version):
            return
        if known is None and len(self.held) >= MOST:
            raise Refused("invalid_policy", f"there are {MOST} policies")
        if not policy.active:
            if policy.version == (known.version if known else 0):  # of another version it says nothing new
                self.held[policy.name] = Held(policy.version, policy.ts, policy.by, "")
            return
        check(policy)
        self.held[policy.name] = Held(policy.version, policy.ts, policy.by, policy.source)


def sign_policy(policy: Policy, signer: Signer) -> Policy:
    """The policy with its signature."""
    policy = msgspec.structs.replace(policy, key=signer.key)
    return msgspec.structs.replace(policy, signature=signer.sign(_signed(policy)))


def author(policy: Policy, keyring: Keyring) -> Principal:
    """Who wrote a policy.

    Raises:
        Refused: unsigned, unknown_key, revoked, forged, wrong_voter (a good key, somebody else's name), wrong_role.
    """
    if not policy.key or not policy.signature:
        raise Refused("unsigned", "it has no signature")
    who = keyring.verify(policy.key, _signed(policy), policy.signature)
    if who.name != policy.by:
        raise Refused("wrong_voter", f"the key is {who.name}'s, the policy says it is {policy.by}'s")
    if not may(who.roles, "policies"):
        raise Refused("wrong_role", f"{who.name} may not change policies")
    return who


def _signed(policy: Policy) -> bytes:
    p = policy
    return encoding(POLICY, msgspec.json.encode(
        (p.name, p.version, p.ts, p.by, p.source, p.active, p.comment, p.commit, p.key)
    ))  # fmt: skip
