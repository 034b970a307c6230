"""I9: one entry that was changed, dropped, moved or cut out is found."""

from __future__ import annotations

import random

import msgspec
import pytest

from models.safety.chain import Chain, verify
from topics.audit import AUDIT, GENESIS, Entry
from topics.codec import decode_value, encode
from topics.spec import Origin

TRIALS = 200


def written(count: int = 30, partition: int = 0, chain: Chain | None = None, start: int = 0) -> list[Entry]:
    """Entries that keep decisions and votes in turn."""
    chain = chain or Chain(partition)
    return [
        chain.link(
            "shop", Origin(("opsloop.decisions", "opsloop.approvals")[n % 2], partition, n // 2),
            b'{"v":1,"id":"%d"}' % n, 1_000 + n,
        )
        for n in range(start, start + count)
    ]  # fmt: skip


def test_what_was_written_verifies_also_after_a_way_through_the_broker() -> None:
    entries = written()
    assert verify(entries) == []
    read = [decode_value(AUDIT, encode(entry).value) for entry in entries]
    assert verify(read) == []  # type: ignore[arg-type]


def test_entries_follow_each_other_from_the_genesis_on() -> None:
    entries = written(5)
    assert [e.seq for e in entries] == [0, 1, 2, 3, 4]
    assert [e.previous for e in entries] == [GENESIS, *(e.hash for e in entries[:-1])]
    assert entries[-1].applied == {"opsloop.decisions": 3, "opsloop.approvals": 2}


def test_chains_of_several_partitions_are_told_apart() -> None:
    one, other = written(10, 0), written(10, 1)
    assert verify([e for pair in zip(one, other, strict=True) for e in pair]) == []


def change(entries: list[Entry], rng: random.Random) -> list[Entry]:
    at = rng.randrange(len(entries))
    field, value = rng.choice([
        ("body", msgspec.Raw(b'{"v":1,"id":"forged"}')), ("ts", 7), ("system", "bank"), ("origin", "x-0-0"),
        ("topic", "x"), ("hash", "0" * 64), ("previous", "1" * 64), ("applied", {}), ("seq", 999), ("chain", 1),
    ])  # fmt: skip
    return [*entries[:at], msgspec.structs.replace(entries[at], **{field: value}), *entries[at + 1 :]]


def drop(entries: list[Entry], rng: random.Random) -> list[Entry]:
    at = rng.randrange(len(entries) - 1)
    return [*entries[:at], *entries[at + 1 :]]


def swap(entries: list[Entry], rng: random.Random) -> list[Entry]:
    a, b = rng.sample(range(len(entries)), 2)
    mixed = list(entries)
    mixed[a], mixed[b] = mixed[b], mixed[a]
    return mixed


def cut(entries: list[Entry], rng: random.Random) -> list[Entry]:
    start = rng.randrange(len(entries) - 2)
    return [*entries[:start], *entries[rng.randrange(start + 1, len(entries)) :]]


def repeat(entries: list[Entry], rng: random.Random) -> list[Entry]:
    at = rng.randrange(len(entries))
    return [*entries[:at], entries[at], *entries[at:]]


def fork(entries: list[Entry], rng: random.Random) -> list[Entry]:
    """Another continuation of the same beginning, put behind the first."""
    at = rng.randrange(1, len(entries) - 1)
    other = Chain(0)
    other.resume(entries[at - 1])
    return [*entries, *written(3, chain=other, start=at)]


@pytest.mark.parametrize("tamper", [change, drop, swap, cut, repeat, fork], ids=lambda f: f.__name__)
def test_i9_every_tampering_is_found(tamper) -> None:  # type: ignore[no-untyped-def]
    entries, seed = written(), random.randrange(10**9)
    rng = random.Random(seed)
    missed = sum(verify(tamper(entries, rng)) == [] for _ in range(TRIALS))
    assert missed == 0, f"{missed} of {TRIALS} were not found; seed {seed}"


def test_what_was_found_is_told_with_its_place() -> None:
    entries = written(5)
    assert verify([*entries[:2], *entries[3:]]) == [
        "chain 0 entry 3: 2 was expected", "chain 0 entry 3: does not follow the entry before it",
    ]  # fmt: skip
    forged = msgspec.structs.replace(entries[2], ts=1)
    assert verify([*entries[:2], forged, *entries[3:]]) == ["chain 0 entry 2: was changed after it was written"]


def test_a_chain_that_is_taken_up_from_its_newest_entry_goes_on_without_a_seam() -> None:
    entries = written(10)
    chain = Chain(0)
    chain.resume(entries[-1])
    more = written(10, chain=chain, start=10)
    assert verify([*entries, *more]) == []
    assert more == written(20)[10:]


def test_an_audit_may_begin_in_the_middle_of_what_was_seen_before() -> None:
    entries = written(10)
    assert verify(entries[6:], {0: entries[5]}) == []
    assert verify(entries[7:], {0: entries[5]}) != []
    assert verify(entries[6:]) != []
