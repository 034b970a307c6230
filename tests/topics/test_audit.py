"""The digest of an audit entry."""

from __future__ import annotations

import msgspec
import pytest

from tests.builders import SAMPLES
from topics.audit import AUDIT, AuditEntry, digest
from topics.codec import decode_value, encode

ENTRY = SAMPLES[AUDIT.name]
assert isinstance(ENTRY, AuditEntry)


def test_the_digest_that_was_written_is_computed_again() -> None:
    assert digest(ENTRY) == "f8c67eaec799e04bbea9893e196a4f8fd74346f6dcda2658e731238dd7b33e54"


def test_the_digest_is_the_same_after_a_way_through_the_broker() -> None:
    read = decode_value(AUDIT, encode(ENTRY).value)
    assert isinstance(read, AuditEntry)
    assert digest(read) == digest(ENTRY)


def test_the_digest_covers_everything_but_itself() -> None:
    changes = {
        "chain": 1, "seq": 1, "ts": 1, "domain": "x", "topic": "x", "origin": "x", "body": msgspec.Raw(b"{}"),
        "previous": "1" * 64, "applied": {}, "v": 0,
    }  # fmt: skip
    assert set(changes) == set(AuditEntry.__struct_fields__) - {"hash"}
    for name, value in changes.items():
        assert digest(msgspec.structs.replace(ENTRY, **{name: value})) != digest(ENTRY), name
    assert digest(msgspec.structs.replace(ENTRY, hash="another")) == digest(ENTRY)


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_offsets_in_an_entry_changes_nothing(order: int) -> None:
    offsets = dict(sorted({"a": 1, "b": 2, "c": 3}.items(), reverse=order < 0))
    assert digest(msgspec.structs.replace(ENTRY, applied=offsets)) == digest(
        msgspec.structs.replace(ENTRY, applied={"b": 2, "a": 1, "c": 3})
    )
