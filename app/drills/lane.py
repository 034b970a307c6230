"""Drills of the lane under load: workers are killed, paused, added and removed; broker, disk and clock fail."""

from __future__ import annotations

import time
from functools import partial
from itertools import cycle
from pathlib import Path

from app.drills.clock import Clock
from app.drills.disk import SmallKafka
from app.drills.proxy import ProxiedKafka, Way
from app.drills.report import Report
from app.drills.testbed import in_turn, open_testbed, three_nodes
from topics.state import LANE_STATE

CROWD = 4  # workers, of which up to all but one are broken at once
SESSION_S = 6.0
KEPT_S = 3.0  # seconds within which every owner has written a snapshot
TAUGHT_ENTITIES = 78_000
WAYS = (Way.CUT, Way.REPLY_LOST, Way.CUT, Way.SILENT, Way.CUT, Way.SLOW, Way.CUT, Way.REPLY_LOST)


def kill(folder: Path, report: Report, trials: int) -> None:
    """kill -9 up to three of four workers at a random moment, and start others."""
    with open_testbed(folder, report, size=CROWD) as field:

        def fault(count: int) -> float:
            places = field.some(count)
            for place in places:
                field.workers[place].kill()
            moment = time.monotonic()
            for place, worker in zip(places, field.start_workers(count), strict=True):
                field.workers[place] = worker
            return moment

        in_turn(field, report, trials, fault, CROWD - 1)


def zombie(folder: Path, report: Report, trials: int) -> None:
    """Pause up to three of four workers for longer than their session, and resume them."""
    with open_testbed(folder, report, size=CROWD) as field:

        def fault(count: int) -> float:
            asleep = [field.workers[place] for place in field.some(count)]
            moment = time.monotonic()
            for worker in asleep:
                worker.pause()
            time.sleep(SESSION_S + 1.0)
            field.await_recovery()
            _longest(report, "taken_over_s", field.stall(moment))
            for worker in asleep:
                worker.resume()
            return time.monotonic()

        in_turn(field, report, trials, fault, CROWD - 1)
        report.check(all(worker.alive for worker in field.workers), "a worker ended instead of joining anew")


def join_leave(folder: Path, report: Report, trials: int) -> None:
    """Add a third worker and end it by SIGTERM. Measures the stall of partitions that moved, and of others."""
    _comings_and_goings(folder, report, trials, taught=0)


def large_state(folder: Path, report: Report, trials: int) -> None:
    """Add and remove a third worker, then kill one, with 100 MB of learners' state in all."""
    _comings_and_goings(folder, report, trials, taught=TAUGHT_ENTITIES)


def _comings_and_goings(folder: Path, report: Report, trials: int, taught: int) -> None:
    with open_testbed(folder, report, taught=taught) as field:

        def fault(_: int) -> float:
            calm = time.monotonic()
            time.sleep(KEPT_S)
            _longest(report, "undisturbed_s", field.stall(calm))  # the stall without any fault, for comparison
            before, moment = field.epochs(), time.monotonic()
            (third,) = field.start_workers(1)
            field.await_recovery()
            time.sleep(KEPT_S)
            _longest(report, "left_s", third.stop())
            field.await_recovery()
            time.sleep(1.0)
            gaps, after = field.gaps(moment), field.epochs()
            for partition, seconds in gaps.items():
                _longest(report, "moved_s" if after[partition] > before[partition] else "kept_s", seconds)
            report.stall_s = report.figures.get("kept_s", 0.0)
            return moment

        in_turn(field, report, trials, fault)
        if taught:
            moment = time.monotonic()
            field.workers.pop().kill()
            time.sleep(SESSION_S)
            field.await_recovery()
            time.sleep(1.0)
            _longest(report, "killed_s", field.stall(moment))


def broker_kill(folder: Path, report: Report, trials: int) -> None:
    """Kill the only broker with SIGKILL and restart it. Workers and load must recover by themselves."""
    with open_testbed(folder, report, resent=True) as field:

        def fault(_: int) -> float:
            field.kafka.kill(1)
            moment = time.monotonic()
            time.sleep(0.5 + field.rng.random())
            field.kafka.start_node(1)
            return moment

        in_turn(field, report, trials, fault)
        report.check(all(worker.alive for worker in field.workers), "a worker did not outlive its broker")


