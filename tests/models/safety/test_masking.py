"""What somebody wrote into a reason does not stay in the audit when it is a secret or a person's address."""

from __future__ import annotations

import msgspec
import pytest

from agents.record import AuditWriter
from models.safety.masking import mask, mask_json, rules_with
from models.safety.settings import SafetySettings
from tests.builders import NOW, decision, proposal, reads
from topics.decisions import DecisionState

SECRETS = [
    "ask jane.doe@shop.example first",
    "password=hunter2 works",
    "Authorization: Bearer abcdef123456",
    "eyJhbGciOiJFZDI1NTE5In0.eyJzdWIiOiJhbmEifQ.c2ln",
    "postgres://admin:hunter2@db/shop",
    "AKIAIOSFODNN7EXAMPLE",
    "paid with 4111 1111 1111 1111",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----",
    "api_key: s3cr3t",
]
PLAIN = [
    "up.refused of shop/catalog/0 is 1, expected 0",
    "command 096c7dd6170bbf695e7d at 1700000000000 ms",
    "10 tokens",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_and_addresses_are_masked_and_the_rule_is_named(text: str) -> None:
    masked = mask(text)
    assert "[" in masked
    for secret in ("jane.doe", "hunter2", "abcdef123456", "eyJ", "AKIA", "4111", "MC4CAQ", "s3cr3t"):
        assert secret not in masked


@pytest.mark.parametrize("text", PLAIN)
def test_ordinary_words_stay_as_they_are(text: str) -> None:
    assert mask(text) == text


def test_only_free_text_is_masked_and_nothing_under_a_signature() -> None:
    body = msgspec.json.encode({
        "id": "a@b.example", "reasons": ["for a@b.example"],
        "vote": {"reason": "a@b.example", "signature": "c2ln"}, "nested": {"detail": "password=x1"},
    })  # fmt: skip
    assert msgspec.json.decode(mask_json(body)) == {
        "id": "a@b.example", "reasons": ["for [address]"],
        "vote": {"reason": "a@b.example", "signature": "c2ln"}, "nested": {"detail": "[secret]"},
    }  # fmt: skip


def test_what_holds_no_secret_is_kept_byte_for_byte() -> None:
    body = b'{ "reason" : "all is well" }'
    assert mask_json(body) is body


def test_the_audit_keeps_no_secret_that_a_reason_told() -> None:
    proposed = decision(DecisionState.DENIED, proposal(reasons=("the password=hunter2 of jane@shop.example leaked",)))
    (entry,) = AuditWriter().step(reads([proposed]), NOW)
    assert b"hunter2" not in bytes(entry.body)
    assert b"jane" not in bytes(entry.body)


def test_the_settings_may_have_rules_of_their_own() -> None:
    settings = SafetySettings(masks={"customer": r"\bK-\d{6}\b"})
    rules = rules_with(settings.masks)
    assert mask("order of K-123456, password=hunter2", rules) == "order of [customer], [secret]"
    proposed = decision(DecisionState.DENIED, proposal(reasons=("K-123456 waits",)))
    (entry,) = AuditWriter(rules).step(reads([proposed]), NOW)
    assert b"[customer] waits" in bytes(entry.body)


@pytest.mark.parametrize("pattern", ["(", "x*", ""])
def test_a_rule_that_is_none_is_an_error_at_the_start(pattern: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="the mask 'mine'"):
        msgspec.convert({"masks": {"mine": pattern}}, SafetySettings)


@pytest.mark.parametrize(
    "said", ["my paſſword=hunter2", "BEARER abcdefgh12345", "API_KEY: s3cret-s3cret", "toKen = abc"]
)
def test_no_way_to_write_a_word_hides_a_secret(said: str) -> None:
    assert mask(said) != said
    assert mask(said) == mask(mask(said))
