"""Records with everything filled in, for tests that care about one field of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from app.testing import HURTS as HURTS
from app.testing import KNOWN as KNOWN
from app.testing import NOW as NOW
from app.testing import cleared as cleared
from app.testing import pack_of, policy_of
from app.testing import sample as sample
from models.keyed import KeyedState
from models.knowledge.knowledge import KnowingState
from models.safety.signing import OURS, seal, sign_checkpoint, sign_proposal, sign_setting, sign_vote
from models.tracked import ChangeTracker
from tests.keys import WORKER_KEY, key_of
from topics.actions import Command, Result, SignedCommand
from topics.approvals import Approval, subject
from topics.audit import GENESIS, AuditEntry, Checkpoint
from topics.catalog import topic_of
from topics.decisions import Decision, DecisionState
from topics.entities import Entity, Presence, Related
from topics.incidents import Hypothesis, Incident, State, SymptomKind
from topics.learning import Label
from topics.policies import Policy
from topics.proposals import Proposal
from topics.refusals import refusal
from topics.settings import KILL_SWITCH, Setting
from topics.signals import Contribution, Symptom
from topics.spec import Instant, Origin, Read, Record, derive, system_of
from topics.state import LANE_STATE, LOOP_STATE, Snapshot
from topics.telemetry import Event, Heartbeat, Sample
from topics.verdicts import Effect, Verdict

K = TypeVar("K", bound=KeyedState)

CATALOG: Final = "shop/catalog/0"

BUSY: Final = Contribution("http.server.request_rate", 20.0, 90.0, 30.0)


def hypothesis(cause: str = "process_gone", target: str = CATALOG, score: float = 0.98) -> Hypothesis:
    return Hypothesis(cause, target, score, ("nothing listens",))


def symptom(kind: str = SymptomKind.DOWN, entity: str = CATALOG, onset: Instant = NOW, **changes: Any) -> Symptom:
    """A symptom of an entity that nine samples have shown."""
    c = HURTS.get(SymptomKind(kind), BUSY)
    fields: dict[str, Any] = {
        "id": derive("symptom", entity, kind, onset), "entity": entity, "symptom": kind, "state": "continuing",
        "ts": onset + 2_000, "seq": 0, "onset": onset, "last": onset + 2_000, "samples": 9, "period_ms": 250,
        "metric": c.metric, "z": c.z, "value": c.value, "expected": c.expected, "attribution": (c,), "alarm": True,
        "detector": "bank", "view": "first", "knowledge": "0123456789abc", "evidence": "opsloop.telemetry.metrics-0-1",
    }  # fmt: skip
    return Symptom(**fields | changes)


def incident(**changes: Any) -> Incident:
    """An incident that has just been triggered."""
    fields: dict[str, Any] = {
        "id": "i1", "entity": CATALOG, "symptom": SymptomKind.DOWN, "onset": NOW, "ts": NOW, "state": State.TRIGGERED,
        "step": "confirm", "seq": 0, "priority": 1, "hypotheses": (hypothesis(),), "affected": (CATALOG,),
        "evidence": ("opsloop.telemetry.metrics-0-1",), "detected": NOW,
    }  # fmt: skip
    return Incident(**fields | changes)


def proposal(**changes: Any) -> Proposal:
    """A proposal to restart the catalogue, about which the planner is sure."""
    fields: dict[str, Any] = {
        "id": "p1", "ts": NOW, "action": "restart_service", "target": CATALOG, "parameters": {}, "requester": "decide",
        "confidence": 0.96, "cause": "process_gone", "reasons": ("process_gone of shop/catalog/0",), "incident": "i1",
        "rule": "process_gone→restart_service",
    }  # fmt: skip
    return Proposal(**fields | changes)


def signed(proposed: Proposal | None = None, by: str = "", **changes: Any) -> Proposal:
    """A proposal under the signature of who asks: the worker's for agents of Opsloop's own."""
    proposed = msgspec.structs.replace(proposed or proposal(), **changes)
    name = by or proposed.requester
    return sign_proposal(proposed, WORKER_KEY if name in OURS else key_of(name))


def decision(
    state: DecisionState = DecisionState.PENDING, proposed: Proposal | None = None, **changes: Any
) -> Decision:
    """The gate's decision on a proposal, in any state."""
    proposed = proposed or proposal()
    fields: dict[str, Any] = {
        "id": derive("decision", proposed.id),
        "ts": NOW,
        "state": state,
        "proposal": proposed,
        "tier": "autonomous",
        "mode": "approve",
        "reasons": ("mode approve",),
        "expires": NOW + 120_000 if state is DecisionState.PENDING else 0,
    }
    return Decision(**fields | changes)


