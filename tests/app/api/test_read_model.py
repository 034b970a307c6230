"""What the HTTP interface knows: its reader survives any record, and its health is what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.api.read_model import ReadModel
from app.client import Publisher
from app.clock import now_ms
from app.kafka.embedded import Embedded
from app.security.keys import Keys
from models.safety.context import MAINTENANCE
from tests.builders import decision, incident, proposal
from tests.processes import until
from tests.served import served
from topics.decisions import DecisionState
from topics.settings import Setting
from topics.spec import Record


def test_no_unsigned_setting_ends_the_reader(embedded: Embedded, home: Path) -> None:
    values = ("\u00b2", "1" + "0" * 30, "9" * 5_000, "-1", "", "\u0661")
    with served(embedded.broker, home) as client, Publisher(embedded.broker) as publisher:
        for value in values:
            publisher.send(Setting(name=f"{MAINTENANCE}x", value=value, ts=now_ms(), by="eve"))
        publisher.send(decision(DecisionState.PENDING, proposal(id="p1"), expires=now_ms() + 60_000))
        until(lambda: client.read_model.decisions)
        publisher.send(Setting(name="kill_switch", value="on", ts=now_ms(), by="ana"))
        until(lambda: client.read_model.switch.killed)
        assert client.ask("GET", "/health").json == {"status": "ok", "cause": ""}


def test_a_record_that_breaks_the_reader_is_left_out_and_the_next_one_counts(
    embedded: Embedded, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = ReadModel.see

    def brittle(model: ReadModel, record: Record, *rest: Any) -> None:
        if getattr(record, "id", "") == "poison":
            raise ValueError("poison")
        see(model, record, *rest)

    monkeypatch.setattr(ReadModel, "see", brittle)
    with served(embedded.broker, home) as client, Publisher(embedded.broker) as publisher:
        publisher.send(incident(id="poison"))
        publisher.send(incident(id="i2"))
        until(lambda: client.read_model.incidents)
        assert client.ask("GET", "/health").status == 200


def test_health_is_behind_while_the_broker_does_not_answer(
    embedded: Embedded, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.read_model.PROBED_S", 0.0)
    with served(embedded.broker, home) as client:
        assert client.ask("GET", "/health").status == 200
        embedded.down()
        answer = client.ask("GET", "/health")
        assert (answer.status, answer.json["cause"]) == (503, "the broker does not answer")
        embedded.up()
        until(lambda: client.ask("GET", "/health").status == 200)


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ({}, "the reader of the topics has ended"),
        ({"alive": True}, "what happened is still being read"),
        ({"alive": True, "ready": True, "beat": -1e9}, "the reader of the topics is stuck"),
    ],
    ids=["ended", "reading", "stuck"],
)
def test_health_tells_what_is_wrong_with_the_reader(
    embedded: Embedded, home: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], cause: str
) -> None:
    model = ReadModel(embedded.broker, Keys(home))
    monkeypatch.setattr(model._thread, "is_alive", lambda: state.get("alive", False))
    if state.get("ready"):
        model.ready.set()
    model._beat = state.get("beat", model._beat)
    assert model.trouble() == cause
