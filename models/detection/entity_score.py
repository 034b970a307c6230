"""How far an entity is off: by its strongest series, by half of them, and by a few.

Two paths lead to an alarm. The broad one is the geometric mean of how far off the larger half of the live series is:
what shakes a whole machine. The narrow one is that of the three that are farthest off: what hits a few, however
briefly. What ranks samples is how strong the strongest eight are, the strongest three, and the broad one, together.

The larger half is found by counting: four classes for each doubling, each taken at its middle. Sixteen entities stand
side by side for the strongest eight, so that the compiler takes them at once; a few are taken one by one. Both find the
same numbers and sum them in the same order.
"""

from __future__ import annotations

import math
from typing import Final

from models.detection.columns import MOST
from models.detection.config import DetectorConfig
from topics.batch import Float64, Int32, Int64
from topics.kernel import inlined, kernel

WIDE: Final = 16  # entities that are taken together
FEW: Final = 4  # below which they are not: most of the places would be empty
DEEP: Final = 64  # series from which an entity is taken alone
STRONGEST: Final = 3  # series that make up the narrow path
CAP: Final = 101.0  # largest that counts, as 1 + how far off
CLASSES: Final = 28  # of sizes: four for each doubling up to CAP
FIRST_CLASS: Final = 4 * 1023  # bits of 1.0, without all but the first two of its fraction
FRACTION: Final = 50  # bits below those two
MIDDLES: Final = tuple(math.log(2.0 ** (at // 4) * (1.125 + 0.25 * (at % 4))) for at in range(CLASSES))

# rows of `work`, each `WIDE` long: the largest |z| so far, their sum and product; then |z| by series; then the classes
TOTAL, PRODUCT, PRODUCT_3, SIZES = MOST * WIDE, (MOST + 1) * WIDE, (MOST + 2) * WIDE, (MOST + 3) * WIDE
WORK: Final = SIZES + DEEP * WIDE


@inlined
def strongest(z: Float64, start: Int32, found: Float64, work: Float64, config: DetectorConfig) -> None:
    """Log of the strength of the values start[i]:start[i + 1] of `z` into `found` (m,); `work` (WORK,) is scratch."""
    first, end = 0, len(start) - 1
    while first < end:
        many = min(WIDE, end - first)
        deepest = 0
        for at in range(first, first + many):
            deepest = max(deepest, start[at + 1] - start[at])
        if many < FEW or deepest > DEEP:
            for at in range(first, first + many):
                _one(z[start[at] : start[at + 1]], work, config)
                found[at] = _strength(start[at + 1] - start[at], work[TOTAL], work[PRODUCT], work[PRODUCT_3], config)
        else:
            _together(z, start[first : first + many + 1], deepest, work, config)
            for at in range(first, first + many):
                place = at - first
                found[at] = _strength(
                    start[at + 1] - start[at], work[TOTAL + place], work[PRODUCT + place], work[PRODUCT_3 + place],
                    config,
                )  # fmt: skip
        first += many


@inlined
def _most(count: int) -> int:
    """How many of an entity's series count: half of them."""
    return min(MOST, (count + 1) // 2)


@inlined
def _strength(count: int, total: float, product: float, three: float, config: DetectorConfig) -> float:
    """Log of the geometric mean of the largest |z|, or of a share of their plain mean; and of that of three."""
    most = _most(count)
    common = max(math.log(product) / most, math.log(1.0 + config.strong * total / most))
    return float(common + math.log(three) / min(count, STRONGEST))


@inlined
def broad_and_narrow(off: Float64, bits: Int64, classes: Int64, middles: Float64) -> tuple[float, float, float]:
    """The logs of both paths' scores of a sample, and how far off the farthest series is.

    off: (k,) 1 + how far off, 0 where a series does not count; bits: the same memory, as whole numbers; classes:
    (CLASSES,) all 0 before and after.
    """
    live, farthest, t0, t1, t2 = 0, 1.0, 1.0, 1.0, 1.0
    for at in range(len(off)):
        size = off[at]
        if size > 0.0:
            live += 1
            farthest = max(farthest, size)
            capped = min(size, CAP)
            t2 = max(t2, min(t1, capped))
            t1 = max(t1, min(t0, capped))
            t0 = max(t0, capped)
            classes[min((bits[at] >> FRACTION) - FIRST_CLASS, CLASSES - 1)] += 1
    if live == 0:
        return 0.0, 0.0, 0.0
    many = (live + 1) // 2
    left, total = many, 0.0
    for at in range(CLASSES - 1, -1, -1):
        taken = min(left, classes[at])
        total += taken * middles[at]
        left -= taken
        classes[at] = 0
    return total / many, math.log(t0 * t1 * t2) / min(live, STRONGEST), farthest - 1.0


@kernel
def _one(z: Float64, work: Float64, config: DetectorConfig) -> None:
    """Sum and products of the largest |z| of one entity."""
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
    work[TOTAL], work[PRODUCT], work[PRODUCT_3] = total, product, (1.0 + t0) * (1.0 + t1) * (1.0 + t2)


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
        work[PRODUCT_3 + at] = (1.0 + work[at]) * (1.0 + work[WIDE + at]) * (1.0 + work[2 * WIDE + at])


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
