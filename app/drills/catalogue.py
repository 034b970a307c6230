"""Every drill there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.drills import actuator, feed, lane, loop, soak
from app.drills.report import Report

Run = Callable[[Path, Report, int], None]


@dataclass(frozen=True, slots=True)
class Drill:
    """What is broken, which invariants are held against it, and how often. 0: only when it is asked for by name."""

    name: str
    invariant: str
    run: Run
    quick: int
    full: int

    @property
    def what(self) -> str:
        return (self.run.__doc__ or "").splitlines()[0]


DRILLS: Final = {
    drill.name: drill
    for drill in (
        Drill("lane-kill", "I1 I2 I3 I14 I16", lane.kill, 3, 100),
        Drill("lane-zombie", "I1 I2 I3 I12", lane.zombie, 3, 27),
        Drill("lane-join-leave", "I1 I2 I3 I15", lane.join_leave, 1, 20),
        Drill("lane-large-state", "I1 I2 I3 I15 I16", lane.large_state, 0, 3),
        Drill("lane-broker-kill", "I1 I2 I3 I16", lane.broker_kill, 1, 10),
        Drill("lane-one-of-three", "I1 I2 I3 I15", lane.one_of_three, 0, 10),
        Drill("lane-network", "I1 I2 I3 I16", lane.network, 4, 40),
        Drill("lane-clock", "I2 I3", lane.clock, 0, 20),
        Drill("lane-duplicates", "I2 I3 I19", feed.duplicates, 1, 10),
        Drill("lane-poison", "I3 I14", feed.poison, 1, 5),
        Drill("lane-swizzle", "I1 I2 I3 I12", lane.swizzle, 0, 20),
        Drill("loop-kill", "I1 I4 I5 I9 I16", loop.kill, 3, 100),
        Drill("loop-zombie", "I1 I4 I5 I9 I12", loop.zombie, 0, 27),
        Drill("loop-duplicates", "I4 I5 I19", loop.duplicates, 0, 9),
        Drill("broker-full", "I1 I2 I3 I16", lane.broker_full, 0, 3),
        Drill("state-full", "I1 I2 I3 I15", lane.state_full, 0, 3),
        Drill("audit-full", "I4 I5 I9", loop.audit_full, 0, 3),
        Drill("soak", "I1 I2 I3 I13", soak.soak, 0, 0),
        Drill("actuator-kill", "I6", actuator.kill, 10, 200),
        Drill("ledger-full", "I6", actuator.full, 3, 20),
    )
}
