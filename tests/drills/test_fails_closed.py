"""I9, I20: what cannot be audited is not done, and on stale or partial telemetry nothing acts alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from app.client import Publisher
from app.clock import now_ms
from app.kafka.admin import ensure
from app.kafka.broker import Broker, admin, read_all
from app.kafka.embedded import Embedded
from app.kafka.local import LocalKafka
from app.security.keys import WORKER, enrol, keys_of
from app.settings import home as home_of
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.safety.signing import sign_proposal
from tests.builders import incident, proposal, sample
from tests.hands import Hands, actuator
from tests.processes import until, worker
from topics.audit import AUDIT
from topics.codec import decode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.proposals import Proposal
from topics.spec import Record, derive

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

ALONE: Final[dict[str, Any]] = {
    "mode": Mode.AUTONOMOUS, "concurrency": 100, "blast_share": 1.0, "per_scope": 1_000, "per_site": 1_000,
    "stale_ms": 4_000, "approval_ms": 8_000,
}  # fmt: skip
ENV: Final = {f"OPSLOOP_SAFETY__{name.upper()}": str(value) for name, value in ALONE.items()}
WATCHED_S: Final = 12.0  # longer than a decision waits for the audit


class Stage:
    """Proposals that would act alone, and an actuator that counts."""

    def __init__(self, broker: Broker, hands: Hands) -> None:
        self.broker, self.hands = broker, hands

    def signed(self, **fields: Any) -> Proposal:
        return sign_proposal(proposal(**fields), keys_of(home_of()).own(WORKER))

    def publish(self, *records: Record) -> None:
        with Publisher(self.broker) as publisher:
            for record in records:
                publisher.send(record)

    def ask(self, number: int) -> str:
        """A proposal on a target of its own whose telemetry is fresh, and the id of its decision."""
        target, now = f"shop/service{number}/0", now_ms()
        proposed = self.signed(id=f"ask{number}", ts=now, target=target, incident=f"i{number}")
        trouble = incident(id=f"i{number}", entity=target, ts=now, onset=now, affected=(target,), hypotheses=())
        self.publish(trouble, sample(target, now))
        time.sleep(0.5)
        self.publish(proposed)
        return derive("decision", proposed.id)

    def said(self, decision: str) -> list[Decision]:
        said = (decode(raw).record for raw in read_all(self.broker, [DECISIONS.name]))
        return [d for d in said if isinstance(d, Decision) and d.id == decision]

    def states(self, decision: str) -> list[DecisionState]:
        return [d.state for d in self.said(decision)]


@pytest.mark.kafka
def test_i9_while_the_audit_cannot_be_written_nothing_is_done(home: Path, tmp_path: Path) -> None:
    enrol(home)
    with LocalKafka(tmp_path / "kafka") as kafka:
        ensure(kafka.broker)
        stage = Stage(kafka.broker, Hands(tmp_path / "effects"))
        with actuator(kafka.broker, home, stage.hands, SafetySettings(**ALONE)):
            with worker("loop", kafka.broker, env=ENV):
                before = stage.ask(1)
                until(lambda: DecisionState.COMPLETED in stage.states(before), 30, lambda: str(stage.states(before)))
                assert len(stage.hands.effects()) == 1
            _allow(kafka.broker, 1)
            with worker("loop", kafka.broker, env=ENV):
                asked = [stage.ask(number) for number in range(2, 12)]
                time.sleep(WATCHED_S)
                states = [stage.states(decision) for decision in asked]
                during = len(stage.hands.effects()) - 1
            assert not any(DecisionState.DISPATCHED in told for told in states), states
            _allow(kafka.broker, 1_048_588)
            with worker("loop", kafka.broker, env=ENV):
                after = stage.ask(12)
                until(lambda: DecisionState.COMPLETED in stage.states(after), 60, lambda: str(stage.states(after)))
            late = [effect.target for effect in stage.hands.effects()[1:] if "service12" not in effect.target]
    print(f"{len(asked)} proposals without an audit: {during} effects, {len(late)} afterwards; then one, one effect")
    assert during == 0
    assert late == []


def _allow(broker: Broker, size: int) -> None:
    """Let the audit take messages up to a size: of one byte, none."""
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    client = admin(broker)
    for done in client.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, AUDIT.name, incremental_configs=[entry])]
    ).values():
        done.result(15)


@pytest.fixture
def alone(embedded: Embedded, home: Path, tmp_path: Path) -> Iterator[Stage]:
    enrol(home)
    stage = Stage(embedded.broker, Hands(tmp_path / "effects"))
    with (
        actuator(embedded.broker, home, stage.hands, SafetySettings(**ALONE)),
        worker("loop", embedded.broker, env=ENV),
    ):
        yield stage


def test_i20_on_stale_or_partial_telemetry_nothing_acts_alone(alone: Stage) -> None:
    stale, partial, unknown = "shop/old/0", ("shop/a/0", "shop/b/0", "shop/c/0"), "shop/dark/0"
    alone.publish(
        sample(stale, now_ms()), *(sample(entity, now_ms()) for entity in partial),
        incident(id="stale", entity=stale, affected=(stale,), hypotheses=(), ts=now_ms()),
        incident(id="partial", entity=partial[0], affected=partial, hypotheses=(), ts=now_ms()),
    )  # fmt: skip
    time.sleep(ALONE["stale_ms"] / 1000 + 1.5)
    alone.publish(sample(partial[0], now_ms()))  # one of three goes on to be seen
    time.sleep(0.5)
    proposals = [
        alone.signed(id="stale", ts=now_ms(), target=stale, incident="stale"),
        alone.signed(id="partial", ts=now_ms(), target=partial[0], incident="partial"),
        alone.signed(id="unknown", ts=now_ms(), target=unknown, incident=""),
    ]
    alone.publish(*proposals)
    decisions = [derive("decision", proposed.id) for proposed in proposals]
    until(lambda: all(DecisionState.EXPIRED in alone.states(decision) for decision in decisions), 40,
          lambda: str([alone.said(decision) for decision in decisions]))  # fmt: skip
    assert [alone.states(decision) for decision in decisions] == [[DecisionState.PENDING, DecisionState.EXPIRED]] * 3
    assert alone.hands.effects() == []
    fresh = alone.ask(1)
    until(lambda: DecisionState.COMPLETED in alone.states(fresh), 30, lambda: str(alone.states(fresh)))
    print(
        f"{len(proposals)} proposals on stale, partial and no telemetry: 0 effects; on fresh telemetry one, one effect"
    )
    assert len(alone.hands.effects()) == 1
