"""The writer of the audit chain: everything once, in order, whatever crashes."""

from __future__ import annotations

import msgspec
import pytest

from agents.record import AuditWriter
from models.safety.chain import verify
from tests.builders import NOW, SAMPLES, incident, reads
from topics.audit import AUDIT, AuditEntry
from topics.catalog import topic_of
from topics.codec import DecodeError, decode_value, encode
from topics.spec import Origin, Read

KEPT = [SAMPLES[topic.name] for topic in AuditWriter.reads]


def test_what_it_reads_is_kept_byte_for_byte_with_its_place() -> None:
    entries = list(AuditWriter().step(reads(KEPT), NOW))
    assert [bytes(e.body) for e in entries] == [encode(record).value for record in KEPT]
    assert [e.origin for e in entries] == [f"{topic_of(record).name}-0-0" for record in KEPT]
    assert {e.ts for e in entries} == {NOW}
    assert verify(entries) == []


def test_a_record_that_is_read_again_is_not_kept_again() -> None:
    keeper = AuditWriter()
    first = list(keeper.step(reads(KEPT), NOW))
    assert len(first) == len(KEPT)
    assert list(keeper.step(reads(KEPT), NOW + 5)) == []


@pytest.mark.parametrize("written", range(1, len(KEPT) + 1))
def test_a_new_writer_goes_on_after_the_newest_entry_that_the_broker_has(written: int) -> None:
    """A crash after `written` of the entries were sent: the rest is read again, and none is kept twice."""
    sent = list(AuditWriter().step(reads(KEPT), NOW))[:written]
    again = AuditWriter()
    last = decode_value(AUDIT, encode(sent[-1]).value)
    assert again.resume(last) == sent[-1].applied
    more = list(again.step(reads(KEPT), NOW + 5))
    assert len(sent) + len(more) == len(KEPT)
    assert verify([*sent, *more]) == []
    assert len({e.origin for e in (*sent, *more)}) == len(KEPT)


def test_the_chain_of_a_partition_carries_its_number() -> None:
    entries = list(AuditWriter().step([Read(incident(), Origin("opsloop.incidents", 4, 17), NOW)], NOW))
    assert [(e.chain, e.applied) for e in entries] == [(4, {"opsloop.incidents": 18})]


def test_nothing_that_decodes_can_stop_it() -> None:
    """It has no record to leave out, so one that it could not keep would stop the whole loop."""
    for record in KEPT:
        fields = msgspec.json.decode(encode(record).value)
        for name, value in fields.items():
            extremes = {int: (0, 2**53, 253_402_300_799_999, 10**18), str: ("", "\x00", "é" * 5_000)}
            for extreme in extremes.get(type(value), ()):
                try:
                    odd = decode_value(topic_of(record), msgspec.json.encode(fields | {name: extreme}))
                except DecodeError:
                    continue
                (entry,) = AuditWriter().step(reads([odd]), NOW)
                assert isinstance(decode_value(AUDIT, encode(entry).value), AuditEntry)
