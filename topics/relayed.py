"""Which message of another topic a record was made of, so that what is said again is known to be.

A source is a partition of one topic, and what follows from it is written in its order and without a gap, by whatever
worker; a new owner begins at or before where the one of before ended. Then everything up to the furthest place that was
seen has been seen, and one place of each source is enough to refuse every repeat.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from topics.spec import integer

HEADER: Final = "opsloop_relayed"
MOST_SOURCES: Final = 20_000  # that a reader remembers; the one that it has not heard of for longest is forgotten

Place = tuple[int, int]  # offset of the message, number of the record that follows from it
Seen = dict[str, Place]  # by source, the furthest


def stamp(source: str, offset: int, number: int) -> tuple[str, bytes]:
    """The header of a record: the `number`-th that follows from the message at `offset` of `source`."""
    return HEADER, f"{source}/{offset}/{number}".encode()


def is_repeat(seen: Seen, headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether a record with these headers was seen before; if not, it is from now on. One without a stamp never is."""
    said = next((value for name, value in headers if name == HEADER), None) or b""
    parts = said.decode(errors="replace").rsplit("/", 2)
    offset, number = (integer(part) for part in parts[1:]) if len(parts) == 3 else (None, None)
    if offset is None or number is None:
        return False
    source, place = parts[0], (offset, number)
    last = seen.pop(source, None)
    seen[source] = place if last is None else max(last, place)
    if len(seen) > MOST_SOURCES:
        del seen[next(iter(seen))]
    return last is not None and place <= last
