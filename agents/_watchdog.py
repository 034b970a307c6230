"""A worker that takes nothing although there is something must not keep its partitions from others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException

from agents._snapshots import Place, replay


class Stuck(Exception):
    """There is something to read on a partition of this worker, and nothing was taken for a while."""


class Watchdog:
    """Tells partitions of which nothing is taken although there is something from those with nothing to read.

    limit_s: how long that may last. Half of it passes before the broker is asked, the other half after its answer, in
    which what had come just then is taken.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._still: dict[Place, tuple[int, float]] = {}  # the next offset to take, and since when
        self._waits: set[Place] = set()

    def late(self, clock: float, places: Mapping[Place, int]) -> dict[Place, int]:
        """Of the next offsets to take, those that have not moved for half of the limit; again after as long.

        Raises:
            Stuck: a record waited at one of them all the while.
        """
        still: dict[Place, tuple[int, float]] = {}
        for place, offset in places.items():
            was, since = self._still.get(place, (offset, clock))
            still[place] = offset, since if was == offset else clock
            if was != offset:
                self._waits.discard(place)
        self._still = still
        self._waits &= still.keys()
        late = {place: offset for place, (offset, since) in still.items() if clock - since >= self.limit_s / 2}
        for topic, number in self._waits & late.keys():
            raise Stuck(
                f"something waits from {late[topic, number]} of {topic}-{number} on, and nothing of it was taken for "
                f"{self.limit_s:g} s: it is left to others"
            )
        still |= {place: (offset, clock) for place, offset in late.items()}
        return late

    def waits(self, clock: float, place: Place, offset: int) -> None:
        """A record was found that is to be read from `offset` on."""
        if place in self._still and self._still[place][0] == offset:
            self._still[place] = offset, clock
            self._waits.add(place)


def behind(late: Mapping[Place, int], ends: Mapping[Place, tuple[int, int]]) -> dict[Place, int]:
    """Where to look for records. ends: of each place the first offset that can be read, and the next to be written."""
    first = {place: max(offset, ends[place][0]) for place, offset in late.items()}
    return {place: offset for place, offset in first.items() if offset < ends[place][1]}


def waiting(config: Mapping[str, Any], places: Mapping[Place, int]) -> Place | None:
    """One of the places at which a record can be read; blocks.

    An end beyond the next offset does not say that there is one: transactions end with a mark, and what is compacted
    or aborted leaves a gap. A broker that does not answer has nothing to read.
    """
    try:
        for raw in replay(config, places):
            return raw.topic, raw.partition
    except KafkaException:
        return None
    return None
