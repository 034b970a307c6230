"""Tokens for the HTTP interface, signed by this host or an OIDC issuer, and the passwords to get one.

A token names a principal. Roles are looked up at each request, so that a removed role has no effect from then on.

tokens.json       issued tokens by id, until they expire
passwords.json    Argon2id hashes (RFC 9106), readable by their owner alone
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import math
import secrets
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import argon2
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from app.clock import now_ms
from app.errors import UserError
from app.security.keys import Key, Keys, write
from app.security.settings import SecuritySettings
from models.safety.roles import Role
from models.safety.signing import Principal, Refused
from topics.spec import Instant

ISSUER: Final = "opsloop"
AUDIENCE: Final = "opsloop-api"
SIGNER: Final = "opsloop-tokens"
ALGORITHM: Final = "Ed25519"
DAY_S: Final = 86_400
LONGEST_S: Final = 90 * DAY_S
LEEWAY_S: Final = 5
JWKS_KEPT_S: Final = 300.0
JWKS_AGAIN_S: Final = 10.0  # between two looks for a key that is not known, or after one that failed
JWKS_STALE_S: Final = 3_600.0
ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"}
)

T = TypeVar("T")


class Issued(msgspec.Struct, frozen=True):
    """One issued token."""

    name: str
    since: Instant
    expires: Instant
    revoked: Instant = 0


class _Jwks(NamedTuple):
    """The keys of the issuer."""

    asked: float  # seconds, monotonic
    fetched: float  # the same, when there was an answer
    keys: list[Any]
    why: str = ""  # there was none


class Tokens:
    """Issues tokens for the principals in a folder, and checks them."""

    def __init__(self, keys: Keys, settings: SecuritySettings) -> None:
        self._keys, self._settings = keys, settings
        self._issued = keys.home / "tokens.json"
        self._passwords = keys.home / "passwords.json"
        self._jwks = _Jwks(-math.inf, -math.inf, [])

    def issue(self, name: str, ttl_s: int = DAY_S // 3) -> str:
        """Issue a token for a principal, valid for `ttl_s` seconds.

        Raises:
            UserError: there is no such principal, or the time is not between a second and 90 days.
        """
        if self._keys.entry(name) is None:
            raise UserError(f"nobody is called {name}", "See opsloop user list", exit_code=1)
        if not 0 < ttl_s <= LONGEST_S:
            raise UserError(f"a token is valid for a second to 90 days, not {ttl_s} s", "Give --ttl SECONDS")
        identity, now = secrets.token_hex(10), now_ms()
        with self._changing(self._issued, Issued) as issued:
            for old in [i for i, token in issued.items() if token.expires < now]:
                del issued[old]
            issued[identity] = Issued(name, now, now + ttl_s * 1000)
        signer = self._keys.ensure(SIGNER, (Role.VIEWER,))
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": name, "jti": identity, "iat": now // 1000,
                  "exp": now // 1000 + ttl_s}  # fmt: skip
        return jwt.encode({"alg": ALGORITHM, "kid": signer.key}, claims, _private(signer), algorithms=[ALGORITHM])

    def check(self, token: str) -> Principal:
        """The principal of a token, with its present roles.

        Raises:
            Refused: forged, expired, revoked, unknown_key, wrong_audience.
        """
        try:
            claims = self._claims(token)
        except (JoseError, ValueError) as error:
            code = "expired" if "expired" in str(error) else "forged"
            raise Refused(code, f"the token is not accepted: {error}") from None
        return self._local(claims) if claims["iss"] == ISSUER else self._foreign(claims)

    def revoke(self, identity: str) -> Issued:
        """Refuse a token from now on. Raises UserError when this host has issued none with this id."""
        with self._changing(self._issued, Issued) as issued:
            if identity not in issued:
                raise UserError(f"no token has the id {identity}", "See opsloop user tokens", exit_code=1)
            issued[identity] = msgspec.structs.replace(issued[identity], revoked=now_ms())
            return issued[identity]

    def issued(self) -> dict[str, Issued]:
        """The issued tokens that have not expired, by id."""
        return {i: token for i, token in _read(self._issued, Issued).items() if token.expires > now_ms()}

    # passwords

    def set_password(self, name: str, password: str) -> None:
        """Set a principal's password. Raises UserError: no such principal, or fewer than 12 characters."""
        if self._keys.entry(name) is None:
            raise UserError(f"nobody is called {name}", "See opsloop user list", exit_code=1)
        if len(password) < 12:
            raise UserError("the password is too short", "Use at least 12 characters")
        with self._changing(self._passwords, str) as hashes:
            hashes[name] = argon2.PasswordHasher().hash(password)

    def log_in(self, name: str, password: str) -> str:
        """Issue a token for a name and its password. Raises Refused: forged, after equal time for any name."""
        kept = _read(self._passwords, str).get(name)
        hasher = argon2.PasswordHasher()
        try:
            hasher.verify(kept or hasher.hash("nobody's"), password)
        except argon2.exceptions.VerificationError:
            kept = None
        if kept is None or self._keys.entry(name) is None:
            raise Refused("forged", "no such name and password")
        return self.issue(name)

    # checks

    def _claims(self, token: str) -> dict[str, Any]:
        """Verify signature, issuer, audience and times of a token. Returns its claims. The issuer selects the keys."""
        issuer = str(_unverified(token, 1).get("iss", ""))
        if issuer == ISSUER:
            keys: Any = KeySet([_public(self._keys.ensure(SIGNER, (Role.VIEWER,)))])
            algorithms, audience = [ALGORITHM], AUDIENCE
        elif issuer and issuer == self._settings.issuer:
            keys = self._issuer_keys(_unverified(token, 0).get("kid", ""))
            algorithms = sorted(ASYMMETRIC & set(self._settings.algorithms))
            audience = self._settings.audience
        else:
            raise ValueError(f"nobody here believes the issuer {issuer[:80]!r}")
        claims = jwt.decode(token, keys, algorithms=algorithms).claims
        jwt.JWTClaimsRegistry(
            now=lambda: now_ms() // 1000, leeway=LEEWAY_S, iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience}, exp={"essential": True}, sub={"essential": True},
        ).validate(claims)  # fmt: skip
        return dict(claims)

    def _local(self, claims: dict[str, Any]) -> Principal:
        token = _read(self._issued, Issued).get(str(claims.get("jti")))
        if token is None or token.revoked or token.name != claims["sub"]:
            raise Refused("revoked", "the token was revoked")
        entry = self._keys.entry(token.name)
        if entry is None:
            raise Refused("revoked", f"{token.name} is not believed any more")
        return Principal(entry.name, frozenset(entry.roles))

    def _foreign(self, claims: dict[str, Any]) -> Principal:
        name = str(claims.get(self._settings.name_claim, ""))
        said = claims.get(self._settings.roles_claim)
        roles = {role for role in said if role in set(Role)} if isinstance(said, list) else set()
        entry = self._keys.entry(name)
        if not roles and entry is not None:
            roles = set(entry.roles)
        return Principal(name, frozenset(roles) - {Role.WORKER, Role.NODE})

    def _issuer_keys(self, key: str) -> KeySet:
        """The issuer's keys. They are fetched again when they are old, or do not hold the key of this id.

        For keys that nobody knows, that is done once in JWKS_AGAIN_S. While the issuer does not answer, the keys that
        it had count for JWKS_STALE_S.

        Raises:
            ValueError: there are none.
        """
        now, jwks = time.monotonic(), self._jwks
        missing = jwks.why or (key and not any(each.kid == key for each in jwks.keys))
        if now - jwks.asked > (JWKS_AGAIN_S if missing else JWKS_KEPT_S):
            try:
                jwks = _Jwks(now, now, _keys_of(_fetch(self._settings.jwks)))
            except (OSError, ValueError, UserError) as error:
                kept = jwks.keys if now - jwks.fetched < JWKS_STALE_S else []
                jwks = _Jwks(now, jwks.fetched, kept, f"the keys of the issuer cannot be read: {error}")
            self._jwks = jwks
        if not jwks.keys:
            raise ValueError(jwks.why or "the issuer has no key that can be read")
        return KeySet(jwks.keys)

    @contextlib.contextmanager
    def _changing(self, file: Path, kind: type[T]) -> Iterator[dict[str, T]]:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = _read(file, kind)
            yield entries
            write(file, msgspec.json.encode(entries), 0o600)