def approval(of: Decision, voter: str = "ana", vote: str = "approve", **changes: Any) -> Approval:
    """A vote under its voter's signature; `changes` are signed too."""
    proposed = of.proposal
    fields: dict[str, Any] = {
        "id": derive("approval", of.id, voter), "decision": of.id, "system": system_of(proposed.target), "ts": NOW,
        "voter": voter, "vote": vote, "reason": "", "expires": NOW + 180_000,
        "subject": subject(of.id, proposed.action, proposed.target, proposed.parameters, proposed.requester),
    }  # fmt: skip
    return sign_vote(Approval(**fields | changes), key_of(voter))


def command(**changes: Any) -> Command:
    fields: dict[str, Any] = {
        "id": "c1", "decision": "d1", "incident": "i1", "ts": NOW, "action": "restart_service", "target": CATALOG,
        "parameters": {}, "expires": NOW + 30_000, "audience": "supervisor/shop", "epoch": NOW, "requester": "decide",
        "confidence": 0.96,
    }  # fmt: skip
    return Command(**fields | changes)


def order(of: Command | None = None, **changes: Any) -> SignedCommand:
    """A command under the worker's signature."""
    return seal(of or command(**changes), WORKER_KEY)


def result(**changes: Any) -> Result:
    fields: dict[str, Any] = {
        "id": "r1", "command": "c1", "decision": "d1", "incident": "i1", "action": "restart_service",
        "target": CATALOG, "ts": NOW, "outcome": "succeeded", "detail": "done", "started": NOW - 900,
        "actuator": "hands",
    }  # fmt: skip
    return Result(**fields | changes)


def verdict_on(effect: Effect = Effect.REMEDIATED, **changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "id": "v1", "incident": "i1", "entity": CATALOG, "decision": "d1", "command": "c1",
        "action": "restart_service", "ts": NOW, "effect": effect, "reasons": ("no symptom for 2.5 s",),
    }  # fmt: skip
    return Verdict(**fields | changes)


def switch(value: str, ts: Instant = NOW) -> Setting:
    """Under the signature of an admin."""
    return sign_setting(Setting(name=KILL_SWITCH, value=value, ts=ts, by="ada", reason="maintenance"), key_of("ada"))


def policy(source: str, version: int = 1, by: str = "ada", **changes: Any) -> Policy:
    """A version of a policy that is to hold, under the signature of its author."""
    return policy_of(source, version=version, by=by, **changes)


def deploy(service: str, ts: Instant, revision: str = "2", previous: str = "1") -> Event:
    return Event(entity=service, ts=ts, kind="deploy", text="a new one", revision=revision, previous=previous)


def alert(name: str, state: str = "firing", entity: str = CATALOG, ts: Instant = NOW) -> Event:
    """An alert from outside, as `opsloop receive` writes it."""
    return Event(entity=entity, ts=ts, kind="alert", text=f"{state} {name}", name=name, state=state)


def topology(*calls: tuple[str, str], ts: Instant = NOW) -> Event:
    return Event(entity="shop", ts=ts, kind="topology", text="who calls whom", calls=calls)


def reads(records: Sequence[Record], start: int = 0) -> list[Read[Record]]:
    """Records as they come from partition 0, with offsets counted up in each topic."""
    return list(_placed(records, start))


def _placed(records: Sequence[Record], start: int) -> Iterator[Read[Record]]:
    offsets: dict[str, int] = {}
    for record in records:
        topic = topic_of(record).name
        offsets[topic] = offsets.get(topic, start - 1) + 1
        yield Read(record, Origin(topic, 0, offsets[topic]), NOW)


_SNAPSHOT: Final = Snapshot(agent="gate", partition=3, applied={"opsloop.proposals": 7}, state=b"\x80", checksum="ab")

