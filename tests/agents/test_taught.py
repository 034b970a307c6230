"""Agents that rest on packs: a signed pack takes effect with the next record, and survives a restart and an undo."""

from __future__ import annotations

from agents.diagnose import Diagnose
from agents.respond import Respond
from app.shipped import packs
from app.testing import MemoryLoop, World, pack_of
from models.knowledge.packs import Packs
from models.versions import Book
from tests.builders import GARDEN, NOW, cleared, sample
from tests.keys import RING
from topics.incidents import Incident
from topics.proposals import Proposal
from topics.refusals import Refusal
from topics.signals import Contribution, Symptom
from topics.spec import Origin, Read, Record, derive
from topics.verdicts import Effect, Verdict

BED = "shop/bed/0"
DRY = Contribution("soil.moisture", -3.0, 0.05, 0.3)


def reads(*records: Record) -> list[Read[Record]]:
    return [Read(record, Origin("t", 0, number), NOW) for number, record in enumerate(records)]


def dry(start: int, agent: Diagnose) -> list[Symptom]:
    """What begins when a bed is dry for three samples."""
    told = (s for n in range(3) for s in agent.step(reads(sample(BED, start + n * 1_000, DRY)), start + n * 1_000))
    return [symptom for symptom in told if symptom.state == "began"]


def diagnose() -> Diagnose:
    return Diagnose(packs(), RING)


def test_a_pack_that_an_admin_signs_opens_incidents_with_its_cause_and_says_by_which_knowledge() -> None:
    agent, respond = diagnose(), Respond(packs(), RING)
    assert dry(NOW, agent) == []
    for each in (agent, respond):
        assert list(each.step(reads(pack_of(GARDEN)), NOW)) == []
    (began,) = dry(NOW + 10_000, agent)
    (opened,) = respond.step(reads(began), NOW + 11_000)
    assert isinstance(opened, Incident)
    assert (opened.symptom, opened.priority, opened.hypotheses[0].cause) == ("dry", 2, "no_rain")
    known = respond.state.knowledge
    assert opened.hypotheses[0].reasons[-1] == f"pack garden, knowledge {known.hash}"
    assert began.knowledge == known.hash != packs().knowledge(diagnose().state.packs).hash


def test_a_pack_is_known_after_a_restart_and_not_after_its_step_was_undone() -> None:
    agent, other = diagnose(), diagnose()
    agent.mark()
    list(agent.step(reads(pack_of(GARDEN)), NOW))
    other.restore(agent.snapshot())
    assert len(dry(NOW + 10_000, other)) == 1
    agent.undo()
    assert dry(NOW + 10_000, agent) == []
    third = diagnose()
    again = diagnose()
    list(again.step(reads(pack_of(GARDEN)), NOW))
    third.apply(again.changes())
    assert len(dry(NOW + 10_000, third)) == 1


def test_a_pack_by_nobody_who_may_is_refused_once_and_changes_nothing() -> None:
    agent, respond = diagnose(), Respond(packs(), RING)
    (refused,) = respond.step(reads(pack_of(GARDEN, by="vera")), NOW)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.who) == ("wrong_role", "vera")
    assert list(agent.step(reads(pack_of(GARDEN, by="vera")), NOW)) == []
    assert dry(NOW + 10_000, agent) == []


def test_the_whole_loop_cures_by_a_pack_that_came_while_it_ran_and_its_ids_are_of_that_knowledge() -> None:
    loop = MemoryLoop(World())
    loop.run(1)
    loop.publish(pack_of(GARDEN))

    def look() -> None:
        if loop.now % 1_000 == 0:
            loop.publish(cleared(BED, loop.now) if loop.world.ran else sample(BED, loop.now, DRY))

    loop.run(20, look)
    (proposed,) = loop.of(Proposal)
    assert (proposed.action, proposed.target, proposed.cause) == ("restart_service", BED, "no_rain")
    together = Packs([*packs().shipped.values(), GARDEN]).knowledge(Book())
    assert proposed.rule_revision == together.revision
    assert proposed.id == derive("proposal", proposed.incident, "restart_service", BED, together.revision, 0)
    (verdict,) = loop.of(Verdict)
    assert verdict.effect is Effect.REMEDIATED
    assert loop.of(Incident)[-1].closed_as == "remediated"
