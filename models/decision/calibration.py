"""Calibration: a confidence of 0.9 is to be right nine times out of ten, also after the world has changed.

Platt's sigmoid over the log odds, fitted online: one Newton step an outcome by recursive least squares with forgetting
(Platt 1999; the recursion is the extended Kalman filter of logistic regression). It begins as the identity.
"""

from __future__ import annotations

import math
from typing import Final

from models.keyed import KeyedState
from topics.spec import Count

FORGET: Final = 0.998
BEGIN: Final = (0.05, 0.0, 0.02)  # how unsure it is at first of its shift and slope: worth some dozens of outcomes
UNSURE_MOST: Final = 1.0  # without excitement forgetting would make it infinitely unsure
EDGE: Final = 0.005
SLOPES: Final = (0.05, 5.0)


class Platt(KeyedState):
    """p = sigmoid(shift + slope · log odds). A part of a state."""

    shift: float = 0.0
    slope: float = 1.0
    cov: tuple[float, float, float] = BEGIN  # of (shift, slope): both variances around the covariance
    count: Count = 0

    def __call__(self, raw: float) -> float:
        """The calibrated confidence, 0.005..0.995; the same as `raw` (in these bounds) until something was learned."""
        if not self.count:
            return min(max(raw, EDGE), 1.0 - EDGE)
        return min(max(_sigmoid(self.shift + self.slope * _odds(raw)), EDGE), 1.0 - EDGE)

    def learn(self, raw: float, helped: bool) -> None:
        """Take an outcome of a decision that was made with `raw`."""
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
