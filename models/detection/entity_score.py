"""How far an entity is off: by half of its series, by a few, and what ranks its samples.

Two paths lead to an alarm. The broad one is the geometric mean of how far off the larger half of the live series is:
what shakes a whole machine. The narrow one is that of the three that are farthest off: what hits a few, however
briefly. What ranks samples is the broad path, how strong the second and the third strongest are, and how strong all
are, together.

The larger half is found by counting: four classes for each doubling, each taken at its middle.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from models.detection.config import DetectorConfig
from topics.batch import Float64, Int64
from topics.kernel import PLACE, inlined

STRONGEST: Final = 3  # series that make up the narrow path
CAP: Final = 101.0  # largest that counts, as 1 + how far off
PARTS: Final = 1024.0  # of a spread: whole numbers have the same sum in any order
CLASSES: Final = 28  # of sizes: four for each doubling up to CAP
FIRST_CLASS: Final = 4 * 1023  # bits of 1.0, without all but the first two of its fraction
FRACTION: Final = 50  # bits below those two
MIDDLES: Final = tuple(math.log(2.0 ** (at // 4) * (1.125 + 0.25 * (at % 4))) for at in range(CLASSES))


class EntityScore(NamedTuple):
    """How far an entity is off in one sample: logs of 1 + that on both paths."""

    broad: float
    narrow: float
    strength: float  # of the strongest and of all: with the broad path it ranks samples
    farthest: float  # spreads that the farthest series is off, not its log


@inlined
def entity_score(
    z: Float64, off: Float64, bits: Int64, classes: tuple[Int64, Float64], config: DetectorConfig
) -> EntityScore:
    """The scores of a sample.

    z: (k,) of its series; off: (k,) 1 + how far off, 0 where a series does not count; bits: the same memory, as whole
    numbers; classes: (CLASSES,) all 0 before and after, and the logs of their middles.
    """
    counts, middles = classes
    live, highest, farthest, strength = 0, 0, 1.0, 0
    t0 = t1 = t2 = s0 = s1 = s2 = 1.0
    for at in range(len(off)):
        size, strong = off[at], 1.0 + min(abs(z[at]), config.cap)
        strength += int(PARTS * strong)
        s2 = max(s2, min(s1, strong))
        s1 = max(s1, min(s0, strong))
        s0 = max(s0, strong)
        if size > 0.0:
            live += 1
            farthest = max(farthest, size)
            capped = min(size, CAP)
            t2 = max(t2, min(t1, capped))
            t1 = max(t1, min(t0, capped))
            t0 = max(t0, capped)
            of_size = min((bits[at] >> FRACTION) - FIRST_CLASS, CLASSES - 1) & PLACE
            counts[of_size] += 1
            highest = max(highest, of_size)
    if live == 0:
        return EntityScore(0.0, 0.0, 0.0, 0.0)
    many = (live + 1) // 2
    left, total, of_size = many, 0.0, highest
    while left > 0:
        taken = min(left, counts[of_size & PLACE])
        total += taken * middles[of_size & PLACE]
        left -= taken
        of_size -= 1
    for of_size in range(CLASSES):
        counts[of_size] = 0
    broad, few = total / many, min(live, STRONGEST)
    strong = math.sqrt(s1 * s2) * max(strength / (PARTS * live), 1.0)
    return EntityScore(broad, math.log(t0 * t1 * t2) / few, strong, farthest - 1.0)
