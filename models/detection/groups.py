"""Series of an entity that measure one thing count once: learned from which way they step.

Of each series the signs of its last 48 steps are kept. Two that step together, or against each other, in nearly all of
them, and again 64 samples later, measure one thing: a disk's reads and its bytes read, the share used and the share
free. A series that steps one way only says nothing. The first of a group stands for it, with what is largest in it.

Source: sign sketches, whose distance is the angle between two series (Charikar 2002).
"""

from __future__ import annotations

from typing import Final

from models.detection.columns import GROUP, GROUPED, SHIFT, SIGNS, TILE
from topics.batch import Float64, Int32, Int64
from topics.kernel import inlined, kernel

KEPT: Final = 48  # signs
EVERY: Final = 63  # bits of the number of a sample that are 0 where it is looked who goes together
ALIKE: Final = 7  # of so many signs at most are those of two that measure one thing different, or the same
LIVELY: Final = 12  # least number of steps up, and of others
NEAREST: Final = 64  # of the groups found so far so many are looked at: those of names that stand near


@inlined
def _ones(bits: int) -> int:
    """How many bits of 48 are set."""
    bits -= (bits >> 1) & 0x555555555555
    bits = (bits & 0x333333333333) + ((bits >> 2) & 0x333333333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F0F0F
    bits += bits >> 8
    bits += bits >> 16
    return (bits + (bits >> 32)) & 0xFF


@inlined
def lively(bits: int) -> bool:
    """Whether steps went up as well as not, by their signs."""
    ones = _ones(bits)
    return LIVELY <= ones <= KEPT - LIVELY


@kernel
def find(tiles: Float64, series: Int32, entity: Float64, firsts: Int64) -> None:
    """Look which series of a sample go together; what two looks agree on holds. firsts: (2 * NEAREST,) scratch.

    GROUP of a series is 1 + the first of its group; below 0 where one look alone says so; 0: it stands alone.
    """
    count, grouped = 0, 0.0
    for at in range(len(series)):
        number = int(series[at])
        tile, place = tiles[number >> SHIFT], number & (TILE - 1)
        bits, found = int(tile[SIGNS, place]), 0.0
        if lively(bits):
            for other in range(min(count, NEAREST)):
                apart = _ones(bits ^ firsts[2 * other])
                if apart <= ALIKE or apart >= KEPT - ALIKE:
                    found = 1.0 + firsts[2 * other + 1]
                    break
            if found == 0.0:
                slot = count % NEAREST
                firsts[2 * slot], firsts[2 * slot + 1] = bits, number
                count += 1
        before = tile[GROUP, place]
        if found > 0.0:
            tile[GROUP, place] = found if abs(before) == found else -found
        else:
            tile[GROUP, place] = -before if before > 0.0 else 0.0
        grouped += 1.0 if tile[GROUP, place] > 0.0 else 0.0
    entity[GROUPED] = grouped


@inlined
def merge(tiles: Float64, series: Int32, off: Float64, held: Float64) -> None:
    """Let the largest of each group stand where the first of it in the sample does, and the others not count.

    off: (k,) of a sample, 0 where nothing is said, changed in place; held: by series, all 0 before and after.
    """
    for at in range(len(series)):
        number = int(series[at])
        first = _first(tiles, number)
        held[first] = max(held[first], off[at])
    for at in range(len(series)):
        first = _first(tiles, int(series[at]))
        off[at], held[first] = held[first], 0.0


@inlined
def _first(tiles: Float64, number: int) -> int:
    """The series that stands for the group of a series: itself, if it has none."""
    group = tiles[number >> SHIFT, GROUP, number & (TILE - 1)]
    return int(group) - 1 if group > 0.0 else number
