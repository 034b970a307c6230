"""Tokens and passwords: who is believed over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, OKPKey, RSAKey

from app.clock import now_ms
from app.errors import UserError
from app.security.keys import Keys
from app.security.settings import SecuritySettings
from app.security.tokens import ALGORITHM, AUDIENCE, ISSUER, SIGNER, Tokens, _private
from models.safety.roles import Role
from models.safety.signing import Refused

COMPANY = "https://login.company.example"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(tmp_path)
    keys.add("ana", (Role.APPROVER, Role.LEAD))
    return keys


@pytest.fixture
def tokens(keys: Keys) -> Tokens:
    return Tokens(keys, SecuritySettings())


def test_a_token_says_who_and_the_roles_are_those_of_now(keys: Keys, tokens: Tokens) -> None:
    token = tokens.issue("ana")
    assert tokens.check(token).roles == {Role.APPROVER, Role.LEAD}
    keys.grant("ana", (Role.VIEWER,))
    assert tokens.check(token).roles == {Role.VIEWER}
    keys.revoke("ana")
    with pytest.raises(Refused, match="revoked"):
        tokens.check(token)


def test_a_token_ends(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    now = now_ms()
    token = tokens.issue("ana", 60)
    monkeypatch.setattr("app.security.tokens.now_ms", lambda: now + 60_000)
    assert tokens.check(token).name == "ana", "clocks may differ by a little"
    monkeypatch.setattr("app.security.tokens.now_ms", lambda: now + 67_000)
    with pytest.raises(Refused) as refused:
        tokens.check(token)
    assert refused.value.code == "expired"


def test_one_token_is_revoked_and_the_others_stay(tokens: Tokens) -> None:
    one, other = tokens.issue("ana"), tokens.issue("ana")
    (first, _) = tokens.issued()
    tokens.revoke(first)
    with pytest.raises(Refused, match="revoked"):
        tokens.check(one)
    assert tokens.check(other).name == "ana"


def forged(keys: Keys, **changes: Any) -> dict[str, Any]:
    """Claims that would be good if they were signed and known."""
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "ana", "jti": "x", "iat": 1, "exp": 4_000_000_000} | changes


@pytest.mark.parametrize("case", ["another key", "none", "symmetric", "audience", "no expiry", "issuer", "unknown id"])
def test_a_token_that_we_did_not_give_out_is_refused(keys: Keys, tokens: Tokens, case: str) -> None:
    tokens.issue("ana")
    ours = _private(keys.own(SIGNER))
    claims, header, key = forged(keys), {"alg": ALGORITHM}, ours
    if case == "another key":
        key = OKPKey.generate_key("Ed25519", {"kid": ours.kid})
    elif case == "audience":
        claims["aud"] = "another"
    elif case == "no expiry":
        del claims["exp"]
    elif case == "issuer":
        claims["iss"] = COMPANY
    if case == "none":
        body = jwt.encode(header, claims, key, algorithms=[ALGORITHM]).split(".")[1]
        token = f"eyJhbGciOiJub25lIn0.{body}."
    elif case == "symmetric":
        secret = OctKey.import_key(keys.own(SIGNER).public)
        token = jwt.encode({"alg": "HS256"}, claims, secret, algorithms=["HS256"])
    else:
        token = jwt.encode(header, claims, key, algorithms=[ALGORITHM])
    with pytest.raises(Refused):
        tokens.check(token)


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "." * 20_000, "e30.e30.e30", "é.é.é"])
def test_what_is_no_token_is_refused(tokens: Tokens, token: str) -> None:
    with pytest.raises(Refused):
        tokens.check(token)


def test_an_issuer_that_was_set_is_believed_and_gives_no_rights_of_workers(keys: Keys, tmp_path: Path) -> None:
    rsa = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps(KeySet([rsa]).as_dict(private=False)))
    tokens = Tokens(keys, SecuritySettings(issuer=COMPANY, audience="ops", jwks=str(jwks)))

    def signed(algorithm: str = "RS256", **claims: Any) -> str:
        plain = {"iss": COMPANY, "aud": "ops", "sub": "eve", "exp": 4_000_000_000}
        return jwt.encode({"alg": algorithm, "kid": "one"}, plain | claims, rsa, algorithms=[algorithm])

    assert tokens.check(signed(roles=["approver", "worker", "emperor"])).roles == {Role.APPROVER}
    assert tokens.check(signed()).roles == set()
    assert tokens.check(signed(sub="ana")).roles == {Role.APPROVER, Role.LEAD}
    for wrong in (signed(aud="other"), signed(exp=1), signed("PS256")):
        with pytest.raises(Refused):
            tokens.check(wrong)
    with pytest.raises(Refused):
        Tokens(keys, SecuritySettings()).check(signed())


class Issuer:
    """A company's issuer of tokens, whose keys stand in a file."""

    def __init__(self, keys: Keys, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.now = folder / "jwks.json", 1_000.0
        monkeypatch.setattr("app.security.tokens.time.monotonic", lambda: self.now)
        self.tokens = Tokens(keys, SecuritySettings(issuer=COMPANY, audience="ops", jwks=str(self.file)))

    def publish(self, *keys: Any) -> None:
        held = [key if not isinstance(key, OKPKey) else key.as_dict(private=False) for key in keys]
        self.file.write_text(json.dumps({"keys": held}))

    def accepts(self, key: OKPKey, **head: str) -> bool:
        claims = {"iss": COMPANY, "aud": "ops", "sub": "ana", "exp": 4_000_000_000}
        token = jwt.encode(
            {"alg": ALGORITHM} | (head or {"kid": str(key.kid)}), claims, key, algorithms=[ALGORITHM]
        )  # fmt: skip
        try:
            return self.tokens.check(token).name == "ana"
        except Refused as refused:
            return refused.code != "forged"


@pytest.fixture
def issuer(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    return Issuer(keys, tmp_path, monkeypatch)


def key(name: str) -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": name}, private=True)


def test_a_key_that_the_issuer_has_anew_is_fetched_once_in_a_while(issuer: Issuer) -> None:
    old, new = key("old"), key("new")
    issuer.publish(old)
    assert issuer.accepts(old)
    issuer.publish(new)
    assert not issuer.accepts(new), "who shows unknown keys makes no work"
    issuer.now += 11
    assert issuer.accepts(new)
    assert not issuer.accepts(old)
    issuer.publish(old)
    assert issuer.accepts(new), "they are not fetched for each token"
    issuer.now += 301
    assert not issuer.accepts(new)


@pytest.mark.parametrize("bad", [
    {"kty": "RSA", "n": "!!", "e": "AQAB", "kid": "x"}, {"kty": "XX"}, {}, 5, None, [],
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "e"}, {"kty": "RSA", "kid": 1, "n": "AQAB", "e": "AQAB"},
    {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "s"},
])  # fmt: skip
def test_a_broken_key_harms_no_other(issuer: Issuer, bad: Any) -> None:
    sound = key("sound")
    issuer.publish(bad, sound, bad)
    assert issuer.accepts(sound)
    issuer.publish(bad)
    issuer.now += 301
    assert not issuer.accepts(sound)


@pytest.mark.parametrize("content", [None, "", "{}", "[]", "no json", '{"keys": {}}', '{"keys": []}', "\x00"])
def test_without_keys_a_token_is_refused_with_the_cause_and_accepted_when_they_are_there(
    issuer: Issuer, content: str | None
) -> None:
    sound = key("sound")
    if content is not None:
        issuer.file.write_text(content)
    assert not issuer.accepts(sound)
    issuer.publish(sound)
    issuer.now += 11
    assert issuer.accepts(sound)


def test_while_the_issuer_does_not_answer_its_keys_count_for_an_hour(issuer: Issuer) -> None:
    sound = key("sound")
    issuer.publish(sound)
    assert issuer.accepts(sound)
    issuer.file.unlink()
    issuer.now += 1_800
    assert issuer.accepts(sound)
    issuer.now += 1_900
    assert not issuer.accepts(sound)


def test_a_token_that_names_no_key_or_a_wrong_one_is_no_error(issuer: Issuer) -> None:
    one, other = key("one"), key("other")
    issuer.publish(one, other)
    assert not issuer.accepts(one, kid="other")
    assert not issuer.accepts(one, kid="nobody")


def test_a_password_gives_a_token(keys: Keys, tokens: Tokens, tmp_path: Path) -> None:
    tokens.set_password("ana", "a long enough one")
    assert tokens.check(tokens.log_in("ana", "a long enough one")).name == "ana"
    assert "a long enough one" not in (tmp_path / "passwords.json").read_text()
    for name, password in (("ana", "another long one"), ("ben", "a long enough one")):
        with pytest.raises(Refused, match="no such name and password"):
            tokens.log_in(name, password)
    with pytest.raises(UserError, match="too short"):
        tokens.set_password("ana", "short")
    keys.revoke("ana")
    with pytest.raises(Refused):
        tokens.log_in("ana", "a long enough one")


@pytest.mark.parametrize("ttl", [0, -1, 91 * 86_400])
def test_no_token_is_for_ever(tokens: Tokens, ttl: int) -> None:
    with pytest.raises(UserError, match="valid for"):
        tokens.issue("ana", ttl)
