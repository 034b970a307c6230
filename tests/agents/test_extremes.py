"""Whatever the fields of a record claim, an agent's state can be restored and what it says can be read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agents._agent import Agent
from agents.gate import Gate
from app.policy.shipped import policies
from app.testing import MemoryLedger, World, stages
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.safety.signing import sign_setting
from tests.builders import NOW, SAMPLES, SymptomKind, approval, decision, deploy, incident, proposal, sample, signed
from tests.keys import RING, WORKER_KEY, key_of
from topics.catalog import topic_of
from topics.codec import DecodeError, decode_value, encode
from topics.decisions import DecisionState
from topics.settings import Setting
from topics.spec import LARGEST, LATEST, Origin, Read, Record

TEXTS = ("", "²", "٣", "-1", "999999999999999", "1" + "0" * 30, "a/b/c/d", "x" * 5_000, "\x00", "maintenance/x")
NUMBERS: dict[type, tuple[Any, ...]] = {
    int: (0, 1, LATEST, LATEST - 1, LARGEST, -1, 10**30),
    float: (0.0, 1e308, -1e308, 5e-324),
    bool: (True, False),
    str: TEXTS,
}
MAKERS = [*stages(World(), MemoryLedger(), Mode.AUTONOMOUS)]


def extremes(value: Any) -> Iterator[Any]:
    """The value with one part of it, however deep, at each extreme in turn."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from ({**value, name: changed} for changed in extremes(part))
    elif isinstance(value, list):
        yield []
        for at, part in enumerate(value[:2]):
            yield from ([*value[:at], changed, *value[at + 1 :]] for changed in extremes(part))
    else:
        yield from NUMBERS.get(type(value), ())


def settings() -> Iterator[Record]:
    """Settings of every subject with every text, unsigned and signed by an admin."""
    names = ("kill_switch", "maintenance/x", "maintenance/", "incident/i1", "autonomy/shop/a/b/c", "autonomy/", "")
    for name, value, ts in itertools.product(names, (*TEXTS, "on", "off", "granted"), (0, NOW, LATEST)):
        bare = Setting(name=name, value=value, ts=ts, by="ada")
        yield bare
        yield sign_setting(bare, key_of("ada"))


def examples() -> list[Record]:
    return [
        *SAMPLES.values(), signed(), signed(proposal(requester="ana")), decision(DecisionState.APPROVED),
        decision(DecisionState.DENIED, blocked="frozen"), decision(DecisionState.COMPLETED),
        approval(decision()), incident(attempts=("d1",)), sample("shop/catalog/0", NOW, *SymptomKind),
        deploy("shop/catalog", NOW - 5_000),
    ]  # fmt: skip


def claims(agent: Agent[Any]) -> Iterator[Record]:
    """Every record that an agent reads with every field at every extreme, as far as it decodes."""
    known = {topic.name for topic in agent.reads}
    for record in examples():
        try:
            topic = topic_of(record)
        except KeyError:  # a snapshot
            continue
        if topic.name not in known:
            continue
        for fields in extremes(msgspec.json.decode(encode(record).value)):
            try:
                yield decode_value(topic, msgspec.json.encode(fields))
            except DecodeError:
                continue
    if "opsloop.settings" in known:
        yield from settings()


@pytest.mark.parametrize("number", range(len(MAKERS)), ids=lambda n: MAKERS[n]().name)
def test_no_record_leaves_a_state_that_cannot_be_restored(number: int) -> None:
    make = MAKERS[number]
    agent, again = make(), make()
    for offset, record in enumerate(claims(agent)):
        before, said = agent.snapshot(), []
        try:
            for records in ([Read(record, Origin(topic_of(record).name, 0, offset), NOW)], []):
                said += agent.step(records, NOW)
        except Exception:  # the driver sets such a record aside and goes back to the state before it
            agent = make()
            if before:
                agent.restore(before)
            continue
        if state := agent.snapshot():
            again.restore(state)
            assert again.snapshot() == state, record
        for output in said:
            assert decode_value(topic_of(output), encode(output).value) is not None, record


def test_the_largest_times_that_settings_allow_can_be_kept() -> None:
    endless = SafetySettings(
        mode=Mode.AUTONOMOUS, approval_ms=LARGEST, open_for_ms=LARGEST, promotion_ms=LARGEST, command_ms=LARGEST
    )
    gate = Gate(endless, WORKER_KEY, RING, policies())
    said = list(gate.step([Read(signed(), Origin("opsloop.proposals", 0, 0), NOW)], NOW))
    assert said
    Gate(endless, WORKER_KEY, RING, policies()).restore(gate.snapshot())
    for output in said:
        assert decode_value(topic_of(output), encode(output).value) == output
