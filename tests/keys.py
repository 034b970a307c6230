"""Keys for tests: everybody's is derived from the name, so that signatures are the same in every run."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.security.keys import WORKER, Key
from models.safety.roles import Role
from models.safety.signing import Principal, Refused


@functools.cache
def key_of(name: str) -> Key:
    return Key(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


@functools.lru_cache(20_000)
def is_good(name: str, message: bytes, signature: bytes) -> bool:
    """Whether it is the signature of that name's key. Tests feed the same history to many: each is checked once."""
    try:
        key_of(name)._private.public_key().verify(signature, message)
    except InvalidSignature:
        return False
    return True


class Ring:
    """A keyring in memory."""

    def __init__(self, **people: Iterable[Role]) -> None:
        self.people = {name.replace("_", "-"): frozenset(roles) for name, roles in people.items()}
        self.names = {key_of(name).key: name for name in self.people}
        self.revoked: set[str] = set()

    def verify(self, key: str, message: bytes, signature: bytes) -> Principal:
        name = self.names.get(key)
        if name is None:
            raise Refused("unknown_key", "nobody has it")
        if name in self.revoked:
            raise Refused("revoked", name)
        if not is_good(name, message, signature):
            raise Refused("forged", name)
        return Principal(name, self.people[name])


# ana leads, ben and cem approve, vera looks, ada and nora administer
RING = Ring(
    opsloop_worker=[Role.WORKER], ana=[Role.APPROVER, Role.LEAD], ben=[Role.APPROVER], cem=[Role.APPROVER],
    vera=[Role.VIEWER], ada=[Role.ADMIN, Role.OPERATOR], nora=[Role.ADMIN],
)  # fmt: skip
WORKER_KEY = key_of(WORKER)
