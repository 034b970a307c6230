"""`opsloop status`, and the doctor's word on what stops acting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import build
from app.cli.status import _show_workers
from app.client import Publisher, Telemetry
from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from app.kafka.status import ROLES, Group, Member, groups, missing, missing_verbs
from app.security.switch import LocalSwitch, Said
from models.safety.context import MAINTENANCE
from tests.builders import decision, proposal
from topics.decisions import DecisionState
from topics.settings import KILL_SWITCH, Setting

SOON = 10_000_000


def typed(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(build(), words)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def stopped(embedded: Embedded) -> Embedded:
    """A broker with the switch on, a maintenance, one that is over, two decisions that wait and two that do not."""
    now = now_ms()
    waiting = [decision(DecisionState.PENDING, proposal(id=f"p{n}"), ts=now, expires=now + SOON - n) for n in (1, 2)]
    over = decision(DecisionState.PENDING, proposal(id="p3"), ts=now, expires=now - 1)
    first = decision(DecisionState.PENDING, proposal(id="p4"), ts=now, expires=now + SOON)
    records: list[Any] = [
        Setting(name=KILL_SWITCH, value="on", ts=now, by="ana", reason="smoke"),
        Setting(name=f"{MAINTENANCE}x", value="\u00b2", ts=now, by="eve"),
        Setting(name=f"{MAINTENANCE}shop/catalog", value=str(now + SOON), ts=now, by="ana"),
        Setting(name=f"{MAINTENANCE}shop/cart", value=str(now - 1), ts=now, by="ana"),
        *waiting, over, first, decision(DecisionState.DENIED, first.proposal, ts=now, expires=first.expires),
    ]  # fmt: skip
    with Publisher(embedded.broker) as publisher:
        for record in records:
            publisher.send(record)
    return embedded


def test_it_tells_the_switch_maintenance_entities_and_what_waits(stopped: Embedded) -> None:
    with Telemetry(stopped.broker) as telemetry:
        for entity in ("shop/cart/0", "shop/cart/1", "db"):
            telemetry.record(entity, {"cpu": 0.5})
    found = json.loads(typed("status", "--json", "--broker", stopped.bootstrap))
    assert found["kill_switch"] == {"position": "on", "topic": "ana: smoke", "file": ""}
    assert list(found["maintenance"]) == ["shop/catalog"]
    assert [d["proposal"]["id"] for d in found["waiting"]] == ["p2", "p1"], "what expires first is in front"
    assert found["entities"] == {"count": 3, "within_s": 60, "complete": True}
    said = typed("status", "--broker", stopped.bootstrap)
    for words in ("kill switch  on: ana: smoke", "shop/catalog until", "2 for people: opsloop approve ID", "3 sent"):
        assert words in said, said


def test_a_stop_without_a_reason_ends_with_who_it_was(embedded: Embedded) -> None:
    with Publisher(embedded.broker) as publisher:
        publisher.send(Setting(name=KILL_SWITCH, value="on", ts=now_ms(), by="ana"))
    assert "kill switch  on: ana\n" in typed("status", "--broker", embedded.bootstrap)


def test_a_quiet_system_says_so(embedded: Embedded, home: Path) -> None:
    said = typed("status", "--broker", embedded.bootstrap)
    assert "kill switch  off" in said
    assert "does not tell who reads" in said
    assert "maintenance  none" in said
    assert "nothing waits for people" in said
    LocalSwitch(home).turn_on(Said("ben", "by hand"))
    found = json.loads(typed("status", "--json", "--no-entities", "--broker", embedded.bootstrap))
    assert found["kill_switch"]["position"] == "on"
    assert "by hand" in found["kill_switch"]["file"]


def test_the_doctor_tells_the_switch_and_maintenance_also_without_a_broker(stopped: Embedded, home: Path) -> None:
    findings = {f["what"]: f for f in json.loads(typed("doctor", "--json", "--broker", stopped.bootstrap, code=1))}
    assert (findings["kill switch"]["state"], findings["kill switch"]["detail"]) == ("note", "on: ana: smoke")
    assert "shop/catalog" in findings["maintenance"]["detail"]
    LocalSwitch(home).turn_on(Said("ben", "by hand"))
    findings = {f["what"]: f for f in json.loads(typed("doctor", "--json", "--broker", "127.0.0.1:1", code=1))}
    assert "by hand" in findings["kill switch"]["detail"]


def test_a_role_is_missing_unless_a_group_of_it_has_a_member() -> None:
    def group(name: str, *members: Member) -> Group:
        return Group(name, "stable", members, {"opsloop.incidents": 3, "opsloop.decisions": 4})

    one = Member("opsloop", "10.0.0.1", 6)
    assert missing([]) == [*ROLES]
    assert missing([group("opsloop-lane", one), group("opsloop-loop"), group("opsloop-loop-gate", one)]) == ["act"]
    assert group("opsloop-lane").behind == 7


def test_verbs_that_no_worker_runs_are_told_while_others_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    def group(name: str, *members: Member) -> Group:
        return Group(name, "stable", members, {})

    one = Member("opsloop", "10.0.0.1", 6)
    some, ended = group("opsloop-loop.decide.gate", one), group("opsloop-loop")
    known = ["respond", "decide", "gate", "verify"]
    assert missing_verbs([some, ended], known) == ["respond", "verify"]
    assert missing_verbs([some, group("opsloop-loop.respond.verify", one)], known) == []
    assert missing_verbs([group("opsloop-loop", one)], known) == []
    assert missing_verbs([ended], known) == [], "the loop as a whole is missing then"
    _show_workers([group("opsloop-lane", one), some, ended])
    said = capsys.readouterr().out
    assert "no worker for act, loop's describe, loop's diagnose, loop's respond, loop's approve" in said
    assert "loop's decide" not in said


@pytest.mark.kafka
def test_a_group_is_told_with_its_members_and_how_far_it_is_behind(broker: Broker) -> None:
    from confluent_kafka import Consumer

    from app.kafka.broker import consumer_config
    from topics.learning import LABELS

    with Publisher(broker) as publisher:
        for n in range(7):
            publisher.send_raw(LABELS.name, b"status", b"x%d" % n)
    reader = Consumer(consumer_config(broker, "opsloop-act-status"))
    reader.subscribe([LABELS.name])
    read = [reader.poll(20.0) for _ in range(3)]
    reader.commit(message=read[-1], asynchronous=False)
    try:
        (found,) = [g for g in groups(broker) or () if g.group == "opsloop-act-status"]
        assert (found.state, len(found.members), found.members[0].partitions) == ("stable", 1, LABELS.partitions)
        assert found.lag[LABELS.name] >= 4
        assert "act" not in missing([found])
        said = json.loads(typed("status", "--json", "--broker", broker.bootstrap))
        assert "opsloop-act-status" in [actuator["group"] for actuator in said["actuators"]]
    finally:
        reader.close()


def test_the_doctor_tells_of_scopes_that_cover_nothing_that_sends(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = {"shop/*": "observe", "*/cart": "approve", "shoop": "observe", "*": "approve"}
    monkeypatch.setenv("OPSLOOP_SAFETY__SCOPES", json.dumps(scopes))
    with Telemetry(embedded.broker) as telemetry:
        telemetry.record("shop/cart/0", {"cpu": 0.5})
    result = CliRunner().invoke(build(), ["doctor", "--broker", embedded.broker.bootstrap, "--json"])
    found = [f["detail"] for f in json.loads(result.stdout.splitlines()[-1]) if f["what"] == "scope"]
    assert len(found) == 1, found
    assert found[0].startswith("'shoop' of [safety] covers nothing")
