"""Keys in files, and whom they belong to."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from app.errors import UserError
from app.security.keys import PASSPHRASE, WORKER, Keys, enrol, keys_of
from models.safety.roles import Role
from models.safety.signing import Refused


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "here")


def test_a_key_is_made_on_first_use_and_is_the_same_afterwards(keys: Keys) -> None:
    first = keys.ensure("ana", (Role.APPROVER,))
    again = Keys(keys.home).ensure("ana", (Role.LEAD,))
    assert first.key == again.key
    assert keys.verify(first.key, b"yes", again.sign(b"yes")).roles == {Role.APPROVER}


def test_private_keys_are_readable_by_their_owner_alone(keys: Keys) -> None:
    keys.add("ana", (Role.APPROVER,))
    assert stat.S_IMODE((keys.home / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((keys.home / "keys" / "ana.pem").stat().st_mode) == 0o600
    assert b"PRIVATE" not in keys.file.read_bytes()


def test_every_bit_of_a_signature_and_of_its_message_counts(keys: Keys) -> None:
    key = keys.ensure("ana", (Role.APPROVER,))
    signature = key.sign(b"restart")
    for position in range(len(signature) * 8):
        wrong = bytearray(signature)
        wrong[position // 8] ^= 1 << position % 8
        with pytest.raises(Refused, match="forged"):
            keys.verify(key.key, b"restart", bytes(wrong))
    with pytest.raises(Refused, match="forged"):
        keys.verify(key.key, b"restar", signature)


def test_a_revoked_key_is_refused_at_once_by_a_process_that_runs(keys: Keys) -> None:
    key = keys.ensure("ana", (Role.APPROVER,))
    reader = Keys(keys.home)
    reader.verify(key.key, b"yes", key.sign(b"yes"))
    entry = keys.revoke("ana")
    with pytest.raises(Refused, match="revoked"):
        reader.verify(key.key, b"yes", key.sign(b"yes"))
    assert reader.verify(key.key, b"yes", key.sign(b"yes"), at=entry.revoked - 1).name == "ana"
    with pytest.raises(UserError, match="nobody is called ana"):
        keys.grant("ana", (Role.LEAD,))


def test_a_new_key_takes_the_place_of_the_old_one(keys: Keys) -> None:
    old = keys.ensure("ana", (Role.APPROVER,))
    keys.add("ana", (Role.APPROVER,))
    with pytest.raises(Refused, match="revoked"):
        keys.verify(old.key, b"yes", old.sign(b"yes"))
    new = keys.own("ana")
    assert keys.verify(new.key, b"yes", new.sign(b"yes")).name == "ana"


def test_who_may_not_is_sent_to_somebody_who_may_or_told_how_to_make_one(keys: Keys) -> None:
    keys.add("ana", (Role.LEAD,))
    keys.add("ben", (Role.ADMIN,))
    assert keys.whom_to_ask(Role.OPERATOR, Role.LEAD) == "Ask an operator or a lead: opsloop user list"
    keys.revoke("ben")
    assert keys.whom_to_ask(Role.ADMIN) == "Nobody is an admin yet: opsloop user add NAME --role admin"


def test_an_unknown_key_is_refused(keys: Keys, tmp_path: Path) -> None:
    stranger = Keys(tmp_path / "elsewhere").ensure("ana", (Role.APPROVER,))
    keys.ensure("ana", (Role.APPROVER,))
    with pytest.raises(Refused, match="unknown_key"):
        keys.verify(stranger.key, b"yes", stranger.sign(b"yes"))


def test_a_key_is_encrypted_where_a_passphrase_is_set(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    keys.add("ana", (Role.APPROVER,))
    assert b"ENCRYPTED" in (keys.home / "keys" / "ana.pem").read_bytes()
    keys.own("ana")
    monkeypatch.setenv(PASSPHRASE, "wrong")
    with pytest.raises(UserError, match="cannot be read"):
        keys.own("ana")


@pytest.mark.parametrize("name", ["", "../etc", "a/b", "-x", "a b", "x" * 64])
def test_a_name_cannot_leave_its_folder(keys: Keys, name: str) -> None:
    with pytest.raises(UserError, match="is no name"):
        keys.add(name, (Role.VIEWER,))


def test_a_damaged_list_of_principals_is_an_error_and_not_an_empty_list(keys: Keys) -> None:
    keys.ensure("ana", (Role.APPROVER,))
    keys.file.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        Keys(keys.home).entries()


def test_who_runs_a_demo_may_say_yes_and_keeps_the_roles_that_were_given(tmp_path: Path) -> None:
    first = enrol(tmp_path)
    (me,) = [e for e in first.entries() if e.name != WORKER]
    assert {Role.APPROVER, Role.LEAD, Role.ADMIN} <= set(me.roles)
    first.grant(me.name, (Role.VIEWER,))
    assert enrol(tmp_path).entry(me.name).roles == (Role.VIEWER,)  # type: ignore[union-attr]
    assert keys_of(tmp_path).own(WORKER).key == first.own(WORKER).key
