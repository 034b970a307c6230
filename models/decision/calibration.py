"""Calibration: adjusts confidences so that of actions with confidence 0.9, nine in ten help.

Platt's sigmoid over the log odds, fitted online: one Newton step per outcome by recursive least squares with
forgetting (Platt 1999; the recursion is the extended Kalman filter of logistic regression). It starts as the identity.
"""

from __future__ import annotations

import math
from typing import Final

from models.keyed import KeyedState
from topics.spec import Count

FORGET: Final = 0.998
BEGIN: Final = (0.05, 0.0, 0.02)  # initial covariance of shift and slope: weighs as much as some dozens of outcomes
UNSURE_MOST: Final = 1.0  # upper bound: without varied inputs, forgetting would let the covariance grow without limit
EDGE: Final = 0.005
SLOPES: Final = (0.05, 5.0)


class Platt(KeyedState):
    """Online Platt scaling: p = sigmoid(shift + slope · log odds). Part of an agent's state."""

    shift: float = 0.0
    slope: float = 1.0
    cov: tuple[float, float, float] = BEGIN  # of (shift, slope): variance, covariance, variance
    count: Count = 0

    def __call__(self, raw: float) -> float:
        """Return the calibrated confidence, 0.005..0.995. Before the first outcome it is `raw`, clipped."""
        if not self.count:
            return min(max(raw, EDGE), 1.0 - EDGE)
        return min(max(_sigmoid(self.shift + self.slope * _odds(raw)), EDGE), 1.0 - EDGE)

    def learn(self, raw: float, helped: bool) -> None:
        """Learn from an outcome of a decision whose confidence before calibration was `raw`."""
        x, (a, b, c) = _odds(raw), self.cov
        p = _sigmoid(self.shift + self.slope * x)
        v = max(p * (1.0 - p), 1e-3)
        g0, g1 = a + b * x, b + c * x  # cov · (1, x)
        gain = v / (FORGET + v * (g0 + g1 * x))
        grown = FORGET if (a + c) < UNSURE_MOST else 1.0
        self.cov = ((a - gain * g0 * g0) / grown, (b - gain * g0 * g1) / grown, (c - gain * g1 * g1) / grown)
        step = (float(helped) - p) * gain / v
        self.shift += step * g0
        self.slope = min(max(self.slope + step * g1, SLOPES[0]), SLOPES[1])
        self.count += 1


def _odds(p: float) -> float:
    p = min(max(p, EDGE), 1.0 - EDGE)
    return math.log(p / (1.0 - p))


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -30 else math.exp(x)
