"""The map: which agents, topics, roles and commands there are, and that what one agent writes another reads."""

from __future__ import annotations

import importlib
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from app import pipeline
from app.ingest.warm_up import warm_up
from app.settings import Settings
from app.system import Parts, System
from models.detection.bank import Bank
from models.detection.columns import Samples, Scored
from tests.keys import RING, WORKER_KEY
from topics.actions import COMMANDS, RESULTS
from topics.approvals import APPROVALS
from topics.audit import AUDIT
from topics.catalog import ALL
from topics.decisions import DECISIONS
from topics.incidents import INCIDENTS
from topics.learning import LABELS
from topics.packs import PACKS
from topics.policies import POLICIES
from topics.proposals import PROPOSALS
from topics.settings import SETTINGS
from topics.signals import ANOMALIES, SYMPTOMS
from topics.spec import Topic
from topics.telemetry import EVENTS, HEARTBEATS
from topics.verdicts import VERDICTS

HOUSE = Path(pipeline.__file__).parents[1]
VERBS = {file.stem for file in (HOUSE / "agents").glob("[!_]*.py")}


def brought() -> Counter[str]:
    return Counter(verb.name for system in pipeline.SYSTEMS for verb in system.agents)


def test_every_agent_is_brought_by_one_system() -> None:
    assert brought() == Counter(VERBS)


def test_no_agent_is_missing_from_the_contract_that_keeps_agents_apart() -> None:
    contracts = tomllib.loads((HOUSE / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (apart,) = (contract for contract in contracts if contract["type"] == "independence")
    assert Counter(apart["modules"]) == Counter(f"agents.{name}" for name in brought())


def test_every_room_that_has_a_wiring_is_in_the_map() -> None:
    rooms = {f"app.{file.parent.name}.wiring" for file in (HOUSE / "app").glob("*/wiring.py")}
    listed = {id(system) for system in pipeline.systems()}
    for name in rooms:
        systems = [value for value in vars(importlib.import_module(name)).values() if isinstance(value, System)]
        assert systems, name
        assert {id(system) for system in systems} <= listed, f"a system of {name} is not in app/pipeline.py"


def topics_of(family: str) -> set[str]:
    return {
        value.name for value in vars(importlib.import_module(f"topics.{family}")).values() if isinstance(value, Topic)
    }


def test_every_topic_is_brought_by_one_system() -> None:
    families = [family for system in pipeline.systems() for family in system.topics]
    assert len(families) == len(set(families))
    assert all(topics_of(family) for family in families)
    assert {topic.name for topic in ALL} == set().union(*map(topics_of, families))


def test_every_verb_runs_in_a_role_that_a_worker_can_be_asked_for() -> None:
    roles = pipeline.roles()
    assert {verb.role for system in pipeline.SYSTEMS for verb in system.agents} == set(roles)
    assert all(role.joins in {"", *roles} for role in roles.values())


def test_systems_have_names_of_their_own() -> None:
    assert set(Counter(system.name for system in pipeline.systems()).values()) == {1}


def test_an_agent_is_called_as_its_file_is() -> None:
    parts = Parts(Settings(), WORKER_KEY, RING)
    for system in pipeline.SYSTEMS:
        for verb in system.agents:
            if verb.name != "act":  # which needs an actuator
                assert verb.make(parts).name == verb.name
                assert type(verb.make(parts)).__module__ == f"agents.{verb.name}"


def test_a_worker_without_keys_makes_no_agent_that_signs() -> None:
    gate = next(verb for system in pipeline.SYSTEMS for verb in system.agents if verb.name == "gate")
    with pytest.raises(LookupError, match="no signer"):
        gate.make(Parts(Settings()))


def writers() -> dict[Topic, set[str]]:
    agents = [make() for make in (*pipeline.lane(), *pipeline.loop(Settings(), WORKER_KEY, RING))]
    return {topic: {a.name for a in agents if topic in a.writes} for a in agents for topic in a.writes}


def test_a_topic_of_the_loop_is_written_by_one_verb_alone() -> None:
    """One writer a topic, proposals aside: only `approve` gives commands, and only `record` writes the audit."""
    found = writers()
    assert found[COMMANDS] == {"approve"}
    assert found[AUDIT] == {"record"}
    assert found[INCIDENTS] == {"respond"}
    assert found[SYMPTOMS] == {"diagnose"}
    assert found[PROPOSALS] == {"decide", "gate"}
    assert found[VERDICTS] == {"verify"}
    assert found[ANOMALIES] == {"detect"}
    assert found[DECISIONS] == {"gate", "approve"}


def test_what_is_read_is_written_by_somebody_or_comes_from_outside() -> None:
    outside = {APPROVALS, SETTINGS, POLICIES, PACKS, EVENTS, HEARTBEATS, RESULTS, LABELS}
    for make in pipeline.loop(Settings(), WORKER_KEY, RING):
        agent = make()
        assert set(agent.reads) - outside <= set(writers()), agent.name


def test_everything_that_is_decided_and_done_is_kept() -> None:
    keeper = next(a for a in (make() for make in pipeline.loop(Settings(), WORKER_KEY, RING)) if a.name == "record")
    assert {INCIDENTS, PROPOSALS, DECISIONS, APPROVALS, COMMANDS, RESULTS, VERDICTS, SETTINGS} <= set(keeper.reads)


def test_each_partition_gets_an_agent_of_its_own() -> None:
    for make in (*pipeline.lane(), *pipeline.loop(Settings(), WORKER_KEY, RING)):
        one, other = make(), make()
        assert one is not other
        assert one.name == other.name


def test_the_rehearsal_meets_values_that_were_copied_and_values_that_lie_in_their_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    met: set[bool] = set()
    take = Bank.take

    def noted(bank: Bank, given: Samples) -> Scored:
        met.add(bool(given.value.flags.writeable))
        return take(bank, given)

    monkeypatch.setattr(Bank, "take", noted)
    warm_up()
    assert met == {True, False}, "the compiler takes them for two types"
