"""The whole loop without a broker: from an anomaly to a verdict, in virtual time."""

from __future__ import annotations

import random

import pytest

from agents.record import AuditWriter
from app.testing import MemoryLoop, World
from models.incidents.lifecycle import is_open
from models.safety.chain import verify
from models.safety.modes import Mode
from tests.builders import CATALOG, approval, deploy, switch, topology
from topics.actions import Result, SignedCommand
from topics.audit import AuditEntry
from topics.catalog import topic_of
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident, State, SymptomKind
from topics.proposals import Proposal
from topics.spec import Origin
from topics.verdicts import Effect, Verdict

RESTART = ("restart_service", CATALOG)
LIFE = ["confirm", "act", "probe", "cured"]


def steps(loop: MemoryLoop) -> list[str]:
    return list(dict.fromkeys(i.step for i in loop.of(Incident) if i.step != "revise"))


def broken(world: World, loop: MemoryLoop, *symptoms: SymptomKind) -> None:
    """The catalogue breaks after a quiet second, and half a minute passes."""
    loop.publish(topology(("shop/gateway", "shop/catalog")))
    loop.run(1)
    assert loop.of(Incident) == []
    world.break_(CATALOG, *symptoms)
    loop.run(30)


@pytest.mark.parametrize(
    ("symptom", "cure"),
    [
        (SymptomKind.DOWN, RESTART),
        (SymptomKind.UNRESPONSIVE, RESTART),
        (SymptomKind.MEMORY, RESTART),
        (SymptomKind.ERRORS, RESTART),
        (SymptomKind.SATURATION, ("scale_out", "shop/catalog")),
    ],
    ids=str,
)
def test_a_fault_is_found_cured_and_closed(symptom: SymptomKind, cure: tuple[str, str]) -> None:
    world = World([cure])
    loop = MemoryLoop(world)
    broken(world, loop, symptom)
    assert [(c.action, c.target) for c in world.ran] == [cure]
    assert steps(loop) == LIFE
    *_, last = loop.of(Incident)
    assert (last.state, last.closed_as) == (State.RESOLVED, "remediated")
    assert [d.state for d in loop.of(Decision)] == [
        DecisionState.APPROVED,
        DecisionState.DISPATCHED,
        DecisionState.COMPLETED,
    ]
    assert last.ts - last.onset < 10_000


def test_in_approval_mode_nothing_acts_before_a_person_said_yes() -> None:
    world = World([RESTART])
    loop = MemoryLoop(world, Mode.APPROVE)
    broken(world, loop, SymptomKind.DOWN)
    (pending,) = loop.of(Decision)
    assert (pending.state, world.ran) == (DecisionState.PENDING, [])
    loop.publish(approval(pending, "decide"))
    loop.run(1)
    assert world.ran == [], "whoever asks has no vote"
    loop.publish(approval(pending))
    loop.run(10)
    assert len(world.ran) == 1
    assert steps(loop) == LIFE
    assert loop.of(Decision)[-1].voters == ("ana",)


@pytest.mark.parametrize("said", ["reject", ""])
def test_a_no_and_silence_are_refusals_that_a_person_must_look_at(said: str) -> None:
    world = World([RESTART])
    loop = MemoryLoop(world, Mode.APPROVE)
    broken(world, loop, SymptomKind.DOWN)
    if said:
        loop.publish(approval(loop.of(Decision)[0], vote=said))
    loop.run(130)
    assert world.ran == []
    assert loop.of(Decision)[-1].state is (DecisionState.REJECTED if said else DecisionState.EXPIRED)
    assert steps(loop) == ["confirm", "escalate"]
    assert len(loop.of(Proposal)) == 1
    world.heal()
    loop.run(10)
    assert loop.of(Incident)[-1].closed_as == "self_resolved"


def test_in_observe_mode_nothing_is_asked_and_nothing_acts() -> None:
    world = World([RESTART])
    loop = MemoryLoop(world, Mode.OBSERVE)
    broken(world, loop, SymptomKind.DOWN)
    assert (world.ran, [d.blocked for d in loop.of(Decision)]) == ([], ["mode"])


