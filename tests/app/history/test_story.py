"""Stories: from the topics of a run in memory back to what happened and why."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest

from app.errors import UserError
from app.history import story
from app.kafka.broker import Broker
from app.testing import MemoryLoop, World
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.safety.signing import sign_setting
from tests.builders import CATALOG, NOW, approval, decision, proposal, sample
from tests.keys import RING, key_of
from topics.approvals import Approval
from topics.codec import encode
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident, State, SymptomKind
from topics.proposals import Proposal
from topics.settings import SETTINGS, Setting
from topics.signals import Anomaly
from topics.spec import Origin, Raw, Read, Record

CLASS = "shop/restart_service/instance/production"
BROKER = Broker("nowhere:1")


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


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Read[Record]]]:
    """What is on the topics; a test may add to it."""
    log = {name: list(reads) for name, reads in run().log.items()}

    def read_all(_: Broker, names: Iterable[str], *, since_ms: int | None = None) -> Iterator[Raw]:
        for name in names:
            for read in log.get(name, ()):
                o = read.origin
                yield Raw(name, o.partition, o.offset, None, encode(read.record).value, (), read.arrived)
            yield Raw(name, 0, 10**6, None, b"poison")

    monkeypatch.setattr(story, "read_all", read_all)
    return log


def add(log: dict[str, list[Read[Record]]], record: Any) -> None:
    message = encode(record)
    reads = log[message.topic.name]
    reads.append(Read(record, type(reads[0].origin)(message.topic.name, 0, len(reads)), reads[-1].arrived))


def test_incidents_are_told_by_their_newest_state_newest_first(log: dict[str, list[Read[Record]]]) -> None:
    second, first = story.incidents(BROKER)
    assert (second.entity, second.state) == ("shop/cart/0", State.TRIGGERED)
    assert (first.entity, first.state, first.closed_as) == (CATALOG, State.RESOLVED, "remediated")
    add(log, run().of(Incident)[0])
    assert story.incidents(BROKER) == [second, first], "a repeat of an older state is not the newest"


def test_decisions_are_told_by_their_furthest_state(log: dict[str, list[Read[Record]]]) -> None:
    pending, completed = story.decisions(BROKER)
    assert (pending.state, completed.state) == (DecisionState.PENDING, DecisionState.COMPLETED)
    add(log, run().of(Decision)[0])
    assert story.decisions(BROKER) == [pending, completed]


def ids() -> list[str]:
    (first,) = {i.id for i in run().of(Incident) if i.entity == CATALOG}
    of = next(d for d in run().of(Decision) if d.proposal.incident == first)
    command = next(d.command for d in run().of(Decision) if d.command)
    return [first, first[:6], of.id, of.proposal.id, command]


@pytest.mark.parametrize("which", range(5), ids=["incident", "its beginning", "decision", "proposal", "command"])
def test_every_id_of_a_story_leads_to_the_whole_of_it(which: int) -> None:
    told = story.explain(BROKER, ids()[which])
    assert told.incident == ids()[0]
    kinds = list(dict.fromkeys(type(r.record).__name__ for r in told.steps))
    assert kinds == ["Incident", "Proposal", "Decision", "Approval", "SignedCommand", "Result", "Verdict"]
    assert [i.state for i in told.states][-1] is State.RESOLVED
    assert {r.record.entity for r in told.evidence if isinstance(r.record, Anomaly)} == {CATALOG}
    assert {str(r.origin) for r in told.steps} == {r.record.origin for r in told.audit}  # type: ignore[attr-defined]


def test_steps_are_in_the_order_in_which_they_came() -> None:
    arrivals = [r.arrived for r in story.explain(BROKER, ids()[0]).steps]
    assert arrivals == sorted(arrivals)


def test_evidence_of_others_that_is_no_place_does_no_harm(log: dict[str, list[Read[Record]]]) -> None:
    add(log, sample(CATALOG, run().now, SymptomKind.DOWN, evidence="somewhere"))
    assert story.explain(BROKER, ids()[0]).evidence


@pytest.mark.parametrize(("identity", "told"), [("zzz", "nothing has"), ("", "several incidents have")])
def test_an_id_that_is_nobodys_or_everybodys_is_answered_in_words(identity: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        story.explain(BROKER, identity)
    assert error.value.exit_code == 1


def test_a_decision_without_an_incident_is_no_story_of_another() -> None:
    assert decision().id not in {d.id for d in story.decisions(BROKER)}


def test_what_was_shown_is_folded_from_decisions_verdicts_and_settings(
    log: dict[str, list[Read[Record]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = sign_setting(Setting(name=f"autonomy/{CLASS}", value="granted", ts=NOW, by="ana"), key_of("ana"))
    forged = msgspec.structs.replace(grant, name="autonomy/shop/scale_out/service/production")
    log[SETTINGS.name] = [Read(r, Origin(SETTINGS.name, 0, n), NOW) for n, r in enumerate((grant, forged))]
    monkeypatch.setattr(story, "Keys", lambda _: RING)
    trust = story.trust(BROKER, SafetySettings())
    assert {name: (s.count, s.helped) for name, s in trust.standing.items()} == {
        "shop/autonomous": (1, 1),
        CLASS: (1, 1),
    }
    assert list(trust.grants) == [CLASS]


def test_what_a_person_asked_for_has_a_story_without_an_incident(log: dict[str, list[Read[Record]]]) -> None:
    proposed = proposal(id="p9", incident="", requester="olga")
    made = decision(DecisionState.PENDING, proposed)
    for record in (proposed, made, approval(made)):
        add(log, record)
    for identity in ("p9", made.id):
        told = story.explain(BROKER, identity)
        assert {type(r.record) for r in told.steps} == {Proposal, Decision, Approval}
        assert (told.incident, told.states, told.evidence) == (made.id, [], [])
