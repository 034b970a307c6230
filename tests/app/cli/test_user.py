"""`opsloop user`, `keys`, `audit`, `maintenance`: as a person types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from app.cli import build
from app.client import Publisher
from app.errors import UserError
from app.history.audit import Proof
from app.kafka.embedded import Embedded
from app.security.keys import Keys
from app.security.settings import SecuritySettings
from app.security.tokens import Tokens
from models.safety.chain import Chain, Notary
from models.safety.roles import Role
from models.safety.signing import sign_checkpoint
from tests.builders import NOW, SAMPLES
from topics.audit import AuditEntry
from topics.codec import encode
from topics.settings import SETTINGS
from topics.spec import Origin


def typed(*words: str, code: int = 0, told: str = "") -> str:
    result = CliRunner().invoke(build(), words, input=told)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def last(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


def test_a_person_is_added_listed_changed_and_revoked(home: Path) -> None:
    made = last(typed("user", "add", "ana", "--role", "approver", "--role", "lead", "--json"))
    assert (made["name"], made["roles"]) == ("ana", ["approver", "lead"])
    assert Keys(home).own("ana").key == made["key"]
    typed("user", "grant", "ana", "--role", "viewer")
    (listed,) = last(typed("user", "list", "--json"))
    assert (listed["roles"], listed["revoked"]) == (["viewer"], 0)
    typed("user", "revoke", "ana")
    assert last(typed("user", "list", "--json"))[0]["revoked"] > 0
    assert "ana" in typed("user", "list")


def test_who_gets_another_key_is_told_that_the_one_before_ends(home: Path) -> None:
    assert "not believed" not in typed("user", "add", "ana", "--role", "approver")
    before = Keys(home).own("ana").key
    assert f"the key before, {before}, is not believed any more" in typed("user", "add", "ana", "--role", "lead")


def test_a_token_is_given_out_listed_and_revoked(home: Path) -> None:
    typed("user", "add", "ana", "--role", "approver", "--password", told="a long password\na long password\n")
    token = typed("user", "token", "ana", "--ttl", "60").strip()
    tokens = Tokens(Keys(home), SecuritySettings())
    assert tokens.check(token).roles == {Role.APPROVER}
    assert tokens.check(tokens.log_in("ana", "a long password")).name == "ana"
    first = next(iter(last(typed("user", "tokens", "--json"))))
    typed("user", "revoke", "--token", first)
    assert last(typed("user", "tokens", "--json"))[first]["revoked"] > 0
    assert "ana" in typed("user", "tokens")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("user", "add", "a b", "--role", "lead"), "is no name"),
        (("user", "add", "ana", "--role", "worker"), "for Opsloop's own processes"),
        (("user", "grant", "ana", "--role", "lead"), "nobody is called ana"),
        (("user", "revoke", "ana"), "nobody is called ana"),
        (("user", "revoke", "--token", "x"), "no token has the id x"),
        (("user", "token", "ana"), "nobody is called ana"),
        (("kill-switch", "off", "--as", "ana"), "ana may not allow acting again"),
    ],
)
def test_what_is_not_possible_is_told_with_what_to_do(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        typed(*words)
    assert error.value.remedy
    assert error.value.exit_code == (1 if says.startswith(("nobody", "no token")) else 2), "1: an unknown id"


def test_keys_makes_what_this_host_needs(home: Path) -> None:
    listed = last(typed("keys", "--json"))
    assert {"opsloop-worker"} < {entry["name"] for entry in listed}
    assert last(typed("keys", "--json")) == listed
    assert len(list((home / "keys").glob("*.pem"))) == 2


def audited(embedded: Embedded, home: Path) -> list[AuditEntry]:
    """An audit of every record of the catalogue that is kept there, signed to its end."""
    keys = Keys(home)
    signer = keys.ensure("opsloop-worker", (Role.WORKER,))
    chain, notary, entries = Chain(0), Notary(), []
    with Publisher(embedded.broker) as publisher:
        for number, (name, record) in enumerate(sorted(SAMPLES.items())):
            if name.startswith(("opsloop.state", "opsloop.telemetry", "opsloop.audit")):
                continue
            message = encode(record)
            entries.append(chain.link("shop", Origin(name, 0, number), message.value, NOW + number))
            publisher.send(entries[-1])
            notary.see(entries[-1])
        publisher.send(sign_checkpoint(notary.checkpoint(), signer))
    return entries


def test_an_audit_is_verified_shown_and_exported(embedded: Embedded, home: Path, tmp_path: Path) -> None:
    entries = audited(embedded, home)
    address = ("--broker", embedded.bootstrap)
    report = last(typed("audit", "verify", "--json", *address))
    assert report == {"entries": len(entries), "chains": 1, "checkpoints": 1, "unsigned": 0, "wrong": []}
    assert last(typed("audit", "verify", "--json", "--from", "3", *address))["entries"] == len(entries) - 3
    assert len(typed("audit", "show", *address).splitlines()) == len(entries)
    assert last(typed("audit", "show", "--last", "1", "--json", *address))["seq"] == entries[-1].seq
    typed("audit", "export", str(tmp_path / "audit.jsonl"), *address)
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == len(entries) + 1


def test_an_entry_is_proved_to_somebody_who_has_nothing_but_the_keys(embedded: Embedded, home: Path) -> None:
    entries = audited(embedded, home)
    address = ("--broker", embedded.bootstrap)
    for entry in entries:
        proof = msgspec.json.decode(typed("audit", "prove", f"0/{entry.seq}", *address), type=Proof)
        assert proof.holds(Keys(home))
        assert not msgspec.structs.replace(proof, entry=entries[entry.seq - 1]).holds(Keys(home))
    with pytest.raises(UserError, match="no such entry"):
        typed("audit", "prove", "0/999", *address)
    with pytest.raises(UserError, match="is no place"):
        typed("audit", "prove", "newest", *address)


def test_the_access_rules_of_the_broker_are_those_of_the_table() -> None:
    lines = typed("user", "acls").splitlines()
    commands = [line for line in lines if "--topic opsloop.actions.commands " in line]
    assert [line for line in commands if "Write" in line] == [
        "--add --allow-principal User:worker --topic opsloop.actions.commands --operation Write --operation Read"
        " --operation Describe"
    ]
    assert len(commands) == 7


def test_i9_a_forked_audit_and_a_record_that_was_left_out_are_told(embedded: Embedded, home: Path) -> None:
    entries = audited(embedded, home)
    with Publisher(embedded.broker) as publisher:
        publisher.send(entries[2])
        message = encode(SAMPLES[SETTINGS.name])
        publisher.send_raw(SETTINGS.name, message.key, message.value, message.headers, 3, timestamp=NOW)
    report = last(typed("audit", "verify", "--json", "--broker", embedded.bootstrap, code=1))
    assert any("entry 2" in line for line in report["wrong"])
    assert "opsloop.settings-3-0 was not kept" in report["wrong"]


def test_maintenance_reaches_every_partition(embedded: Embedded) -> None:
    setting = last(typed("maintenance", "shop/catalog", "--minutes", "30", "--json", "--broker", embedded.bootstrap))
    assert setting["name"] == "maintenance/shop/catalog"
    assert int(setting["value"]) - setting["ts"] == 30 * 60_000
