"""Each hop through a real Kafka, with real workers: what goes in on one topic comes out on the next."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest
from processes import run, until, worker

from app.client import Publisher
from app.clock import now_ms
from app.history.explain import explain
from app.history.records import records
from app.kafka.broker import Broker, read_all
from models.safety.chain import verify
from topics.actions import COMMANDS, RESULTS, Command, Result, SignedCommand
from topics.audit import AUDIT, AuditEntry
from topics.catalog import BY_NAME
from topics.codec import decode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.incidents import INCIDENTS, Incident, State, SymptomKind
from topics.signals import ANOMALIES, Anomaly, Contribution
from topics.spec import Record, Topic, derive
from topics.telemetry import METRICS, Sample
from topics.verdicts import VERDICTS, Effect, Verdict

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
_systems = itertools.count()
R = TypeVar("R", bound=Record)

AUTONOMOUS = {"OPSLOOP_SAFETY__MODE": "autonomous"}


@pytest.fixture(scope="module")
def loop(broker: Broker) -> Iterator[Broker]:
    with worker("loop", broker, env=AUTONOMOUS):
        yield broker


def anomaly(entity: str, state: Any = "raised", metric: str = "up.refused") -> Anomaly:
    shown = (Contribution(metric, 99.0, 1.0, 0.0),) if state != "cleared" else ()
    now = now_ms()
    return Anomaly(
        id=derive("anomaly", entity, "test"), entity=entity, ts=now, state=state, kind="point", score=9.0,
        grade="critical", confidence=0.99, metric=metric, direction="up", value=1.0, expected=0.0, low=0.0, high=0.0,
        onset=now, attribution=shown, detector="test", detector_version=1, evidence="opsloop.telemetry.metrics-0-0",
    )  # fmt: skip


def send(broker: Broker, *what: Record) -> None:
    with Publisher(broker) as publisher:
        for record in what:
            publisher.send(record)


def of(broker: Broker, topic: Topic, kind: type[R], system: str) -> list[R]:
    found = [read.record for read in records(broker, [topic]) if topic.key(read.record) == system]
    opened = [record.claim if isinstance(record, SignedCommand) else record for record in found]
    return [record for record in opened if isinstance(record, kind)]


def new_system() -> str:
    return f"hop{next(_systems)}-{now_ms() % 100_000}"


def test_an_anomaly_becomes_one_command_and_a_verdict_closes_the_incident(loop: Broker) -> None:
    system = new_system()
    entity = f"{system}/catalog/0"
    send(loop, anomaly(entity), anomaly(entity))
    command = until(lambda: of(loop, COMMANDS, Command, system))[0]
    assert (command.action, command.target) == ("restart_service", entity)
    result = Result(
        id=derive("result", command.id), command=command.id, decision=command.decision, incident=command.incident,
        action=command.action, target=command.target, ts=now_ms(), outcome="succeeded", detail="done",
    )  # fmt: skip
    send(loop, result, result)
    send(loop, anomaly(entity, "cleared"))
    verdict = until(lambda: of(loop, VERDICTS, Verdict, system))[0]
    assert verdict.effect is Effect.REMEDIATED
    until(lambda: [i for i in of(loop, INCIDENTS, Incident, system) if i.state is State.RESOLVED])
    states = [i.state for i in of(loop, INCIDENTS, Incident, system)]
    assert states == [State.TRIGGERED, State.MITIGATING, State.VERIFYING, State.RESOLVED]
    assert len(of(loop, COMMANDS, Command, system)) == 1
    assert [d.state for d in of(loop, DECISIONS, Decision, system)] == [
        DecisionState.APPROVED, DecisionState.DISPATCHED, DecisionState.COMPLETED,
    ]  # fmt: skip
    story = explain(loop, command.id[:12])
    assert {type(r.record) for r in story.steps} >= {Incident, Decision, SignedCommand, Result, Verdict}
    until(lambda: len(explain(loop, command.id).audit) == len(story.steps), 10)


def test_the_audit_holds_every_step_in_an_unbroken_chain(loop: Broker) -> None:
    system = new_system()
    send(loop, anomaly(f"{system}/cart/0"))
    until(lambda: of(loop, COMMANDS, Command, system))
    entries = until(lambda: [e for e in of(loop, AUDIT, AuditEntry, system) if e.topic == COMMANDS.name] or None)
    assert entries
    everything = [read.record for read in records(loop, [AUDIT]) if isinstance(read.record, AuditEntry)]
    assert verify(everything) == []


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (b"", "empty"), (b"\x00\xff\xfe", "malformed"), (b'{"id": "x", "entity"', "malformed"),
        (b'{"id": 7}', "wrong_type"), (b"[" * 1500, "wrong_type"), (b"null", "wrong_type"), (b'"text"', "wrong_type"),
    ],
)  # fmt: skip
def test_i14_poison_goes_to_the_dead_letters_with_its_cause_and_the_stream_goes_on(
    loop: Broker, value: bytes, cause: str
) -> None:
    system = new_system()
    marker = derive("poison", system).encode()
    with Publisher(loop) as publisher:
        publisher.send_raw(ANOMALIES.name, system.encode(), value, [("marker", marker)])
    send(loop, anomaly(f"{system}/store/0"))
    assert until(lambda: of(loop, COMMANDS, Command, system))
    letters = [
        dict(raw.headers) for raw in read_all(loop, [ANOMALIES.dlq]) if dict(raw.headers).get("marker") == marker
    ]  # fmt: skip
    assert len(letters) == 1, "once, although several agents read the topic"
    assert letters[0]["dlq_origin"].decode().startswith(ANOMALIES.name)
    assert letters[0]["dlq_cause"].decode() == cause


def test_without_leave_a_proposal_waits_and_no_command_comes(own: Broker) -> None:
    system = new_system()
    assert run("user", "add", "ann", "--role", "approver").process.returncode == 0
    with worker("loop", own):
        send(own, anomaly(f"{system}/catalog/0"))
        until(lambda: [d for d in of(own, DECISIONS, Decision, system) if d.state is DecisionState.PENDING])
        assert of(own, COMMANDS, Command, system) == []
        decision = of(own, DECISIONS, Decision, system)[0]
        voted = run("reject", decision.id, "--as", "ann", "--reason", "no", "--broker", own.bootstrap)
        assert voted.process.returncode == 0, voted.told()
        until(lambda: [d for d in of(own, DECISIONS, Decision, system) if d.state is DecisionState.REJECTED])
        assert of(own, COMMANDS, Command, system) == []


def test_samples_become_anomalies_and_poison_among_them_is_buried(broker: Broker) -> None:
    system = new_system()
    entity = f"{system}/web/0"
    start = now_ms() - 60_000

    def sample(number: int, value: float) -> Sample:
        return Sample(entity=entity, ts=start + 250 * number, metrics={"busy": value, "calm": 1.0, "up.refused": 0.0})

    with worker("lane", broker):
        ordinary = [sample(i, 0.3 + 0.01 * (i % 5)) for i in range(80)]
        send(broker, *ordinary)
        with Publisher(broker) as publisher:
            publisher.send_raw(METRICS.name, entity.encode(), b"not a sample", [("marker", system.encode())])
        send(broker, *[sample(80 + i, 9.0) for i in range(8)])
        found = until(lambda: of(broker, ANOMALIES, Anomaly, system))
        letter = until(
            lambda: [r for r in read_all(broker, [METRICS.dlq]) if dict(r.headers).get("marker") == system.encode()]
        )
    assert found[0].state == "raised"
    assert found[0].attribution[0].metric == "busy"
    assert found[0].evidence.startswith(METRICS.name)
    assert letter[0].value == b"not a sample"


def test_two_loop_workers_share_the_systems_and_one_killed_loses_nothing(broker: Broker) -> None:
    systems = [new_system() for _ in range(12)]
    with worker("loop", broker, env=AUTONOMOUS) as first, worker("loop", broker, env=AUTONOMOUS) as second:
        send(broker, *[anomaly(f"{s}/catalog/0") for s in systems[:6]])
        first.process.kill()
        send(broker, *[anomaly(f"{s}/catalog/0") for s in systems[6:]])
        until(lambda: all(of(broker, COMMANDS, Command, s) for s in systems), 60, second.told)
    for system in systems:
        commands = of(broker, COMMANDS, Command, system)
        assert len({c.id for c in commands}) == 1
        assert {i.id for i in of(broker, INCIDENTS, Incident, system)} == {commands[0].incident}


def test_cloudevents_headers_stand_on_every_record_of_the_loop(loop: Broker) -> None:
    system = new_system()
    send(loop, anomaly(f"{system}/orders/0"))
    until(lambda: of(loop, COMMANDS, Command, system))
    for raw in read_all(loop, [INCIDENTS.name, DECISIONS.name, COMMANDS.name, RESULTS.name]):
        headers = dict(raw.headers)
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_type"].decode() == raw.topic
        assert headers["ce_id"]
        assert decode(raw).record
        assert BY_NAME[raw.topic].key(decode(raw).record).encode() == raw.key


def test_a_symptom_that_goes_by_itself_closes_its_incident(loop: Broker) -> None:
    system = new_system()
    entity = f"{system}/gateway/0"
    for _ in range(9):
        send(loop, anomaly(entity, "continuing", "http.client.error_ratio.catalog"))
        time.sleep(0.3)
    opened = until(lambda: of(loop, INCIDENTS, Incident, system))
    assert opened[0].symptom is SymptomKind.DEPENDENCY
    send(loop, anomaly(entity, "cleared"))
    until(lambda: [i for i in of(loop, INCIDENTS, Incident, system) if i.closed_as == "self_resolved"])
    assert of(loop, COMMANDS, Command, system) == []