# a policy that one target of tests meets
GARDEN: Final = """[pack]
name = "garden"
kind = "bed"

[[symptoms]]
name = "dry"
when = [{ signal = "soil.moisture", below = 0.1, periods = 2 }]
priority = 2

[[causes]]
name = "no_rain"
explains = ["dry"]
score = 0.9
why = "nothing waters it"

[[cures]]
cause = "no_rain"
action = "restart_service"
confidence = 0.9
"""

FROZEN: Final = """# METADATA
# custom:
#   id: frozen
#   type: operational
#   owner: tests
#   scope: shop/frozen
package opsloop.frozen

import rego.v1

default allow := false
"""

# one of each, by topic
SAMPLES: Final[dict[str, Record]] = {
    topic_of(record).name: record
    for record in (
        Sample(entity=CATALOG, ts=NOW, metrics={"up": 1.0, "http.server.request_rate": 31.5}),
        topology(("shop/gateway", "shop/catalog")),
        Heartbeat(node="edge-1", ts=NOW, seq=4, period_ms=500),
        Entity(
            entity=CATALOG, ts=NOW, seq=3, state=Presence.SILENT, kind="pod", attributes={"zone": "a"},
            relations=(Related("runs_on", "web-1", "labels", 0.8, NOW - 9_000),), sources=("labels", "packs"),
            first=NOW - 9_000, last=NOW - 1_000, template="{namespace}/{pod}",
        ),
        sample(CATALOG, NOW, SymptomKind.LATENCY, BUSY),
        symptom(SymptomKind.LATENCY, onset=NOW - 2_000),
        incident(attempts=("d0",), closed_as=""),
        proposal(alternatives=("scale_out on shop/catalog: less sure (0.40)",), evidence=("opsloop.incidents-0-1",)),
        decision(DecisionState.DISPATCHED, voters=("ana",), command="c1"),
        approval(decision(), reason="seen it before"),
        order(parameters={"replicas": "1"}),
        result(),
        verdict_on(Effect.INEFFECTIVE, evidence=("opsloop.signals.anomalies-0-9",)),
        Label(incident="i1", entity=CATALOG, label="expected", ts=NOW, by="ana"),
        msgspec.structs.replace(
            refusal(approval(decision()), "opsloop.approvals-0-4", "forged", "the signature is not one of ana", NOW),
            domain="shop",
        ),
        switch("on"),
        policy(FROZEN),
        pack_of(GARDEN),
        AuditEntry(
            chain=0, seq=0, ts=NOW, domain="shop", topic="opsloop.settings", origin="opsloop.settings-0-0",
            body=msgspec.Raw(b'{"v":1,"name":"kill_switch"}'), previous=GENESIS, applied={"opsloop.settings": 1},
            hash="cd",
        ),
        sign_checkpoint(Checkpoint(
            chain=0, first=0, last=9, ts=NOW, domain="shop", head="cd", root="ef",
        ), WORKER_KEY),
    )
} | {LANE_STATE.name: _SNAPSHOT, LOOP_STATE.name: _SNAPSHOT}  # fmt: skip


class Quiet:
    """A meter that nobody reads."""

    def stepped(self, agent: str, records: int, outputs: int, oldest: Instant, now: Instant) -> None: ...

    def misplaced(self, topic: str, cause: str) -> None: ...
    def refused(self, agent: str, cause: str) -> None: ...


class Deaf:
    """A client that gives nothing of one partition any more.

    (`pause` holds the interpreter while it waits for the client's thread.)
    """

    def __init__(self, client: Any, partition: int) -> None:
        self.client = client
        self.partition = partition

    def poll(self, timeout: float) -> Any:
        message = self.client.poll(timeout)
        return None if message is None or message.partition() == self.partition else message

    def consume(self, count: int, timeout: float) -> list[Any]:
        return [message for message in self.client.consume(count, timeout) if message.partition() != self.partition]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


def reread(state: K) -> K:
    """A state as the next owner of its partition knows it: written, and read again."""
    again = type(state)(knowledge=state.knowledge) if isinstance(state, KnowingState) else type(state)()
    tracked = ChangeTracker(again)
    for block in ChangeTracker(state).whole():
        tracked.load(msgspec.msgpack.encode(block))
    return again
