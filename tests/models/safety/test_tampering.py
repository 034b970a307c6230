"""I9: an audit that was changed after it was written is found out, whatever was done to it."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from agents.attest import Attest
from agents.record import AuditWriter
from models.safety.chain import Chain, Notary, verify, verify_points
from models.safety.signing import sign_checkpoint
from tests.builders import NOW, decision, proposal, reads, result
from tests.keys import RING, WORKER_KEY, key_of
from topics.audit import AuditEntry, Checkpoint, digest
from topics.decisions import DecisionState
from topics.refusals import Refusal
from topics.spec import Origin

SEED, TRIALS = 9, 1_000
replace = msgspec.structs.replace


def written() -> tuple[list[AuditEntry], list[Checkpoint]]:
    """An audit of 120 entries with a checkpoint each ten seconds, the last of which covers its end."""
    keeper, notary, entries, points = AuditWriter(), Attest(WORKER_KEY), list[AuditEntry](), list[Checkpoint]()
    for number in range(40):
        proposed = decision(DecisionState.APPROVED, proposal(id=f"p{number}"))
        records = reads([proposed, proposed.proposal, result(id=f"r{number}")], start=number)
        made = list(keeper.step(records, NOW + 1_000 * number))
        entries += made
        points += notary.step(reads(made, start=3 * number), NOW + 1_000 * number)  # type: ignore[arg-type]
    points += notary.step((), NOW + 60_000)  # type: ignore[arg-type]
    return entries, points


ENTRIES, POINTS = written()


def found(entries: list[AuditEntry], points: list[Checkpoint]) -> list[str]:
    return [*verify(entries), *verify_points(entries, points, RING)]


def rewritten(entries: list[AuditEntry], start: int) -> list[AuditEntry]:
    """The chain from an entry on with good hashes, as somebody does who has the code and not the key."""
    kept = entries[:start]
    chain = Chain(0)
    if kept:
        chain.resume(kept[-1])
    for entry in entries[start:]:
        kept.append(chain.link(entry.domain, Origin.parse(entry.origin), bytes(entry.body), entry.ts))
    return kept


def changed(draw: random.Random, entries: list[AuditEntry]) -> list[AuditEntry]:
    at = draw.randrange(len(entries))
    body = bytearray(bytes(entries[at].body))
    place = draw.choice([i for i, byte in enumerate(body) if chr(byte).isalnum()])
    body[place] = ord("x") if body[place] != ord("x") else ord("y")
    entries[at] = replace(entries[at], body=msgspec.Raw(bytes(body)))
    return entries


def redated(draw: random.Random, entries: list[AuditEntry]) -> list[AuditEntry]:
    at = draw.randrange(len(entries))
    entries[at] = replace(entries[at], ts=entries[at].ts + 1)
    return entries


def dropped(draw: random.Random, entries: list[AuditEntry]) -> list[AuditEntry]:
    del entries[draw.randrange(len(entries))]
    return entries


def reordered(draw: random.Random, entries: list[AuditEntry]) -> list[AuditEntry]:
    one, other = sorted(draw.sample(range(len(entries)), 2))
    entries[one], entries[other] = entries[other], entries[one]
    return entries


def truncated(draw: random.Random, entries: list[AuditEntry]) -> list[AuditEntry]:
    return entries[: draw.randrange(len(entries))]


def forked(draw: random.Random, entries: list[AuditEntry]) -> list[AuditEntry]:
    """A second history from somewhere on, beside the first."""
    at = draw.randrange(len(entries) - 1)
    other = replace(entries[at], ts=entries[at].ts + 5)
    return [*entries, *rewritten([*entries[:at], other, *entries[at + 1 :]], at)[at:]]


def changed_and_rewritten(draw: random.Random, entries: list[AuditEntry]) -> list[AuditEntry]:
    at = draw.randrange(len(entries))
    entries[at] = replace(entries[at], body=msgspec.Raw(b'{"v":1}'))
    return rewritten(entries, at)


def dropped_and_rewritten(draw: random.Random, entries: list[AuditEntry]) -> list[AuditEntry]:
    at = draw.randrange(len(entries))
    return rewritten([*entries[:at], *entries[at + 1 :]], at)


def repeated(draw: random.Random, entries: list[AuditEntry]) -> list[AuditEntry]:
    at = draw.randrange(len(entries))
    return [*entries[: at + 1], entries[at], *entries[at + 1 :]]


TAMPERS: list[Callable[[random.Random, list[AuditEntry]], list[AuditEntry]]] = [
    changed, redated, dropped, reordered, truncated, forked, changed_and_rewritten, dropped_and_rewritten, repeated,
]  # fmt: skip


def test_what_was_written_is_whole_and_its_end_is_covered() -> None:
    assert found(ENTRIES, POINTS) == []
    assert POINTS[-1].last == ENTRIES[-1].seq == len(ENTRIES) - 1
    assert [p.first for p in POINTS] == [0, *(p.last + 1 for p in POINTS[:-1])]


def test_i9_one_thousand_random_tampers_are_all_found() -> None:
    draw = random.Random(SEED)
    missed = []
    for trial in range(TRIALS):
        tamper = TAMPERS[trial % len(TAMPERS)]
        if not found(tamper(draw, list(ENTRIES)), list(POINTS)):
            missed.append((trial, tamper.__name__))
    print(f"seed {SEED}: {TRIALS} tampers of {len(TAMPERS)} kinds over {len(ENTRIES)} entries, {len(missed)} missed")
    assert missed == []


def test_i9_a_checkpoint_that_somebody_else_has_signed_is_no_checkpoint() -> None:
    other = rewritten([replace(ENTRIES[0], ts=1), *ENTRIES[1:]], 0)
    for name in ("ana", "mallory"):
        notary = Notary()
        for entry in other:
            notary.see(entry)
        assert found(other, [sign_checkpoint(notary.checkpoint(), key_of(name))]), name
    altered = replace(POINTS[0], root="0" * 64)
    assert "forged" in found(ENTRIES, [altered])[0]


def test_an_audit_is_examined_from_an_entry_on() -> None:
    tail = ENTRIES[50:]
    assert verify(tail, {0: ENTRIES[49]}) == []
    assert verify_points(tail, POINTS, RING) == []
    assert digest(tail[0]) == tail[0].hash


def test_i9_a_notary_that_reads_a_tampered_audit_says_so_at_once() -> None:
    draw = random.Random(SEED)
    tampers = [changed, redated, dropped, reordered, forked]
    quiet = []
    for trial in range(100):
        tamper = tampers[trial % len(tampers)]
        entries = tamper(draw, list(ENTRIES))
        said = list(Attest(WORKER_KEY).step(reads(entries), NOW))
        if not any(isinstance(record, Refusal) for record in said) and entries[0].seq == 0:
            quiet.append((trial, tamper.__name__))
    print(f"seed {SEED}: {len(quiet)} of 100 not told while reading")
    assert {name for _, name in quiet} <= {"dropped", "forked"}, quiet  # the last one dropped; a fork behind the head


def test_what_is_read_twice_is_signed_once() -> None:
    once = list(Attest(WORKER_KEY).step(reads(ENTRIES), NOW + 60_000))
    twice = list(Attest(WORKER_KEY).step(reads([*ENTRIES, *ENTRIES[50:]]), NOW + 60_000))
    assert once == twice
    assert found(ENTRIES, once) == []  # type: ignore[arg-type]
