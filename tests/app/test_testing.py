"""The loop in memory, as a package of somebody else uses it."""

from __future__ import annotations

import subprocess
import sys

from app.settings import Settings
from app.testing import RING, MemoryLoop, World, asked, policy_of
from models.safety.modes import Mode
from models.safety.roles import Role
from models.safety.settings import SafetySettings
from topics.actions import Result
from topics.decisions import Decision, DecisionState
from topics.incidents import SymptomKind
from topics.proposals import Proposal
from topics.verdicts import Verdict


def broken_catalog() -> World:
    world = World({("restart_service", "shop/catalog/0")})
    world.break_("shop/catalog/0", SymptomKind.DOWN)
    return world


def test_a_service_that_is_down_is_restarted_and_the_verdict_is_that_it_helped() -> None:
    world = broken_catalog()
    loop = MemoryLoop(world)
    loop.run(30)
    assert [(command.action, command.target) for command in world.ran] == [("restart_service", "shop/catalog/0")]
    assert loop.of(Verdict)[-1].effect == "remediated"


def test_the_same_run_has_the_same_records_to_the_last_byte() -> None:
    runs = []
    for _ in range(2):
        loop = MemoryLoop(broken_catalog())
        loop.run(10)
        runs.append([read.record for read in loop.told])
    assert runs[0] == runs[1]
    assert len(runs[0]) > 20


def test_settings_that_are_given_hold_for_every_agent() -> None:
    world = broken_catalog()
    loop = MemoryLoop(world, settings=Settings(safety=SafetySettings(mode=Mode.APPROVE)))
    loop.run(10)
    assert loop.of(Decision)[-1].state is DecisionState.PENDING
    assert not world.ran


def test_an_actuator_that_is_given_runs_the_commands_in_place_of_the_world() -> None:
    world, hands = broken_catalog(), World()
    loop = MemoryLoop(world, actuator=hands)
    loop.run(5)
    assert hands.ran
    assert not world.ran
    assert loop.of(Result)[0].outcome == "succeeded"


def test_what_a_person_asks_for_is_a_signed_proposal_that_the_gate_believes() -> None:
    world = World()
    loop = MemoryLoop(world)
    world.break_("shop/catalog/0")
    loop.run(1)
    loop.publish(asked("restart_service", "shop/catalog/0", ts=loop.now))
    loop.run(2)
    assert loop.of(Proposal)[0].requester == "ada"
    assert len(world.ran) == 1


def test_a_policy_that_is_published_holds() -> None:
    world = broken_catalog()
    loop = MemoryLoop(world)
    body = "package opsloop.never\n\nimport rego.v1\n\ndefault allow := false\n"
    loop.publish(policy_of(f"# METADATA\n# custom:\n#   id: never\n#   type: operational\n#   owner: tests\n{body}"))
    loop.run(5)
    assert {decision.blocked for decision in loop.of(Decision)} == {"policy"}
    assert not world.ran


def test_the_ring_has_somebody_in_every_role_of_a_person() -> None:
    roles = {role for held in RING.people.values() for role in held}
    assert roles >= {Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN, Role.WORKER}


def test_it_needs_no_broker_client_and_nothing_of_the_tests() -> None:
    code = "import sys, app.testing; print({'confluent_kafka', 'faust', 'pytest', 'tests'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"
