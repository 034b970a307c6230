"""I9: one entry that was changed, dropped, moved or cut out is found."""

from __future__ import annotations

import random

import msgspec
import pytest

from models.safety.chain import Chain, Notary, branch, verify
from topics.audit import AUDIT, GENESIS, AuditEntry
from topics.codec import decode_value, encode
from topics.spec import Origin

TRIALS = 200


def written(count: int = 30, partition: int = 0, chain: Chain | None = None, start: int = 0) -> list[AuditEntry]:
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


def change(entries: list[AuditEntry], rng: random.Random) -> list[AuditEntry]:
    at = rng.randrange(len(entries))
    field, value = rng.choice([
        ("body", msgspec.Raw(b'{"v":1,"id":"forged"}')), ("ts", 7), ("domain", "bank"), ("origin", "x-0-0"),
        ("topic", "x"), ("hash", "0" * 64), ("previous", "1" * 64), ("applied", {}), ("seq", 999), ("chain", 1),
    ])  # fmt: skip
    return [*entries[:at], msgspec.structs.replace(entries[at], **{field: value}), *entries[at + 1 :]]


def drop(entries: list[AuditEntry], rng: random.Random) -> list[AuditEntry]:
    at = rng.randrange(len(entries) - 1)
    return [*entries[:at], *entries[at + 1 :]]


def swap(entries: list[AuditEntry], rng: random.Random) -> list[AuditEntry]:
    a, b = rng.sample(range(len(entries)), 2)
    mixed = list(entries)
    mixed[a], mixed[b] = mixed[b], mixed[a]
    return mixed


def cut(entries: list[AuditEntry], rng: random.Random) -> list[AuditEntry]:
    start = rng.randrange(len(entries) - 2)
    return [*entries[:start], *entries[rng.randrange(start + 1, len(entries)) :]]


def repeat(entries: list[AuditEntry], rng: random.Random) -> list[AuditEntry]:
    at = rng.randrange(len(entries))
    return [*entries[:at], entries[at], *entries[at:]]


def fork(entries: list[AuditEntry], rng: random.Random) -> list[AuditEntry]:
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


def grown(count: int = 5) -> tuple[list[AuditEntry], list[AuditEntry]]:
    """A chain, and one of a new partition that goes on from its newest entry."""
    old = written(count, 1)
    chain = Chain(4)
    first = branch(old[-1], Origin(AUDIT.name, 1, count - 1), 4, {"opsloop.settings": 2}, 5_000)
    chain.resume(first)
    return old, [first, *written(count, 4, chain)]


def test_the_chain_of_a_new_partition_goes_on_from_the_old_one_s_newest_entry() -> None:
    old, new = grown()
    assert verify([*old, *new]) == []
    assert verify([*new, *old]) == [], "in whatever order partitions are read"
    more = written(3, 1, resumed(old[-1]), start=5)
    assert verify([*old, *more, *new]) == [], "the old one goes on as well"
    assert new[1].applied == {"opsloop.settings": 2, "opsloop.decisions": 1}


def resumed(entry: AuditEntry) -> Chain:
    chain = Chain(entry.chain)
    chain.resume(entry)
    return chain


def test_a_link_to_an_entry_that_was_cut_off_or_written_anew_is_found() -> None:
    old, new = grown()
    assert any("goes on from entry 4 of chain 1, which is missing" in found for found in verify([*old[:-1], *new]))
    assert any("which is missing" in found for found in verify(new)), "nor does it stand alone"
    anew = resumed(old[-2]).link("shop", Origin("opsloop.decisions", 1, 2), b"{}", 1_004)
    assert any("does not follow entry 4 of chain 1" in found for found in verify([*old[:-1], anew, *new]))


def test_a_chain_without_its_link_or_with_another_one_is_broken() -> None:
    old, new = grown()
    assert verify([*old, *new[1:]]) != []
    forged = msgspec.structs.replace(new[0], previous="1" * 64)
    assert verify([*old, forged, *new[1:]]) != []
    other = msgspec.structs.replace(new[0], body=msgspec.Raw(msgspec.json.encode(old[0])))
    assert verify([*old, other, *new[1:]]) != []


def test_an_audit_that_begins_in_the_middle_takes_a_link_to_what_is_older_as_it_is() -> None:
    old, new = grown()
    more = written(3, 1, resumed(old[-1]), start=5)
    assert verify([*more[1:], *new], {1: more[0]}) == []


def test_the_notary_of_a_new_chain_signs_from_the_link_on() -> None:
    old, new = grown()
    notary = Notary(chain=4, seq=-1, head=old[-1].hash)
    for entry in new:
        notary.see(entry)
    point = notary.checkpoint()
    assert (point.chain, point.first, point.last) == (4, 0, 5)