def _read(file: Path, kind: type[T]) -> dict[str, T]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, kind])  # type: ignore[valid-type]
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise UserError(f"{file} is damaged ({error})", "Put its last good copy back") from None


def _private(key: Key) -> OKPKey:
    return OKPKey.import_key(key.pem(), {"kid": key.key})


def _public(key: Key) -> OKPKey:
    return OKPKey.import_key(key.public_pem(), {"kid": key.key})


def _unverified(token: str, part: int) -> dict[str, Any]:
    """The head (0) or the claims (1) that a token has, to select the keys. Nothing else is read before the signature
    is verified.
    """
    parts = token.split(".")
    if len(parts) != 3 or len(token) > 16_000:
        raise ValueError("it has not the form of a token")
    body = base64.urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4))
    return msgspec.json.decode(body, type=dict[str, Any])


def _keys_of(content: bytes) -> list[Any]:
    """The keys of a JWKS; one that cannot be read is passed over. Raises ValueError: it is none."""
    held = msgspec.json.decode(content)
    if not isinstance(held, dict) or not isinstance(held.get("keys"), list):
        raise ValueError("it is no JWKS: it has no list of keys")
    found: list[Any] = []
    for key in held["keys"]:
        with contextlib.suppress(JoseError, ValueError, TypeError, KeyError, AttributeError):
            found += KeySet.import_key_set({"keys": [key]}).keys
    return [key for key in found if key.key_type != "oct"]  # a secret, which an issuer tells nobody


def _fetch(place: str) -> bytes:
    where = urlsplit(place)
    if where.scheme not in ("http", "https"):
        return Path(place).read_bytes()
    if where.scheme == "http" and where.hostname not in ("127.0.0.1", "localhost"):
        raise UserError(f"the keys of the issuer are not asked for over {place}", "Give an https address, or a file")
    with urllib.request.urlopen(place, timeout=5) as answer:
        content: bytes = answer.read(1_000_000)
    return content
