"""What a drill found."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

from app.errors import UserError


class LeftOut(UserError):
    """This drill needs what is not there, as the right to mount: it is left out, and says so."""


@dataclass(slots=True)
class Report:
    """One drill: how often something was broken, and what did not hold afterwards."""

    drill: str
    invariant: str
    seed: int
    trials: int = 0
    violations: int = 0
    findings: list[str] = field(default_factory=list)  # each violation in words
    figures: dict[str, float] = field(default_factory=dict)  # what was counted: sent, repeated, partitions …
    recoveries: list[float] = field(default_factory=list)  # seconds from each fault until all partitions go on
    took_s: float = 0.0
    stall_s: float = 0.0  # the longest that a partition stood still which the fault did not touch

    def add_violation(self, finding: str) -> None:
        self.violations += 1
        self.findings.append(finding)

    def check(self, holds: bool, finding: str) -> None:
        """Count a violation unless it holds."""
        if not holds:
            self.add_violation(finding)

    @property
    def bound(self) -> float:
        """95 % upper bound of the rate of violations a trial: 3/n when there was none (rule of three)."""
        return min(1.0, (3.0 if not self.violations else self.violations + 3.0) / max(1, self.trials))

    def row(self) -> dict[str, object]:
        """As JSON: times in seconds, rounded to milliseconds. One fault may break several workers: each is a trial."""
        ordered = sorted(self.recoveries)
        return {
            "drill": self.drill, "invariant": self.invariant, "trials": self.trials, "violations": self.violations,
            "faults": len(ordered) or self.trials,
            "bound95": round(self.bound, 4), "stall_s": round(self.stall_s, 3),
            "recovery_p50_s": round(statistics.median(ordered), 3) if ordered else None,
            "recovery_p95_s": round(ordered[math.ceil(0.95 * len(ordered)) - 1], 3) if ordered else None,
            "recovery_max_s": round(ordered[-1], 3) if ordered else None,
            "took_s": round(self.took_s, 1), "seed": self.seed, "figures": self.figures, "findings": self.findings[:20],
        }  # fmt: skip
