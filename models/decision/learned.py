"""What verdicts have taught about each rule: ridge regression of what its confidence missed.

A rule's own confidence is the prior mean, so that one without a past is believed as it stands; what is learned is the
difference, under the circumstances. Older outcomes fade.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.bounded import keep
from topics.spec import Count

RIDGE: Final = 50.0  # outcomes that the prior is worth
FADE: Final = 0.998
ARMS_KEPT: Final = 500
LEAST: Final = 0.01
MOST: Final = 0.99
FEATURES: Final = 6


class Arm(msgspec.Struct):
    """What is known of one rule: the normal equations, row by row."""

    a: list[float] = msgspec.field(default_factory=lambda: [0.0] * (FEATURES * FEATURES))
    b: list[float] = msgspec.field(default_factory=lambda: [0.0] * FEATURES)
    count: Count = 0


class Learned(msgspec.Struct):
    """The arms by rule. The struct is a part of the snapshot."""

    arms: dict[str, Arm] = msgspec.field(default_factory=dict)

    def expect(self, rule: str, prior: float, context: Mapping[str, float]) -> float:
        """How probably a rule's action helps, 0.01..0.99."""
        arm = self.arms.get(rule)
        if arm is None:
            return _clip(prior)
        a = np.array(arm.a).reshape(FEATURES, FEATURES) + RIDGE * np.eye(FEATURES)
        missed = float(_features(context) @ np.linalg.solve(a, np.array(arm.b)))
        return _clip(prior + missed)

    def learn(self, rule: str, prior: float, context: Mapping[str, float], helped: bool) -> None:
        """Take an outcome."""
        arm, x = self.arms.get(rule, Arm()), _features(context)
        a = FADE * np.array(arm.a).reshape(FEATURES, FEATURES) + np.outer(x, x)
        b = FADE * np.array(arm.b) + x * (float(helped) - _clip(prior))
        keep(self.arms, rule, Arm(a.ravel().tolist(), b.tolist(), arm.count + 1), ARMS_KEPT)


def _features(context: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """1 and what the circumstances are, each from 0 to 1 (load: from -1 to 2), whatever a record claims."""
    return np.array([
        1.0, _share(context, "busy", 0.0), min(max(context.get("load", 1.0), 0.0), 3.0) - 1.0,
        1.0 - _share(context, "budget", 1.0), _share(context, "urgency", 0.5), _share(context, "attempt", 0.0),
    ])  # fmt: skip


def _share(context: Mapping[str, float], name: str, otherwise: float) -> float:
    return min(max(context.get(name, otherwise), 0.0), 1.0)


def _clip(p: float) -> float:
    return min(max(p, LEAST), MOST)
