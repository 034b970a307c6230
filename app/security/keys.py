"""Ed25519 keys in files, and the list of principals to whom they belong.

keys/NAME.pem       a private key, readable by its owner alone; encrypted where OPSLOOP_KEY_PASSPHRASE is set
principals.json     accepted public keys with their owners and roles: the file to copy to other hosts
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import getpass
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.clock import now_ms
from app.errors import UserError
from app.secrets import resolve
from models.safety.roles import Role
from models.safety.signing import OURS, Principal, Refused
from topics.spec import Instant

WORKER: Final = "opsloop-worker"
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}"
PASSPHRASE: Final = "OPSLOOP_KEY_PASSPHRASE"


class KeyEntry(msgspec.Struct, frozen=True):
    """One principal: a person, a program or Opsloop's own workers."""

    name: str
    roles: tuple[Role, ...]
    key: str  # id of the public key
    public: str  # base64 of its 32 bytes
    since: Instant
    revoked: Instant = 0  # 0: not revoked


class Key:
    """A private key. See `models.safety.signing.Signer`."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.key = key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """The signature of a message, 64 bytes."""
        return self._private.sign(message)

    def pem(self, passphrase: bytes | None = None) -> bytes:
        """The private key in PKCS 8, encrypted when a passphrase is given."""
        protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self._private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)

    def public_pem(self) -> bytes:
        """The public key as SubjectPublicKeyInfo."""
        return self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def key_id(public: bytes) -> str:
    """The id of a public key: the first 80 bits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:20]


