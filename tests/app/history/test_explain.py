"""Explanations: from the topics of a run in memory back to what happened and why."""

from __future__ import annotations

import functools

import pytest

from app.errors import UserError
from app.history import queries
from app.history.explain import explain
from app.history.render import sentence
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from app.testing import MemoryLoop, World
from models.safety.modes import Mode
from tests.builders import CATALOG, alert, approval, decision, incident, proposal, sample
from tests.histories import write
from topics.approvals import Approval
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident, State, SymptomKind
from topics.proposals import Proposal
from topics.refusals import refusal
from topics.signals import Anomaly
from topics.telemetry import EVENTS


@functools.cache
def run() -> MemoryLoop:
    """A service dies twice: a person says yes, then nobody does."""
    world = World([("restart_service", CATALOG)])
    loop = MemoryLoop(world, Mode.APPROVE)
    world.break_(CATALOG, SymptomKind.DOWN)
    loop.run(1)
    loop.publish(approval(loop.of(Decision)[0]))
    loop.run(10)
    world.break_("shop/cart/0", SymptomKind.MEMORY)
    loop.run(5)
    return loop


@pytest.fixture
def broker(embedded: Embedded) -> Broker:
    """A broker with what was said in the run, in its order."""
    write(embedded.broker, [read.record for read in run().told])
    return embedded.broker


def test_incidents_are_told_by_their_newest_state_newest_first(broker: Broker) -> None:
    second, first = queries.incidents(broker)
    assert (second.entity, second.state) == ("shop/cart/0", State.TRIGGERED)
    assert (first.entity, first.state, first.closed_as) == (CATALOG, State.RESOLVED, "remediated")
    assert queries.incidents(broker, open_only=True) == [second]
    assert queries.incidents(broker, limit=1) == [second]
    write(broker, [run().of(Incident)[0]])
    assert queries.incidents(broker) == [second, first], "a repeat of an older state is not the newest"


def test_decisions_are_told_by_their_furthest_state(broker: Broker) -> None:
    pending, completed = queries.decisions(broker)
    assert (pending.state, completed.state) == (DecisionState.PENDING, DecisionState.COMPLETED)
    assert queries.decisions(broker, waiting=True) == [pending]
    write(broker, [run().of(Decision)[0]])
    assert queries.decisions(broker) == [pending, completed]


def ids() -> list[str]:
    (first,) = {i.id for i in run().of(Incident) if i.entity == CATALOG}
    of = next(d for d in run().of(Decision) if d.proposal.incident == first)
    command = next(d.command for d in run().of(Decision) if d.command)
    return [first, first[:6], of.id, of.proposal.id, command]


def test_every_id_of_an_incident_leads_to_the_whole_of_it(broker: Broker) -> None:
    for identity in ids():
        told = explain(broker, identity)
        assert told.incident == ids()[0]
        kinds = list(dict.fromkeys(type(r.record).__name__ for r in told.steps))
        assert kinds == ["Incident", "Proposal", "Decision", "Approval", "SignedCommand", "Result", "Verdict"]
        assert [i.state for i in told.states][-1] is State.RESOLVED
        assert {r.record.entity for r in told.evidence if isinstance(r.record, Anomaly)} == {CATALOG}
        assert {str(r.origin) for r in told.steps} == {r.record.origin for r in told.audit}  # type: ignore[attr-defined]
        arrivals = [r.arrived for r in told.steps]
        assert arrivals == sorted(arrivals)


def test_evidence_that_is_named_is_shown_before_what_came_first(broker: Broker) -> None:
    (first,) = (read for read in explain(broker, ids()[0]).evidence)
    named = {place for state in explain(broker, ids()[0]).states for place in state.evidence}
    assert isinstance(first.record, Anomaly)
    assert first.record.evidence in named


def test_evidence_of_others_that_is_no_place_does_no_harm(broker: Broker) -> None:
    write(broker, [sample(CATALOG, run().now, SymptomKind.DOWN, evidence="somewhere")])
    assert explain(broker, ids()[0]).evidence


def test_an_alert_that_opened_an_incident_is_its_evidence(broker: Broker) -> None:
    fires = alert("PostgresqlTooManyConnections", "firing", "db-1")
    place = f"{EVENTS.name}-0-0"
    write(broker, [fires, incident(id="beef", entity="db-1", affected=("db-1",), evidence=(place,))])
    (only,) = explain(broker, "beef").evidence
    assert (only.record, str(only.origin)) == (fires, place)
    assert "firing PostgresqlTooManyConnections" in sentence(only.record)


def test_a_refused_step_is_told_with_its_refusal(broker: Broker) -> None:
    step = next(read for read in run().told if isinstance(read.record, Approval))
    write(broker, [refusal(step.record, str(step.origin), "expired", "too late", 1_000)])
    assert [r.record.code for r in explain(broker, ids()[0]).steps if hasattr(r.record, "code")] == ["expired"]


@pytest.mark.parametrize(
    ("identity", "told"), [("zzz", "nothing has"), ("", "several incidents have"), ("\udcff", "nothing has")]
)
def test_an_id_that_is_nobodys_or_everybodys_is_answered_in_words(broker: Broker, identity: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        explain(broker, identity)
    assert error.value.exit_code == 1


def test_what_a_person_asked_for_is_explained_without_an_incident(broker: Broker) -> None:
    proposed = proposal(id="p9", incident="", requester="olga")
    made = decision(DecisionState.PENDING, proposed)
    write(broker, [proposed, made, approval(made)])
    for identity in ("p9", made.id):
        told = explain(broker, identity)
        assert {type(r.record) for r in told.steps} == {Proposal, Decision, Approval}
        assert (told.incident, told.states, told.evidence) == (made.id, [], [])
