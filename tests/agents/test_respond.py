"""A person takes an incident on or closes it: signed, checked against the role table, once."""

from __future__ import annotations

from typing import Any

import pytest

from agents.respond import Respond
from app.shipped import packs
from app.testing import MemoryLoop, World
from models.safety.modes import Mode
from models.safety.signing import sign_setting
from tests.builders import CATALOG, NOW, reads, symptom, topology
from tests.keys import RING, key_of
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident, State, SymptomKind
from topics.refusals import Refusal
from topics.settings import ACKNOWLEDGED, INCIDENT, RESOLVED, Setting


def word(incident: str, value: str, by: str = "ben", signer: str = "", **changes: Any) -> Setting:
    fields = {"name": f"{INCIDENT}{incident}", "value": value, "ts": NOW, "by": by, "reason": "seen it"} | changes
    return sign_setting(Setting(**fields), key_of(signer or by))  # type: ignore[arg-type]


@pytest.fixture
def opened() -> tuple[Respond, Incident]:
    respond = Respond(packs(), RING)
    (incident,) = respond.step(reads([symptom()]), NOW)
    assert isinstance(incident, Incident)
    return respond, incident


def test_an_incident_that_a_person_takes_on_is_acknowledged_in_their_name(opened: tuple[Respond, Incident]) -> None:
    respond, incident = opened
    (told,) = respond.step(reads([word(incident.id, ACKNOWLEDGED)]), NOW + 1)
    assert isinstance(told, Incident)
    assert (told.state, told.step, told.by, told.note) == (State.ACKNOWLEDGED, "acknowledge", "ben", "seen it")
    assert list(respond.step(reads([word(incident.id, ACKNOWLEDGED)], 5), NOW + 2)) == []
    (closed,) = respond.step(reads([word(incident.id, RESOLVED, "ana")], 9), NOW + 3)
    assert isinstance(closed, Incident)
    assert (closed.state, closed.closed_as, closed.by) == (State.RESOLVED, "manual", "ana")


def test_what_is_closed_by_hand_stays_closed_while_it_still_hurts(opened: tuple[Respond, Incident]) -> None:
    respond, incident = opened
    list(respond.step(reads([word(incident.id, RESOLVED)]), NOW + 1))
    again = [symptom(ts=NOW + 2_000 + 250 * n) for n in range(1, 20)]
    assert list(respond.step(reads(again), NOW + 5_000)) == []
    assert list(respond.step(reads([word(incident.id, RESOLVED)], 1), NOW + 5_001)) == []


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        (lambda i: word(i, RESOLVED, "vera"), "wrong_role"),
        (lambda i: word(i, RESOLVED, "ben", "vera"), "wrong_voter"),
        (lambda i: word(i, RESOLVED, "mallory"), "unknown_key"),
        (lambda i: Setting(name=f"{INCIDENT}{i}", value=RESOLVED, ts=NOW, by="ben"), "unsigned"),
    ],
)
def test_a_word_that_is_not_somebodys_to_say_is_refused_and_changes_nothing(
    opened: tuple[Respond, Incident], setting: Any, code: str
) -> None:
    respond, incident = opened
    before = respond.snapshot()
    (refused,) = respond.step(reads([setting(incident.id)]), NOW + 1)
    assert isinstance(refused, Refusal)
    assert refused.code == code
    assert respond.snapshot() == before


def test_a_word_on_an_incident_of_another_partition_says_nothing(opened: tuple[Respond, Incident]) -> None:
    assert list(opened[0].step(reads([word("elsewhere", RESOLVED, "vera")]), NOW + 1)) == []


def test_closing_an_incident_refuses_what_still_waits_for_it() -> None:
    world = World([("restart_service", CATALOG)])
    loop = MemoryLoop(world, Mode.APPROVE)
    loop.publish(topology(("shop/gateway", "shop/catalog")))
    loop.run(1)
    world.break_(CATALOG, SymptomKind.DOWN)
    loop.run(3)
    (waiting,) = loop.of(Decision)
    loop.publish(word(waiting.proposal.incident, RESOLVED, ts=loop.now))
    loop.run(30)
    assert [d.state for d in loop.of(Decision)] == [DecisionState.PENDING, DecisionState.EXPIRED]
    assert world.ran == []
    assert loop.of(Incident)[-1].closed_as == "manual"
