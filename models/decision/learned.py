"""Learns from verdicts how far each rule's confidence is off: ridge regression on the context.

The rule's own confidence is the prior mean, so a rule without outcomes keeps it. The regression learns the difference
between outcome and prior. Older outcomes are discounted by `FADE` per outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.keyed import KeyedState, Table, table
from topics.spec import Count

RIDGE: Final = 50.0  # weight of the prior, in outcomes
FADE: Final = 0.998
ARMS_KEPT: Final = 500
LEAST: Final = 0.01
MOST: Final = 0.99
FEATURES: Final = 6


class Arm(msgspec.Struct, frozen=True):
    """Normal equations of one rule: `a` (FEATURES × FEATURES, row by row) and `b` (FEATURES,)."""

    a: list[float] = msgspec.field(default_factory=lambda: [0.0] * (FEATURES * FEATURES))
    b: list[float] = msgspec.field(default_factory=lambda: [0.0] * FEATURES)
    count: Count = 0


class Learned(KeyedState):
    """The arms by rule. Part of an agent's state."""

    arms: Table[Arm] = table(ARMS_KEPT)

    def expect(self, rule: str, prior: float, context: Mapping[str, float]) -> float:
        """Return the expected probability, 0.01..0.99, that a rule's action helps."""
        arm = self.arms.get(rule)
        if arm is None:
            return _clip(prior)
        a = np.array(arm.a).reshape(FEATURES, FEATURES) + RIDGE * np.eye(FEATURES)
        missed = float(_features(context) @ np.linalg.solve(a, np.array(arm.b)))
        return _clip(prior + missed)

    def learn(self, rule: str, prior: float, context: Mapping[str, float], helped: bool) -> None:
        """Learn from one outcome of a rule's action."""
        arm, x = self.arms.get(rule, Arm()), _features(context)
        a = FADE * np.array(arm.a).reshape(FEATURES, FEATURES) + np.outer(x, x)
        b = FADE * np.array(arm.b) + x * (float(helped) - _clip(prior))
        self.arms[rule] = Arm(a.ravel().tolist(), b.tolist(), arm.count + 1)


def _features(context: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return (FEATURES,) features: 1, then those of the context, each clipped to 0..1 (load: -1..2)."""
    return np.array([
        1.0, _share(context, "busy", 0.0), min(max(context.get("load", 1.0), 0.0), 3.0) - 1.0,
        1.0 - _share(context, "budget", 1.0), _share(context, "urgency", 0.5), _share(context, "attempt", 0.0),
    ])  # fmt: skip


def _share(context: Mapping[str, float], name: str, otherwise: float) -> float:
    return min(max(context.get(name, otherwise), 0.0), 1.0)


def _clip(p: float) -> float:
    return min(max(p, LEAST), MOST)
