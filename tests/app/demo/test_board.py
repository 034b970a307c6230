"""The board: what the demo's screen and report are made of."""

from __future__ import annotations

import pytest

from app.demo.board import Board, Injected, judge
from app.testing import MemoryLoop, World
from models.safety.modes import Mode
from tests.builders import CATALOG, NOW, approval
from topics.codec import encode
from topics.decisions import Decision
from topics.incidents import SymptomKind
from topics.spec import Raw
from topics.telemetry import Sample

CURE = ("restart_service", CATALOG)


def seen(loop: MemoryLoop) -> Board:
    """The board after every message of a run, in the order of arrival."""
    board = Board(NOW)
    for read in loop.told:
        o = read.origin
        board.see(Raw(o.topic, o.partition, o.offset, None, encode(read.record).value, (), read.arrived))
    return board


def played(*, mode: Mode = Mode.AUTONOMOUS, cures: bool = True, seconds: float = 20) -> MemoryLoop:
    world = World([CURE] if cures else [])
    loop = MemoryLoop(world, mode)
    loop.run(1)
    world.break_(CATALOG, SymptomKind.DOWN)
    loop.run(seconds)
    return loop


def fault() -> Injected:
    return Injected("kill", "catalog", NOW + 1_000)


def test_a_fault_that_was_cured_is_reported_with_its_times_cause_and_action() -> None:
    report = judge(seen(played()), fault())
    assert report.resolved
    assert (report.hypothesis, report.action) == ("process_gone", "restart_service")
    times = (report.detected_s, report.decided_s, report.acted_s, report.resolved_s)
    assert all(t is not None for t in times)
    assert list(times) == sorted(times)  # type: ignore[type-var]
    assert report.resolved_s is not None
    assert 2.5 <= report.resolved_s < 10


def test_a_fault_that_was_not_cured_is_not_called_resolved() -> None:
    report = judge(seen(played(cures=False, seconds=40)), fault())
    assert report.incident
    assert (report.resolved, report.resolved_s) == (False, None)


def test_a_fault_that_went_by_itself_is_not_called_resolved() -> None:
    loop = played(mode=Mode.OBSERVE, seconds=5)
    loop.world.heal()
    loop.run(10)
    report = judge(seen(loop), fault())
    assert (report.resolved, report.acted_s, report.action) == (False, None, "")


@pytest.mark.parametrize("other", [Injected("kill", "cart", NOW), Injected("kill", "catalog", NOW + 60_000)])
def test_an_incident_of_another_service_or_of_before_is_not_this_fault(other: Injected) -> None:
    report = judge(seen(played()), other)
    assert (report.incident, report.resolved, report.detected_s) == ("", False, None)


def test_what_waits_and_what_is_open_is_on_the_board_until_it_is_over() -> None:
    loop = played(mode=Mode.APPROVE, seconds=5)
    board = seen(loop)
    assert [d.proposal.action for d in board.waiting()] == ["restart_service"]
    assert [i.entity for i in board.open_incidents()] == [CATALOG]
    assert board.lines
    loop.publish(approval(loop.of(Decision)[0]))
    loop.run(10)
    board = seen(loop)
    assert (board.waiting(), board.open_incidents()) == ([], [])


def test_every_hop_is_timed() -> None:
    board = seen(played())
    assert all(len(times) >= 1 for hop, times in board.hops.items() if hop != "detect")
    assert all(t >= 0 for times in board.hops.values() for t in times)


def test_dead_letters_are_counted_and_poison_is_passed_over() -> None:
    board = Board(NOW)
    board.see(Raw("opsloop.incidents.dlq", 0, 0, None, b"x"))
    board.see(Raw("opsloop.incidents", 0, 0, None, b"x"))
    assert (board.dead_letters, board.told) == (1, 0)


def test_the_site_is_warm_when_enough_entities_were_seen_often_enough() -> None:
    board = Board(NOW)
    for entity in ("shop/a/0", "shop/b/0", "host-1"):
        for ts in range(NOW, NOW + 3):
            message = encode(Sample(entity=entity, ts=ts, metrics={"system.cpu.utilization": 0.5}))
            board.see(Raw(message.topic.name, 0, ts, None, message.value))
    assert board.samples(2) == 3
    assert board.samples(3) == 0, "a host is not of the site"
    assert board.entities["host-1"].history[-1] == 0.5
