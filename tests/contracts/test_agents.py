"""What must hold of every agent of the loop, so that a new one costs no new test."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents._agent import Agent
from app.testing import MemoryLedger, MemoryLoop, World, pack_of, stages
from models.safety.modes import Mode
from models.safety.promotion import promotion
from tests.builders import (
    FROZEN,
    GARDEN,
    NOW,
    SAMPLES,
    alert,
    approval,
    decision,
    deploy,
    policy,
    proposal,
    sample,
    signed,
    switch,
    topology,
)
from tests.rules import rule
from topics.actions import Result
from topics.catalog import ALL, topic_of
from topics.codec import encode, message_id
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident, State, SymptomKind
from topics.learning import ENDED, LEARNING, Label
from topics.packs import PackVersion
from topics.policies import Policy
from topics.proposals import Proposal
from topics.refusals import Refusal
from topics.spec import Instant, Origin, Read, Record
from topics.state import LOOP_STATE
from topics.telemetry import Event, Heartbeat

NAMES = [
    "describe", "diagnose", "respond", "decide", "gate", "approve", "attest", "verify", "label", "record", "act",
]  # fmt: skip
NOTHING_STANDS = rule(
    'default allow := true\nallow := false if input.action.name != "restart_service"', name="nothing_stands",
    standing=True,
)  # fmt: skip
ROWS = """
[pack]
name = "rows"
kind = "row"
ttl_s = 2