def test_an_action_that_did_not_help_is_followed_by_the_next_best_which_is_less_sure() -> None:
    world = World([("restart_service", "shop/catalog")])
    loop = MemoryLoop(world)
    loop.publish(deploy("shop/catalog", loop.now))
    broken(world, loop, SymptomKind.LATENCY)
    assert [c.action for c in world.ran] == ["rollback_config"]
    *_, pending = loop.of(Decision)
    assert (pending.state, pending.tier, pending.proposal.attempt) == (DecisionState.PENDING, "person", 1)
    loop.publish(approval(pending))
    loop.run(20)
    assert [(c.action, c.target) for c in world.ran[1:]] == [("restart_service", "shop/catalog")]
    assert [v.effect for v in loop.of(Verdict)] == [Effect.INEFFECTIVE, Effect.REMEDIATED]
    assert loop.of(Incident)[-1].closed_as == "remediated"
    assert len(loop.of(Incident)[-1].attempts) == 2
    assert len({i.id for i in loop.of(Incident)}) == 1


def test_what_nothing_cures_stays_open_without_more_actions_until_it_goes_by_itself() -> None:
    world = World()
    loop = MemoryLoop(world)
    broken(world, loop, SymptomKind.DOWN)
    loop.run(120)
    assert len(world.ran) == 1
    assert is_open(loop.of(Incident)[-1].state)
    world.heal()
    loop.run(10)
    assert loop.of(Incident)[-1].closed_as == "self_resolved"
    world.cures.add(RESTART)
    world.break_(CATALOG, SymptomKind.DOWN)
    loop.run(20)
    assert (len(world.ran), loop.of(Incident)[-1].closed_as) == (2, "remediated"), "the next episode is healed"


def test_after_the_kill_switch_nothing_acts_and_after_it_everything_goes_on() -> None:
    world = World([RESTART])
    loop = MemoryLoop(world)
    loop.publish(switch("on"))
    broken(world, loop, SymptomKind.DOWN)
    assert world.ran == []
    assert {d.blocked for d in loop.of(Decision)} == {"killed"}
    loop.publish(switch("off"))
    loop.run(60)
    assert len(world.ran) == 1
    assert loop.of(Incident)[-1].closed_as == "remediated"


def test_one_episode_along_the_calls_is_one_incident_with_one_action() -> None:
    world = World([RESTART])
    loop = MemoryLoop(world)
    loop.publish(topology(("shop/gateway", "shop/catalog")))
    world.break_("shop/gateway/0", SymptomKind.DEPENDENCY)
    loop.run(3)
    assert len(loop.of(Incident)) == 1
    assert loop.of(Proposal) == [], "a caller whose calls fail is no place to act"
    world.break_(CATALOG, SymptomKind.MEMORY)
    loop.run(30)
    assert [(c.action, c.target) for c in world.ran] == [RESTART]
    assert len({i.id for i in loop.of(Incident)}) == 1
    assert loop.of(Incident)[-1].affected == (CATALOG, "shop/gateway/0")


@pytest.mark.parametrize("copies", [1, 2, 3])
@pytest.mark.parametrize("mode", [Mode.AUTONOMOUS, Mode.APPROVE], ids=str)
def test_in_whatever_order_topics_are_read_and_however_often_a_record_comes_the_end_is_the_same(
    mode: Mode, copies: int
) -> None:
    for trial in range(4):
        seed = random.randrange(10**9)
        print(f"seed {seed}")
        world = World([("restart_service", "shop/catalog")])
        rng = random.Random(seed)
        loop = MemoryLoop(world, mode, rng=rng, copies=copies)
        loop.publish(deploy("shop/catalog", loop.now))
        voted: set[str] = set()

        def vote(loop: MemoryLoop = loop, voted: set[str] = voted, rng: random.Random = rng) -> None:
            loop.repeat_something(rng)
            for d in [d for d in loop.of(Decision) if d.state is DecisionState.PENDING and d.id not in voted]:
                voted.add(d.id)
                loop.publish(approval(d))

        world.break_(CATALOG, SymptomKind.LATENCY)
        loop.run(40, vote)
        label = f"seed {seed}, trial {trial}"
        assert [c.action for c in world.ran] == ["rollback_config", "restart_service"], label
        assert len({c.id for c in world.ran}) == 2, label
        assert {i.id for i in loop.of(Incident)} == {loop.of(Incident)[0].id}, label
        assert max(loop.of(Incident), key=lambda i: i.seq).closed_as == "remediated", label
        assert len({(i.id, i.seq) for i in loop.of(Incident)}) <= 9, label
        assert all(not a.state.watches for a in loop.agents if a.name == "verify"), label
        assert verify(_without_repeats(loop.of(AuditEntry))) == [], label