class Keys:
    """The keys and principals in one folder. A `Keyring` that reads the file again when it changes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "principals.json"
        self._stamp: tuple[int, int, int] | None = None
        self._entries: Mapping[str, KeyEntry] = {}
        self._publics: dict[str, Ed25519PublicKey] = {}

    # accepted keys

    def verify(self, key: str, message: bytes, signature: bytes, *, at: Instant | None = None) -> Principal:
        """The signer of a message; `at` (ms): with a key that was accepted then. See `models.safety.signing`."""
        entry = self._read().get(key)
        if entry is None:
            raise Refused("unknown_key", f"nobody here has the key {key[:40]}")
        if entry.revoked and (at is None or at >= entry.revoked):
            raise Refused("revoked", f"the key of {entry.name} was revoked")
        try:
            self._publics[key].verify(signature, message)
        except InvalidSignature:
            raise Refused("forged", f"the signature is not one of {entry.name}") from None
        return Principal(entry.name, frozenset(entry.roles))

    def entries(self) -> list[KeyEntry]:
        """The principals by name, each with all keys it has had."""
        return sorted(self._read().values(), key=lambda entry: (entry.name, entry.since))

    def entry(self, name: str) -> KeyEntry | None:
        """The principal of this name whose key is not revoked; None when there is none."""
        return _believed(self._read(), name)

    # keys and principals

    def add(self, name: str, roles: tuple[Role, ...]) -> KeyEntry:
        """Make a key for a new principal, or replace the key of a known one.

        Raises:
            UserError: the name is not valid, or no role is given.
        """
        if not re.fullmatch(NAME, name):
            raise UserError(f"{name!r} is no name", "Use letters, digits, dots, dashes and @, at most 63")
        if name in OURS:
            raise UserError(f"{name} is the name of an agent of Opsloop's own", "Take another one")
        if not roles:
            raise UserError(f"{name} has no role", f"Give one or more of {', '.join(Role)}")
        with self._changing() as entries:
            return self._make(entries, name, roles)

    def ensure(self, name: str, roles: tuple[Role, ...]) -> Key:
        """The private key of a principal; it is made when there is none."""
        with self._changing() as entries:
            if not self._private(name).exists() or _believed(entries, name) is None:
                self._make(entries, name, roles)
        return self.own(name)

    def _make(self, entries: dict[str, KeyEntry], name: str, roles: tuple[Role, ...]) -> KeyEntry:
        key, now = Key(Ed25519PrivateKey.generate()), now_ms()
        before = _believed(entries, name)
        if before is not None:
            entries[before.key] = msgspec.structs.replace(before, revoked=now)
        self._write_private(name, key)
        entry = KeyEntry(name, roles, key.key, base64.b64encode(key.public).decode(), now)
        entries[key.key] = entry
        return entry

    def whom_to_ask(self, *roles: Role) -> str:
        """The remedy for somebody who has none of these roles: ask who has one, or make such a user."""
        wanted = " or ".join(f"{'an' if role[0] in 'aeiou' else 'a'} {role}" for role in roles)
        if any({*roles} & {*entry.roles} for entry in self.entries() if not entry.revoked):
            return f"Ask {wanted}: opsloop user list"
        return f"Nobody is {wanted} yet: opsloop user add NAME --role {roles[0]}"

    def grant(self, name: str, roles: tuple[Role, ...]) -> KeyEntry:
        """Replace the roles of a principal. Raises UserError when there is no such principal."""
        return self._change(name, roles=roles)

    def revoke(self, name: str) -> KeyEntry:
        """Refuse signatures of a principal from now on. Raises UserError when there is no such principal."""
        return self._change(name, revoked=now_ms())

    def own(self, name: str) -> Key:
        """The private key of a principal.

        Raises:
            UserError: the key is not on this host, or its passphrase is wrong.
        """
        path = self._private(name)
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), _passphrase())
        except FileNotFoundError:
            raise UserError(f"{name} has no key on this host", f"Make one: opsloop user add {name}") from None
        except (ValueError, TypeError) as error:
            raise UserError(f"the key {path} cannot be read ({error})", f"Set {PASSPHRASE}, or unset it") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise UserError(f"the key {path} is of another kind", f"Make one: opsloop user add {name}")
        return Key(private)

    # files

    def _read(self) -> Mapping[str, KeyEntry]:
        try:
            found = self.file.stat()
        except FileNotFoundError:
            self._stamp, self._entries = None, {}
            return self._entries
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp != self._stamp:
            try:
                entries = msgspec.json.decode(self.file.read_bytes(), type=dict[str, KeyEntry])
                self._publics = {
                    entry.key: Ed25519PublicKey.from_public_bytes(base64.b64decode(entry.public))
                    for entry in entries.values()
                }
            except (msgspec.DecodeError, ValueError) as error:
                raise UserError(f"{self.file} is damaged ({error})", "Put its last good copy back") from None
            self._stamp, self._entries = stamp, entries
        return self._entries

    def _change(self, name: str, **changes: object) -> KeyEntry:
        with self._changing() as entries:
            before = _believed(entries, name)
            if before is None:
                raise UserError(f"nobody is called {name}", "See opsloop user list", exit_code=1)
            entries[before.key] = msgspec.structs.replace(before, **changes)
            return entries[before.key]

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, KeyEntry]]:
        (self.home / "keys").mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.home / "keys" / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._read()
            entries = dict(before)
            yield entries
            if entries != before:
                write(self.file, msgspec.json.format(msgspec.json.encode(entries)), 0o644)

    def _private(self, name: str) -> Path:
        return self.home / "keys" / f"{name}.pem"

    def _write_private(self, name: str, key: Key) -> None:
        write(self._private(name), key.pem(_passphrase()), 0o600)


def _believed(entries: Mapping[str, KeyEntry], name: str) -> KeyEntry | None:
    return next((entry for entry in entries.values() if entry.name == name and not entry.revoked), None)


def write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file atomically. The file never exists with another mode than `mode`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fsync(descriptor)
    draft.replace(path)


def _passphrase() -> bytes | None:
    phrase = resolve(os.environ.get(PASSPHRASE, ""))
    return phrase.encode() or None


def enrol(home: Path) -> Keys:
    """The keys in a folder. The person at this terminal gets a key that may approve: used by the demo."""
    keys, name = keys_of(home), getpass.getuser()
    if not any(entry.name == name for entry in keys.entries()):
        keys.add(name, (Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN))
    return keys


def keys_of(home: Path) -> Keys:
    """The keys in a folder. A key for the workers is made when there is none."""
    keys = Keys(home)
    keys.ensure(WORKER, (Role.WORKER,))
    return keys
