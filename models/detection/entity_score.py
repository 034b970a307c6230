"""How broadly or strongly an entity is off: over the largest |z| of its series.

Sixteen entities side by side, so that the compiler takes them at once; a few are taken one by one. Both find the same
numbers and sum them in the same order.
"""

from __future__ import annotations

import math
from typing import Final

from models.detection.columns import MOST
from models.detection.config import DetectorConfig
from topics.batch import Float64, Int32
from topics.kernel import inlined, kernel

WIDE: Final = 16  # entities that are taken together
FEW: Final = 4  # below which they are not: most of the places would be empty
DEEP: Final = 64  # series from which an entity is taken alone

# rows of `work`, each `WIDE` long: the largest |z| so far, their sum and product; then |z| by series
TOTAL, PRODUCT, SIZES = MOST * WIDE, (MOST + 1) * WIDE, (MOST + 2) * WIDE
WORK: Final = SIZES + DEEP * WIDE


@inlined
def common_or_strong(z: Float64, start: Int32, single: Float64, work: Float64, config: DetectorConfig) -> None:
    """Raise `single` (m,) to the score of the values start[i]:start[i + 1] of `z`; `work` (WORK,) is scratch."""
    first, end = 0, len(start) - 1
    while first < end:
        many = min(WIDE, end - first)
        deepest = 0
        for at in range(first, first + many):
            deepest = max(deepest, start[at + 1] - start[at])
        if many < FEW or deepest > DEEP:
            for at in range(first, first + many):
                _one(z[start[at] : start[at + 1]], work, config)
                single[at] = max(single[at], _score(start[at + 1] - start[at], work[TOTAL], work[PRODUCT], config))
        else:
            _together(z, start[first : first + many + 1], deepest, work, config)
            for at in range(first, first + many):
                total, product = work[TOTAL + at - first], work[PRODUCT + at - first]
                single[at] = max(single[at], _score(start[at + 1] - start[at], total, product, config))
        first += many


@inlined
def _most(count: int) -> int:
    """How many of an entity's series count: half of them."""
    return min(MOST, (count + 1) // 2)


@inlined
def _score(count: int, total: float, product: float, config: DetectorConfig) -> float:
    """The geometric mean of the largest |z|, or a share of their plain mean."""
    most = _most(count)
    return float(max(math.exp(math.log(product) / most) - 1.0, config.strong * total / most))


@kernel
def _one(z: Float64, work: Float64, config: DetectorConfig) -> None:
    """Sum and product of the largest |z| of one entity."""
    t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = 0.0
    for point in range(len(z)):  # each sinks to its place without a branch, and the places are in registers
        size = min(abs(z[point]), config.cap)
        t7 = max(t7, min(t6, size))
        t6 = max(t6, min(t5, size))
        t5 = max(t5, min(t4, size))
        t4 = max(t4, min(t3, size))
        t3 = max(t3, min(t2, size))
        t2 = max(t2, min(t1, size))
        t1 = max(t1, min(t0, size))
        t0 = max(t0, size)
    work[0], work[1], work[2], work[3], work[4], work[5], work[6], work[7] = t0, t1, t2, t3, t4, t5, t6, t7
    total, product = 0.0, 1.0
    for place in range(_most(len(z))):
        total += work[place]
        product *= 1.0 + work[place]
    work[TOTAL], work[PRODUCT] = total, product


@inlined
def _together(z: Float64, start: Int32, deepest: int, work: Float64, config: DetectorConfig) -> None:
    """Sums and products of the largest |z| of up to `WIDE` entities."""
    work[: SIZES + deepest * WIDE] = 0.0
    for at in range(len(start) - 1):
        first = start[at]
        for number in range(start[at + 1] - first):
            work[SIZES + number * WIDE + at] = min(abs(z[first + number]), config.cap)
    sizes = work[SIZES:]
    for number in range(deepest):
        _sink(work, sizes[number * WIDE : (number + 1) * WIDE])
    for at in range(WIDE):
        work[PRODUCT + at] = 1.0
    for at in range(len(start) - 1):
        total, product = 0.0, 1.0
        for place in range(_most(start[at + 1] - start[at])):
            total += work[place * WIDE + at]
            product *= 1.0 + work[place * WIDE + at]
        work[TOTAL + at], work[PRODUCT + at] = total, product


@inlined
def _sink(top: Float64, size: Float64) -> None:
    """Let a |z| of each of the entities sink to its place among their largest."""
    for at in range(WIDE):
        t0, t1, t2, t3 = top[at], top[WIDE + at], top[2 * WIDE + at], top[3 * WIDE + at]
        t4, t5, t6, t7 = top[4 * WIDE + at], top[5 * WIDE + at], top[6 * WIDE + at], top[7 * WIDE + at]
        top[at], top[WIDE + at] = max(t0, size[at]), max(t1, min(t0, size[at]))
        top[2 * WIDE + at], top[3 * WIDE + at] = max(t2, min(t1, size[at])), max(t3, min(t2, size[at]))
        top[4 * WIDE + at], top[5 * WIDE + at] = max(t4, min(t3, size[at])), max(t5, min(t4, size[at]))
        top[6 * WIDE + at], top[7 * WIDE + at] = max(t6, min(t5, size[at])), max(t7, min(t6, size[at]))
