"""The list of all drills. The code of a drill is imported only when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from app.drills.report import Report

    Run = Callable[[Path, Report, int], None]

KILLS_A_MINUTE: Final = 2  # during a soak


def imported(place: str) -> Run:
    """A function that imports and calls `name` of app/drills/FILE.py, given as `file.name`."""

    def run(folder: Path, report: Report, trials: int) -> None:
        from app.drills.processes import spread_systems

        spread_systems()
        file, _, name = place.partition(".")
        cast("Run", getattr(importlib.import_module(f"app.drills.{file}"), name))(folder, report, trials)

    return run


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill: what it breaks, the invariants that it checks, and its trials. 0 trials: runs only by name."""

    name: str
    invariant: str
    run: Run
    quick: int
    full: int
    what: str  # one sentence
    place: str = ""  # its function, as `file.name` in app/drills


DRILLS: Final = {
    name: Drill(name, invariant, imported(place), quick, full, what, place)
    for name, invariant, place, quick, full, what in (
        ("lane-kill", "I1 I2 I3 I14 I16", "lane.kill", 3, 100,
         "kill -9 up to three of four workers at a random moment, and start others."),
        ("lane-zombie", "I1 I2 I3 I12", "lane.zombie", 3, 27,
         "Stop up to three of four workers for longer than their session, and let them go on."),
        ("lane-join-leave", "I1 I2 I3 I15", "lane.join_leave", 1, 20,
         "A third worker joins, works, and leaves again by SIGTERM: how long do partitions stand, moved or not."),
        ("lane-large-state", "I1 I2 I3 I15 I16", "lane.large_state", 0, 3,
         "A third worker joins and leaves, and then one is killed, where learners know 100 MB in all."),
        ("lane-broker-kill", "I1 I2 I3 I16", "lane.broker_kill", 1, 10,
         "kill -9 the only broker, and start it again: workers and load go on by themselves."),
        ("lane-one-of-three", "I1 I2 I3 I15", "lane.one_of_three", 0, 10,
         "kill -9 one broker of three, let the others take over, start it again and let it catch up."),
        ("lane-network", "I1 I2 I3 I16", "lane.network", 4, 40,
         "Cut, hold or slow down every connection to the broker, or lose its replies, for one to three seconds."),
        ("lane-clock", "I2 I3", "lane.clock", 0, 20,
         "Move the wall clock of all workers by up to two hours, back and forth."),
        ("lane-duplicates", "I2 I3 I19", "feed.duplicates", 1, 10,
         "Send a tenth of all samples twice and a tenth up to 30 s late, and kill a worker in between."),
        ("lane-poison", "I3 I14", "feed.poison", 1, 5,
         "Send messages of every class that cannot be learned from between sound ones."),
        ("lane-swizzle", "I1 I2 I3 I12", "lane.swizzle", 0, 20,
         "Pause workers and the broker one after the other in a drawn order, and let them go on in another."),
        ("loop-kill", "I1 I4 I5 I9 I16", "loop.kill", 3, 100,
         "kill -9 up to three of four workers of the loop while incidents come, and start others."),
        ("loop-zombie", "I1 I4 I5 I9 I12", "loop.zombie", 0, 27,
         "Stop up to three of four workers of the loop beyond their session: they end, and others start."),
        ("loop-duplicates", "I4 I5 I19", "loop.duplicates", 0, 9,
         "Send a tenth of all anomalies twice, the second time up to five seconds late, and kill workers in between."),
        ("grow", "I4 I5 I9 I15", "grow.run", 1, 3,
         "Give topics with a history more partitions: the next decisions and scores are those of an ungrown cluster."),
        ("broker-full", "I1 I2 I3 I16", "lane.broker_full", 0, 3,
         "Let the broker's disk run full until it ends, then make room and start it again."),
        ("state-full", "I1 I2 I3 I15", "lane.state_full", 0, 3,
         "Let the disk with the lane's snapshots run full, then make room and start the broker again."),
        ("audit-full", "I4 I5 I9", "loop.audit_full", 0, 3,
         "Let the disk of the audit run full, make room, start the broker again, and the workers that have ended."),
        ("soak", "I1 I2 I3 I13", "soak.soak", 0, 0,
         "Kill one of two workers of the lane, or of the loop, every half minute, and watch the others for growth."),
        ("actuator-kill", "I6", "actuator.kill", 10, 200,
         "kill -9 an actuator before, during and after the effect of a command, and start another."),
        ("ledger-full", "I6", "actuator.full", 3, 20,
         "Let the disk of the ledger run full at any byte of an intent or a result; start the actuator again."),
    )
}  # fmt: skip