def test_everything_that_was_decided_and_done_is_in_the_audit_once() -> None:
    world = World([RESTART])
    loop = MemoryLoop(world)
    broken(world, loop, SymptomKind.DOWN)
    entries = loop.of(AuditEntry)
    assert verify(entries) == []
    kept = {Origin.parse(entry.origin) for entry in entries}
    assert len(kept) == len(entries)
    assert kept == {read.origin for topic in AuditWriter.reads for read in loop.log[topic.name]}


def test_every_effect_can_be_followed_back_to_the_sample_that_led_to_it() -> None:
    world = World([RESTART])
    loop = MemoryLoop(world)
    broken(world, loop, SymptomKind.DOWN)
    (result,), (order,) = loop.of(Result), loop.of(SignedCommand)
    command = order.claim
    assert command is not None
    decision = next(d for d in loop.of(Decision) if d.command == command.id)
    incident = next(i for i in loop.of(Incident) if i.id == decision.proposal.incident)
    assert (result.command, command.decision) == (command.id, decision.id)
    assert Origin.parse(incident.evidence[0]).topic == "opsloop.telemetry.metrics"
    assert topic_of(incident).key(incident) == topic_of(order).key(order) == "main"


def _without_repeats(entries: list[AuditEntry]) -> list[AuditEntry]:
    return list({entry.hash: entry for entry in entries}.values())


def test_i9_what_the_audit_does_not_keep_is_not_done() -> None:
    world = World([RESTART])
    loop = MemoryLoop(world)
    loop.agents = [agent for agent in loop.agents if agent.name != "record"]
    broken(world, loop, SymptomKind.DOWN)
    assert [d.state for d in loop.of(Decision)][:1] == [DecisionState.APPROVED]
    assert world.ran == []
    assert loop.of(SignedCommand) == []


@pytest.mark.parametrize("seed", [None, *range(8)])
def test_a_kill_during_a_surplus_is_proposed_for_and_what_waited_is_withdrawn(seed: int | None) -> None:
    """The two are one incident; the proposal to scale in waited for a person, and no restart was ever proposed."""
    world = World([RESTART])
    loop = MemoryLoop(world, Mode.APPROVE, rng=None if seed is None else random.Random(seed))
    world.break_("shop/catalog", SymptomKind.SURPLUS)
    loop.run(15)
    assert [p.action for p in loop.of(Proposal)] == ["scale_in"]
    world.break_(CATALOG, SymptomKind.DOWN)
    loop.run(15)
    states = {d.proposal.action: d for d in loop.of(Decision)}  # the last state of each
    assert (states["scale_in"].state, states["scale_in"].blocked) == (DecisionState.DENIED, "superseded")
    waiting = states["restart_service"]
    assert (waiting.state, waiting.proposal.target) == (DecisionState.PENDING, CATALOG)
    assert [i.step for i in loop.of(Incident) if i.step == "escalate"] == [], "a withdrawal needs nobody"
    loop.publish(approval(waiting, ts=loop.now, expires=loop.now + 60_000))
    loop.run(10)
    assert [(c.action, c.target) for c in world.ran] == [RESTART]
    assert loop.of(Incident)[-1].closed_as == "remediated"
