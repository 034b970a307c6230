"""Refused messages on a real Kafka: listed once, sent again once, deleted when asked for."""

from __future__ import annotations

import itertools
import json

import pytest
from processes import run

from app.client import Publisher
from app.history import dead_letters
from app.kafka.broker import Broker, read_all
from topics.codec import Cause, DeadLetter
from topics.spec import Raw
from topics.telemetry import HEARTBEATS

pytestmark = pytest.mark.kafka
_offsets = itertools.count(1_000)


def bury(broker: Broker, *values: bytes, copies: int = 1) -> None:
    """Write dead letters as an agent does; `copies`: as one does that was killed before it said what it had read."""
    with Publisher(broker) as publisher:
        for value in values:
            raw = Raw(HEARTBEATS.name, 2, next(_offsets), b"node-9", value, (("mine", b"1"),))
            for _ in range(copies):
                publisher.send(DeadLetter(raw, Cause.MALFORMED, "no"))


def ours(broker: Broker, value: bytes) -> list[dead_letters.Letter]:
    found = dead_letters.letters(broker, [HEARTBEATS])
    raws = dead_letters.contents(broker, found)
    return [letter for letter in found if letter.id in raws and raws[letter.id].value == value]


def again(broker: Broker, value: bytes) -> list[Raw]:
    return [raw for raw in read_all(broker, [HEARTBEATS.name]) if raw.value == value]


def test_a_message_that_was_refused_twice_is_one_letter(broker: Broker) -> None:
    bury(broker, b"twice", copies=2)
    (letter,) = ours(broker, b"twice")
    assert (letter.cause, letter.topic) == ("malformed", HEARTBEATS.name)
    assert letter.origin.startswith(f"{HEARTBEATS.name}-2-")


def test_however_often_a_letter_is_sent_again_it_comes_once_to_where_it_was(broker: Broker) -> None:
    bury(broker, b"one", b"other")
    letters = ours(broker, b"one") + ours(broker, b"other")
    assert len(dead_letters.replay(broker, letters[:1]).sent) == 1
    done = dead_letters.replay(broker, letters)
    assert [e.id for e in done.sent] == [letters[1].id]
    assert [e.id for e in done.before] == [letters[0].id]
    assert dead_letters.replay(broker, letters).sent == []
    (found,) = again(broker, b"one")
    assert (found.partition, found.key) == (2, b"node-9")
    assert dict(found.headers) == {"mine": b"1", dead_letters.MARK: letters[0].id.encode()}


def test_a_person_lists_shows_sends_and_deletes(broker: Broker) -> None:
    bury(broker, b"\x00[bold]raw[/bold]")
    (letter,) = ours(broker, b"\x00[bold]raw[/bold]")
    where = ("--broker", broker.bootstrap)
    listed = json.loads(run("dead-letters", "list", "--topic", "telemetry.heartbeats", "--json", *where).out[-1])
    assert letter.id in {row["id"] for row in listed}
    shown = run("dead-letters", "show", letter.id[:14], *where)
    assert "\N{REPLACEMENT CHARACTER}[bold]raw[/bold]" in shown.told()
    assert "sent again: 1" in run("dead-letters", "replay", letter.id, *where).told()
    assert "sent again: 0" in run("dead-letters", "replay", letter.id, *where).told()
    refused = run("dead-letters", "purge", "--topic", "telemetry.heartbeats", *where)
    assert refused.process.returncode == 2
    assert "--yes" in refused.told()
    assert ours(broker, b"\x00[bold]raw[/bold]")
    assert run("dead-letters", "purge", "--topic", "telemetry.heartbeats", "--yes", *where).process.returncode == 0
    assert dead_letters.letters(broker, [HEARTBEATS]) == []
    missing = run("dead-letters", "show", "ffff", *where)
    assert "no dead letter begins" in missing.told()
    assert "Traceback" not in missing.told()