def one_of_three(folder: Path, report: Report, trials: int) -> None:
    """Kill one broker of three with SIGKILL, wait for new leaders, restart it, and wait until it is in sync."""
    with open_testbed(folder, report, cluster=three_nodes, resent=True) as field:

        def fault(_: int) -> float:
            node = field.rng.choice(field.kafka.nodes).id
            field.kafka.kill(node)
            moment = time.monotonic()
            time.sleep(1.0)
            field.await_recovery()
            field.kafka.start_node(node)
            field.await_in_sync()
            return moment

        in_turn(field, report, trials, fault)
        report.check(all(worker.alive for worker in field.workers), "a worker did not outlive one broker of three")


def network(folder: Path, report: Report, trials: int) -> None:
    """Reset, block or slow down all connections to the broker, or drop its replies, for one to three seconds."""
    ways = cycle(WAYS)
    with open_testbed(folder, report, cluster=ProxiedKafka, resent=True) as field:

        def fault(_: int) -> float:
            assert isinstance(field.kafka, ProxiedKafka)
            way = next(ways)
            field.kafka.proxy.set(way)
            time.sleep(field.rng.uniform(1.0, 3.0))
            field.kafka.proxy.set(Way.OPEN)
            report.figures[way] = report.figures.get(way, 0) + 1
            return time.monotonic()

        in_turn(field, report, trials, fault)
        report.check(all(worker.alive for worker in field.workers), "a worker did not outlive the network")


def broker_full(folder: Path, report: Report, trials: int) -> None:
    """Fill the broker's disk until the broker ends, then make room and restart it."""
    with open_testbed(folder, report, cluster=SmallKafka, resent=True) as field:
        assert isinstance(field.kafka, SmallKafka)
        kafka = field.kafka

        def fault(_: int) -> float:
            moment = time.monotonic()
            kafka.disk.fill(0)
            field.await_stall(moment)
            time.sleep(2.0)
            report.figures["broker_ended"] = report.figures.get("broker_ended", 0) + (kafka.nodes[0].process() is None)
            moment = time.monotonic()
            kafka.restart()
            return moment

        in_turn(field, report, trials, fault)
        report.check(all(worker.alive for worker in field.workers), "a worker did not outlive its broker's full disk")


def state_full(folder: Path, report: Report, trials: int) -> None:
    """Fill the disk of the lane's snapshots, then make room and restart the broker."""
    with open_testbed(folder, report, cluster=partial(SmallKafka, topics=(LANE_STATE,)), resent=True) as field:
        assert isinstance(field.kafka, SmallKafka)
        kafka = field.kafka

        def fault(_: int) -> float:
            kafka.disk.fill(0)
            field.await_offline(LANE_STATE.name)
            time.sleep(5.0)
            moment = time.monotonic()
            kafka.restart()
            return moment

        in_turn(field, report, trials, fault)
        report.check(all(worker.alive for worker in field.workers), "a worker did not outlive a full disk for state")


def clock(folder: Path, report: Report, trials: int) -> None:
    """Move the wall clock of all workers by up to two hours, backward and forward."""
    moved = Clock(folder)
    with open_testbed(folder, report, environment=moved.environment) as field:

        def fault(_: int) -> float:
            moved.set(field.rng.uniform(-7200.0, 7200.0))
            return time.monotonic()

        in_turn(field, report, trials, fault)


def swizzle(folder: Path, report: Report, trials: int) -> None:
    """Pause workers and the broker one after the other in a random order, and resume them in another."""
    with open_testbed(folder, report, size=3, resent=True) as field:

        def fault(_: int) -> float:
            broker = field.kafka.nodes[0].process()
            assert broker is not None
            parts = [*field.workers, None]
            field.rng.shuffle(parts)
            for part in parts:
                (part.pause if part else broker.suspend)()
                time.sleep(field.rng.uniform(0.0, 1.5))
            field.rng.shuffle(parts)
            for part in parts:
                (part.resume if part else broker.resume)()
                time.sleep(field.rng.uniform(0.0, 0.5))
            return time.monotonic()

        in_turn(field, report, trials, fault)
        report.check(all(worker.alive for worker in field.workers), "a worker ended instead of joining anew")


def _longest(report: Report, name: str, seconds: float) -> None:
    report.figures[name] = round(max(seconds, report.figures.get(name, 0.0)), 3)