[[relations]]
signal = 'soil.wet{row="*"}'
relation = "part_of"
from = "{entity}/{row}"
to = "{entity}"
"""
PROMOTED = promotion("shop/restart_service/instance/production", "37 of 37 helped", 0, NOW)
History = Sequence[tuple[Instant, Sequence[Read[Record]]]]
every_agent = pytest.mark.parametrize("name", NAMES)
SEEDS = range(8)


class Hands:
    """An actuator that always succeeds at the same moment."""

    name = "hands"

    def can(self, action: str, target: str) -> str | None:
        return None

    def run(self, command: Any) -> Any:
        return World().run(command)

    probe = run


class Bench:
    """Runs one agent, and restarts it as its driver would."""

    def __init__(self, name: str, mode: Mode = Mode.AUTONOMOUS) -> None:
        made = {make().name: make for make in stages(Hands(), MemoryLedger(), mode)}
        self.make = made[name]
        self.agent: Agent[Any] = self.make()
        self.told: list[Record] = []

    def feed(self, history: History) -> list[Record]:
        """Give the agent a history; what it yields."""
        said: list[Record] = []
        for now, batch in history:
            said += self.agent.step(batch, now)
        self.told += said
        return said

    def restart(self) -> None:
        """Replace the agent by a new one, restored from its snapshot, or resumed from its chain."""
        state = self.agent.snapshot()
        again = self.make()
        if state:
            again.restore(state)
        if again.chain is not None and self.told:
            again.resume(self.told[-1])
        self.agent = again


@functools.cache
def played(seed: int) -> tuple[Mode, dict[str, History]]:
    """The mode and, by agent, the steps of half a minute of faults, changes, votes, repeats and kill switches."""
    rng = random.Random(seed)
    mode = rng.choice([Mode.AUTONOMOUS, Mode.APPROVE])
    world = World(rng.sample([("restart_service", "shop/catalog/0"), ("rollback_config", "shop/catalog")], k=1))
    loop = MemoryLoop(world, mode, rng=rng)
    loop.publish(topology(("shop/gateway", "shop/catalog")))
    loop.publish(policy(FROZEN.replace("shop/frozen", rng.choice(["shop/frozen", "shop/gateway"]))))
    voted: set[str] = set()

    def happen() -> None:
        if rng.random() < 0.02:
            entity = rng.choice(["shop/gateway/0", "shop/catalog/0", "shop/catalog/1"])
            world.break_(entity, *rng.sample(list(SymptomKind), k=rng.randint(0, 2)))
        if rng.random() < 0.01:
            world.heal()
        if rng.random() < 0.01:
            loop.publish(deploy("shop/catalog", loop.now, str(loop.now)))
        if rng.random() < 0.005:
            loop.publish(switch(rng.choice(["on", "off"]), loop.now))
        for pending in loop.of(Decision):
            if pending.state is DecisionState.PENDING and pending.id not in voted:
                voted.add(pending.id)
                loop.publish(
                    approval(pending, rng.choice(["ana", "vera"]), rng.choice(["approve", "approve", "reject"]))
                )
        if rng.random() < 0.01 and (open_ones := [*loop.of(Incident)]):
            said = rng.choice(open_ones)
            was = rng.choice(["confirmed", "expected", "false_alarm", "new_trend"])
            loop.publish(Label(incident=said.id, entity=said.entity, label=was, ts=loop.now, by="ana"))
        if loop.now % 1_000 == 0 and loop.now <= NOW + 8_000:
            loop.publish(Heartbeat(node="edge-1", ts=loop.now, seq=(loop.now - NOW) // 1_000))
        if loop.now in (NOW + 6_000, NOW + 12_000):
            state = "firing" if loop.now == NOW + 6_000 else "resolved"
            loop.publish(alert("PostgresqlTooManyConnections", state, "db-1", loop.now))
        if loop.now == NOW + 5_000:
            proposed = proposal(id="d" * 20, action="scale_out", target="shop/cart", parameters={"replicas": "1"})
            loop.publish(signed(proposed), decision(DecisionState.PENDING, PROMOTED, required_role="lead", quorum=1))
        if loop.now == NOW + 20_000:
            loop.publish(policy(NOTHING_STANDS, ts=loop.now))
        if loop.now == NOW + 3_000:
            loop.publish(pack_of(ROWS, ts=loop.now))
        if loop.now in (NOW + 5_000, NOW + 6_000):
            kind, series = ("entity", ('soil.wet{row="2"}',)) if loop.now == NOW + 5_000 else ("silent", ())
            loop.publish(Event(entity="shop/field", ts=loop.now, kind=kind, text="", series=series))
        if loop.now == NOW + 10_000:
            loop.publish(pack_of(GARDEN, ts=loop.now))
        loop.repeat_something(rng)

    loop.run(30, happen)
    return mode, {name: loop.fed.get(name, []) for name in NAMES}


def ids(records: Iterable[Record]) -> set[tuple[str, str]]:
    """Topic and id of each record but refusals: the refusal of a repeated vote is no new content."""
    return {(topic_of(r).name, message_id(r, encode(r).value)) for r in records if not isinstance(r, Refusal)}


def test_the_agents_are_these() -> None:
    """Names are in snapshots and metrics: a new name orphans the state under the old one."""
    assert sorted(make().name for make in stages(Hands(), MemoryLedger(), Mode.APPROVE)) == sorted(NAMES)


def test_the_histories_are_worth_their_name() -> None:
    """In some history each agent is given each topic that it reads, and writes each topic that it writes."""
    for name in NAMES:
        read, written = set(), set()
        for seed in SEEDS:
            mode, fed = played(seed)
            read |= {topic_of(r.record).name for _, batch in fed[name] for r in batch}
            written |= {topic_of(r).name for r in Bench(name, mode).feed(fed[name])}
        agent = Bench(name).agent
        assert read == {topic.name for topic in agent.reads}, name
        assert written | {"opsloop.refusals"} >= {topic.name for topic in agent.writes}, name


@every_agent
def test_it_reads_and_writes_topics_of_the_catalogue(name: str) -> None:
    agent = Bench(name).agent
    assert agent.reads
    assert agent.writes
    assert {*agent.reads, *agent.writes} <= {*ALL, LEARNING, ENDED}
    assert len(set(agent.reads)) == len(agent.reads)
    assert agent.chain is None or agent.chain in agent.writes


@every_agent
def test_without_records_a_fresh_one_has_nothing_to_say_at_any_time(name: str) -> None:
    bench = Bench(name)
    before = bench.agent.snapshot()
    assert bench.feed([(now, ()) for now in (0, NOW, NOW + 10**9)]) == []
    assert bench.agent.snapshot() == before


@every_agent
@given(seed=st.sampled_from(SEEDS))
@settings(max_examples=len(SEEDS), deadline=None)
def test_it_says_only_what_it_declares_and_the_same_in_two_places(name: str, seed: int) -> None:
    mode, fed = played(seed)
    one, other = Bench(name, mode), Bench(name, mode)
    said = one.feed(fed[name])
    assert {topic_of(record) for record in said} <= set(one.agent.writes)
    assert other.feed(fed[name]) == said
    assert other.agent.snapshot() == one.agent.snapshot()


@every_agent
@given(seed=st.sampled_from(SEEDS), cut=st.floats(0, 1), again=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_restarts_change_neither_what_it_says_nor_what_it_knows(name: str, seed: int, cut: float, again: float) -> None:
    mode, fed = played(seed)
    straight, broken = Bench(name, mode), Bench(name, mode)
    history = fed[name]
    expected = straight.feed(history)
    first, second = sorted((int(cut * len(history)), int(again * len(history))))
    said: list[Record] = []
    for part in (history[:first], history[first:second], history[second:]):
        said += broken.feed(part)
        broken.restart()
    assert said == expected
    assert broken.agent.snapshot() == straight.agent.snapshot()


@every_agent
@given(seed=st.sampled_from(SEEDS))
@settings(max_examples=len(SEEDS), deadline=None)
def test_records_that_come_twice_lead_to_nothing_new(name: str, seed: int) -> None:
    mode, fed = played(seed)
    twice = [(now, [read for read in batch for _ in range(2)]) for now, batch in fed[name]]
    assert ids(Bench(name, mode).feed(twice)) == ids(Bench(name, mode).feed(fed[name]))


def varied(record: Record, number: int) -> Record:
    """The record about something of its own; every tenth incident and decision is over."""
    if topic_of(record).name == "opsloop.signals.anomalies":
        return sample(f"shop{number % 50}/catalog/{number % 500}", NOW + number, SymptomKind.DOWN)
    names = [f for f in ("id", "incident", "decision", "command") if isinstance(getattr(record, f, None), str)]
    changes: dict[str, Any] = {name: f"{getattr(record, name)}{number}" for name in names}
    match record:
        case Incident():
            changes["state"] = State.RESOLVED if number % 10 else State.TRIGGERED
        case Decision():
            changes["proposal"] = msgspec.structs.replace(record.proposal, id=f"p{number}", incident=f"i{number}")
            changes["state"] = list(DecisionState)[number % len(DecisionState)]
        case Policy():
            return policy(FROZEN.replace("frozen", f"frozen{number % 300}"), version=number + 1)
        case PackVersion():
            return pack_of(GARDEN.replace('"garden"', f'"garden{number % 300}"'), version=number + 1)
        case Proposal():
            return signed(record, **changes)
        case Result():
            changes["target"] = f"shop/catalog/{number}"
    return msgspec.structs.replace(record, **changes)


@every_agent
def test_ten_thousand_records_leave_a_state_that_fits_in_a_snapshot_many_times(name: str) -> None:
    bench = Bench(name)
    topics = bench.agent.reads
    for start in range(0, 10_000, 500):
        records = [varied(SAMPLES[topics[n % len(topics)].name], n) for n in range(start, start + 500)]
        reads = [Read(r, Origin(topic_of(r).name, 0, start + at), NOW) for at, r in enumerate(records)]
        bench.feed([(NOW + start, reads)])
    assert LOOP_STATE.max_message_bytes is not None
    assert len(bench.agent.snapshot()) * 4 / 3 < LOOP_STATE.max_message_bytes / 2
