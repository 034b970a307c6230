"""Series of an entity that measure one thing count once: learned from which way they step.

Of each series the signs of its last 48 steps are kept. Two that step together, or against each other, in nearly all of
them, and again 64 samples later, measure one thing: a disk's reads and its bytes read, the share used and the share
free. A series that steps one way only says nothing. The first of a group stands for it, with what is largest in it.

A group is known by a mark that its series share, the signs of one of them when it was found: so it does not matter
which numbers series have.

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

    GROUP of a series is the mark of its group; below 0 where one look alone says so; 0: it stands alone.
    """
    count, grouped = 0, 0.0
    for at in range(len(series)):
        tile, place = tiles[int(series[at]) >> SHIFT], int(series[at]) & (TILE - 1)
        bits, before, found, mark = int(tile[SIGNS, place]), tile[GROUP, place], -1, 0
        if lively(bits):
            mark = int(before) if before > 0.0 else bits
            for other in range(min(count, NEAREST)):
                apart = _ones(bits ^ firsts[2 * other])
                if apart <= ALIKE or apart >= KEPT - ALIKE:
                    found = firsts[2 * other + 1]
                    break
                if firsts[2 * other + 1] == mark:
                    mark = bits  # it has left the group of that one
        if found > 0:
            tile[GROUP, place] = found if abs(before) == found else -found
            grouped += 1.0 if tile[GROUP, place] > 0.0 else 0.0
            continue
        tile[GROUP, place] = mark  # others may join it
        if mark > 0:
            slot = count % NEAREST
            firsts[2 * slot], firsts[2 * slot + 1] = bits, mark
            count += 1
    entity[GROUPED] = grouped


@inlined
def merge(tiles: Float64, series: Int32, off: Float64, firsts: Int64) -> None:
    """Let the largest of each group stand where the first of it in the sample does, and the others not count.

    off: (k,) of a sample, 0 where nothing is said, changed in place; firsts: (2 * NEAREST,) scratch.
    """
    count = 0
    for at in range(len(series)):
        mark = int(tiles[int(series[at]) >> SHIFT, GROUP, int(series[at]) & (TILE - 1)])
        if mark > 0:
            found = -1
            for other in range(min(count, NEAREST)):
                if firsts[2 * other] == mark:
                    found = firsts[2 * other + 1]
                    break
            if found >= 0:
                off[found], off[at] = max(off[found], off[at]), 0.0
            else:
                slot = count % NEAREST
                firsts[2 * slot], firsts[2 * slot + 1] = mark, at
                count += 1
