"""The header that says which message of another topic a record was made of, to drop repeats.

A source is one partition of a topic. Its records are written in its order and without a gap; a new owner begins at or
before the place where the last one ended. So everything up to the furthest place that a reader has seen is a repeat,
and the reader keeps one place for each source.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from topics.spec import integer

HEADER: Final = "opsloop_relayed"
MOST_SOURCES: Final = 20_000  # that a reader remembers; the one that was silent for longest is dropped

Place = tuple[int, int]  # offset of the message, number of the record that follows from it
Seen = dict[str, Place]  # by source, the furthest


def stamp(source: str, offset: int, number: int) -> tuple[str, bytes]:
    """The header of the `number`-th record that was made of the message at `offset` of `source`."""
    return HEADER, f"{source}/{offset}/{number}".encode()


def is_repeat(seen: Seen, headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether a record with these headers was seen before; updates `seen`. False for one without the header."""
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
