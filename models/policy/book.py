"""The active version of each policy, as set by admins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from models.keyed import KeyedState, Table, table
from models.safety.roles import may
from models.safety.signing import AHEAD_MS, Keyring, Principal, Refused, Signer, check_clock, encoding
from topics.policies import Policy
from topics.spec import Instant

POLICY: Final = "opsloop.policy/1"
SKEW_MS: Final = 2 * AHEAD_MS  # maximum difference between the clocks of two authors
MOST: Final = 500  # maximum names: one more is refused, because dropping one would allow what it denies


class Held(msgspec.Struct, frozen=True):
    """The active version of one policy."""

    version: int  # 0: the shipped one
    ts: Instant  # by its author's clock
    by: str
    source: str  # empty: no version is active, not even the shipped one
    said: dict[str, tuple[Instant, int]] = {}  # author → time and version of their newest record on it


class Book(KeyedState):
    """The policies of one partition's gate. Part of an agent's state."""

    held: Table[Held] = table()

    def take(self, policy: Policy, keyring: Keyring, check: Callable[[Policy], object], arrived: Instant) -> None:
        """Apply an admin's policy record. Call it in the order of the log: the last record counts.

        Clocks of two authors are compared only beyond `SKEW_MS`. A record that is older than its author's newest on
        this policy was sent again, and changes nothing.

        check: raises Refused when the text cannot be evaluated; then the version that was active stays active.
        arrived: time of the broker (ms since 1970).

        Raises:
            Refused: unsigned, unknown_key, revoked, forged, wrong_voter, wrong_role, clock_ahead, outdated,
                invalid_policy, or what `check` raises.
        """
        author(policy, keyring)
        check_clock(policy.ts, arrived)
        known = self.held.get(policy.name)
        if known is not None and (policy.ts, policy.version) <= known.said.get(policy.by, (-1, 0)):
            return
        if known is not None and policy.ts < known.ts - SKEW_MS:
            raise Refused("outdated", f"{known.by} has said more about {policy.name} since {policy.by} signed it")
        if known is None and len(self.held) >= MOST:
            raise Refused("invalid_policy", f"there are {MOST} policies")
        said = {**(known.said if known else {}), policy.by: (policy.ts, policy.version)}
        if policy.active:
            check(policy)
            self.held[policy.name] = Held(policy.version, policy.ts, policy.by, policy.source, said)
        elif policy.version == (known.version if known else 0):
            self.held[policy.name] = Held(policy.version, policy.ts, policy.by, "", said)
        elif known is not None:  # disables a version that is not active: nothing changes, now or when it is sent again
            self.held[policy.name] = msgspec.structs.replace(known, said=said)


def sign_policy(policy: Policy, signer: Signer) -> Policy:
    """Return the policy with its signature."""
    policy = msgspec.structs.replace(policy, key=signer.key)
    return msgspec.structs.replace(policy, signature=signer.sign(_signed(policy)))


def author(policy: Policy, keyring: Keyring) -> Principal:
    """Return who wrote a policy.

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
