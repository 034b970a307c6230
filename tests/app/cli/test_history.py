"""Commands that answer from the index: `history`, `audit`, `dead-letters`."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from typer.testing import CliRunner

from app.cli import build
from app.errors import UserError
from app.history import dead_letters, records
from app.kafka import broker
from app.kafka.embedded import Embedded
from tests.builders import NOW, incident
from tests.histories import write
from topics.audit import AUDIT, GENESIS, AuditEntry
from topics.codec import Cause, DeadLetter, encode
from topics.incidents import INCIDENTS
from topics.spec import Raw
from topics.telemetry import HEARTBEATS

Typed = Callable[..., str]


@pytest.fixture
def typed(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Types a command to the cluster: what it printed."""
    monkeypatch.setenv("OPSLOOP_BROKER", embedded.bootstrap)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*line: str) -> str:
        done = CliRunner().invoke(build(), line)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_the_index_is_shown_and_built_anew(typed: Typed, embedded: Embedded) -> None:
    write(embedded.broker, [incident(id=f"i{n}") for n in range(5)])
    assert "the index holds 5 records" in typed("history", "show")
    built = json.loads(typed("history", "rebuild", "--json"))
    assert (built["messages"], built["kept"]["records"], built["kept"]["unreadable"]) == (5, 5, 0)
    assert "5 messages read in" in typed("history", "rebuild")


def test_no_command_that_answers_from_the_index_reads_whole_topics(
    typed: Typed, embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(embedded.broker, [incident(id="i1"), (HEARTBEATS.dlq, b"x"), (AUDIT.name, b"{}")])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a whole topic is read")

    for module in (broker, records, dead_letters):  # imported before: who imports a replaced function keeps it
        monkeypatch.setattr(module, "read_all", refuse)
    assert "i1" in typed("incidents")
    assert "i1" in typed("explain", "i1")
    assert "i1" in typed("incidents", "--json")
    assert "state" in typed("decisions")
    assert typed("audit", "show") == ""
    assert "unknown" in typed("dead-letters", "list")
    assert "standing" in typed("autonomy", "show", "--json")


def test_the_last_entries_of_the_audit_are_shown_in_their_order(typed: Typed, embedded: Embedded) -> None:
    entries = [
        AuditEntry(
            chain=0, seq=n, ts=NOW + n, domain="shop", topic=INCIDENTS.name, origin=f"{INCIDENTS.name}-0-{n}",
            body=msgspec.Raw(encode(incident(id=f"i{n}")).value), previous=GENESIS, applied={},
        )
        for n in range(70)
    ]  # fmt: skip
    write(embedded.broker, entries)
    shown = [json.loads(line)["seq"] for line in typed("audit", "show", "--json").splitlines()]
    assert shown == list(range(20, 70))
    lines = typed("audit", "show", "--last", "2").splitlines()
    assert [line.split()[1] for line in lines] == ["0/68", "0/69"]
    assert len(typed("audit", "show", "--json", "--last", "0", "--from", "60").splitlines()) == 10


def test_a_dead_letter_is_listed_and_shown_as_it_came(typed: Typed, embedded: Embedded) -> None:
    raw = Raw(HEARTBEATS.name, 2, 5, b"node-9", b"\x00[bold]raw[/bold]", (("mine", b"1"),))
    write(embedded.broker, [DeadLetter(raw, Cause.MALFORMED, "no")])
    (row,) = json.loads(typed("dead-letters", "list", "--topic", "telemetry.heartbeats", "--json"))
    assert (row["topic"], row["cause"], row["origin"]) == (HEARTBEATS.name, "malformed", f"{HEARTBEATS.name}-2-5")
    shown = json.loads(typed("dead-letters", "show", row["id"][:8], "--json"))
    assert (shown["key"], shown["headers"]["mine"], shown["content"]) == ("node-9", "1", "\x00[bold]raw[/bold]")
    assert json.loads(typed("dead-letters", "list", "--cause", "empty", "--json")) == []
    with pytest.raises(UserError, match="no dead letter begins with 'ffff'"):
        typed("dead-letters", "show", "ffff")


def test_a_broker_that_does_not_answer_is_told_whatever_is_in_the_index(
    typed: Typed, embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(embedded.broker, [incident()])
    typed("incidents")
    monkeypatch.setattr(broker, "_refused", lambda *_: "connection refused")
    for line in (["incidents"], ["decisions"], ["explain", "i1"], ["audit", "show"], ["dead-letters", "list"],
                 ["history", "show"], ["history", "rebuild"]):  # fmt: skip
        with pytest.raises(UserError, match=r"no broker at .*connection refused"):
            typed(*line)
