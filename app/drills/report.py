"""The report of a drill."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

from app.errors import UserError


class LeftOut(UserError):
    """Raised when this machine lacks what a drill needs, as the right to mount. The drill is reported as left out."""


@dataclass(slots=True)
class Report:
    """The result of one drill: trials, violations, and figures."""

    drill: str
    invariant: str
    seed: int
    trials: int = 0
    violations: int = 0
    findings: list[str] = field(default_factory=list)  # one line for each violation
    figures: dict[str, float] = field(default_factory=dict)  # counts: sent, repeated, partitions, …
    recoveries: list[float] = field(default_factory=list)  # seconds from each fault until all partitions go on
    took_s: float = 0.0
    stall_s: float = 0.0  # the longest stall of a partition that the fault did not affect

    def add_violation(self, finding: str) -> None:
        """Count a violation and keep its description."""
        self.violations += 1
        self.findings.append(finding)

    def check(self, holds: bool, finding: str) -> None:
        """Add a violation unless `holds` is true."""
        if not holds:
            self.add_violation(finding)

    @property
    def bound(self) -> float:
        """95 % upper bound of violations for each trial: 3/n when there were none (rule of three)."""
        return min(1.0, (3.0 if not self.violations else self.violations + 3.0) / max(1, self.trials))

    def row(self) -> dict[str, object]:
        """The report for JSON, times in seconds. A fault that breaks several workers counts as several trials."""
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
