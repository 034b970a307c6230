"""JSON samples whose text is known but for its numbers: read by comparing bytes, without making an object of any.

A sender writes the same text again and again, with other numbers in it. What lies between the numbers is kept with the
series that the numbers are of. A number is exact: below 2^53 with at most 22 places it is one product or quotient of
two exact doubles (Clinger 1990); any other is left to `float`. A text that is not known is read by others, and learned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topics.batch import Float64, Int32, Int64
from topics.kernel import PLACE, inlined, kernel

Bytes = NDArray[np.uint8]

# columns of a known text: where its pieces begin, where their lengths do, where its series do; its numbers; which of
# them is the stamp; its entity, or -1 when that is forgotten; 1 + the text that came after it last, since senders write
# in turn; the hour in which it came last
PIECES, LENGTHS, OWN, NUMBERS, STAMP, ENTITY, NEXT, SEEN = range(8)
FIELDS: Final = 8

HOUR, DUE = 0, 1  # of a clock: the hour of the partition, and the event time (ms) from which it is the next one

LONGEST: Final = 65_536  # bytes of a text that is kept
MOST_BYTES: Final = 64_000_000  # of all of them: then they are forgotten
WASTE: Final = 1_000_000  # bytes of forgotten texts that are kept at least, and half of all at most
PROBES: Final = 32  # texts that begin alike
DIGITS: Final = 18  # that are sure to fit an int64
EXACT: Final = 1 << 53
FARTHEST: Final = 22  # 10^22 is the last power of ten that is a double
POWERS: Final = np.array([float(10**power) for power in range(FARTHEST + 1)])
WILD: Final = 250  # neither digits nor exponent beyond: such a number may be none that is finite
LARGE: Final = 100  # digits before the point: what has more may be too large to be taken

WORD: Final = 32  # bytes that are compared at once
NEVER: Final = 1 << 62  # a stamp that no sample has

QUOTE, COLON, SPACE, MINUS, PLUS, POINT, NINE, ZERO, V = 34, 58, 32, 45, 43, 46, 57, 48, 118
TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?')


class Known(NamedTuple):
    """The texts, as arrays."""

    slots: Int32  # (a power of two,) 1 + the number of a text, by the hash of its beginning; 0: none
    texts: Int64  # (n, FIELDS)
    pieces: Bytes
    lengths: Int32
    series: Int32
    before: Bytes  # (2 * WORD,) ones, then zeros: from the n-th on WORD - n bytes that count


class Found(NamedTuple):
    """What was read, in the order of the messages."""

    entity: Int32
    ts: Int64
    many: Int32  # values of a sample
    series: Int32
    value: Float64
    exact: Int64  # (k, 3) values that `float` is to read: which, from, to
    total: Int64  # (3,) samples, values, values left to `float`
    clock: Int64  # (2,) HOUR, DUE: a sample at DUE or later is left to others
    seen: Int32  # by series: the hour in which it came last, written here


@inlined
def _digit(text: Bytes, at: int, end: int) -> bool:
    return at < end and text[at & PLACE] >= ZERO and text[at & PLACE] <= NINE


@kernel
def begin(text: Bytes, first: int, end: int) -> int:
    """The hash of a message up to its first number but that of its version; -1 when there is none."""
    found = 2166136261
    for at in range(first, min(end, first + 1024)):
        found = ((found ^ int(text[at])) * 16777619) & 0xFFFFFFFF
        if text[at] == COLON and at > first + 3 and text[at - 1] == QUOTE and at + 2 < end:
            after = at + 2 if text[at + 1] == SPACE else at + 1
            if (text[after] == MINUS or _digit(text, after, end)) and not (text[at - 2] == V and text[at - 3] == QUOTE):
                return found ^ (found >> 15)
    return -1


@inlined
def _number(text: Bytes, at: int, end: int) -> tuple[int, int, int, int]:
    """Where a number ends (-1: it is none), its digits as an integer, its power of ten, and how many digits it has."""
    first, whole, power = at, 0, 0
    while _digit(text, at, end):
        whole = whole * 10 + int(text[at & PLACE]) - ZERO if at - first < DIGITS else whole
        at += 1
    digits = at - first
    if digits == 0 or (digits > 1 and text[first] == ZERO):
        return -1, 0, 0, 0
    if at < end and text[at] == POINT:
        at += 1
        point = at
        while _digit(text, at, end):
            whole = whole * 10 + int(text[at & PLACE]) - ZERO if digits < DIGITS else whole
            at, digits, power = at + 1, digits + 1, power - 1
        if at == point:
            return -1, 0, 0, 0
    if at < end and (text[at] == 69 or text[at] == 101):
        at += 1
        down = at < end and text[at] == MINUS
        if at < end and (text[at] == MINUS or text[at] == PLUS):
            at += 1
        point, raised = at, 0
        while _digit(text, at, end):
            raised = min(raised * 10 + int(text[at]) - ZERO, 10_000)
            at += 1
        if at == point:
            return -1, 0, 0, 0
        power += -raised if down else raised
    return at, whole, power, digits


@inlined
def _value(text: Bytes, at: int, end: int, place: int, found: Found) -> int:
    """Read value `place`: where its text ends, or -1."""
    minus = at < end and text[at] == MINUS
    after, whole, power, digits = _number(text, at + 1 if minus else at, end)
    if after < 0 or (minus and whole == 0) or place >= len(found.value):
        return -1
    if digits > WILD or abs(power) > WILD or digits + power > LARGE:
        return -1
    if digits > DIGITS or whole > EXACT or abs(power) > FARTHEST:
        hard = found.total[2]
        if hard >= len(found.exact):
            return -1
        found.exact[hard, 0], found.exact[hard, 1], found.exact[hard, 2] = place, at, after
        found.total[2] += 1
        return after
    value = whole / POWERS[-power] if power < 0 else whole * POWERS[power]
    found.value[place] = -value if minus else value
    return after


@inlined
def _stamp(text: Bytes, at: int, end: int, sample: int, found: Found) -> int:
    """Read the stamp of a sample, an integer before DUE: where its text ends, or -1."""
    after, whole, power, digits = _number(text, at, end)
    if after < 0 or power != 0 or digits > DIGITS or after - at != digits:
        return -1
    found.ts[sample] = whole
    return after if whole < found.clock[DUE] else -1


@inlined
def _same(text: Bytes, at: int, known: Known, piece: int, length: int) -> bool:
    """Whether a piece stands at `at`, `WORD` bytes at a time: behind both is more, of no matter."""
    other, word = 0, (len(known.before) // 2) & (2 * WORD - 1)  # if it knew, the compiler would take them one by one
    for done in range(0, length, WORD):
        a, b, c = (at + done) & PLACE, (piece + done) & PLACE, max(WORD - (length - done), 0) & PLACE
        for i in range(word):
            other |= (text[a + i] ^ known.pieces[b + i]) & known.before[c + i]
    return other == 0


@inlined
def _like(text: Bytes, at: int, end: int, known: Known, number: int, found: Found) -> bool:
    """Read a message as one of text `number`, if it is."""
    row, sample, place = known.texts[number], found.total[0], found.total[1]
    piece, hard = row[PIECES], found.total[2]
    if row[ENTITY] < 0:
        return False
    for nth in range(row[NUMBERS] + 1):
        length = int(known.lengths[row[LENGTHS] + nth])
        if at + length > end:
            break
        if not _same(text, at, known, piece, length):
            break
        at, piece = at + length, piece + length
        if nth == row[NUMBERS]:
            if at != end:
                break
            count = row[NUMBERS] - 1
            found.entity[sample], found.many[sample] = row[ENTITY], count
            for i in range(count):
                found.series[found.total[1] + i] = known.series[row[OWN] + i]
            if row[SEEN] != found.clock[HOUR]:
                row[SEEN] = found.clock[HOUR]
                for i in range(count):
                    found.seen[known.series[row[OWN] + i]] = row[SEEN]
            found.total[0] += 1
            found.total[1] += count
            return True
        if nth == row[STAMP]:
            at = _stamp(text, at, end, sample, found)
        else:
            at = _value(text, at, end, place, found)
            place += 1
        if at < 0:
            break
    found.total[2] = hard
    return False


@inlined
def _known(text: Bytes, low: int, high: int, known: Known, last: int, found: Found) -> int:
    """Read a message by the text that came after `last` before, or by its hash: which text, -1 if it is of none."""
    number, probe, place = known.texts[last, NEXT] - 1 if last >= 0 else -1, 0, -1
    while probe < PROBES and found.total[0] < len(found.ts):
        if number >= 0:
            if found.total[1] + known.texts[number, NUMBERS] > len(found.value):
                break
            if _like(text, low, high, known, number, found):
                return number
        elif place >= 0:
            break
        if place < 0:
            place = begin(text, low, high)
            if place < 0:
                break
        number = known.slots[(place + probe) & (len(known.slots) - 1)] - 1
        probe += 1
    return -1


@kernel
def read(text: Bytes, ends: Int64, first: int, known: Known, found: Found) -> int:
    """Read messages from `first` on, up to one whose text is not known: which one that is.

    text: all messages, one after the other; ends (m,): where each ends.
    """
    last = -1
    for message in range(first, len(ends)):
        low, high = ends[message - 1] if message else 0, ends[message]
        number = _known(text, low, high, known, last, found)
        if number < 0:
            return message
        if last >= 0:
            known.texts[last, NEXT] = number + 1
        last = number
    return len(ends)


class Texts:
    """The texts of a partition's messages, and room for what is read of them."""

    def __init__(self) -> None:
        self.clear()
        self.found = _room(0, 0)

    def clear(self) -> None:
        """Forget everything."""
        self.known = Known(
            np.zeros(1024, np.int32), np.zeros((256, FIELDS), np.int64), np.zeros(65_536, np.uint8),
            np.zeros(4_096, np.int32), np.zeros(4_096, np.int32), np.repeat(np.array([255, 0], np.uint8), WORD),
        )  # fmt: skip
        self.hashes: list[int] = []
        self.used = [0, 0, 0]  # of pieces, lengths, series
        self.wasted = 0  # texts that are forgotten

    def forget(self, entities: Iterable[int]) -> None:
        """Forget the texts of some entities; of all, when most of what is kept was forgotten."""
        own = self.known.texts[: len(self.hashes), ENTITY]
        gone = np.isin(own, np.fromiter(entities, np.int64))
        own[gone] = -1
        self.wasted += int(np.count_nonzero(gone))
        if 2 * self.wasted > len(self.hashes) and self.used[0] > WASTE:
            self.clear()

    def read(
        self, text: bytes, ends: Int64, first: int, hour: int = 0, due: int = NEVER, seen: Int32 | None = None
    ) -> tuple[int, Found]:  # fmt: skip
        """Read messages from `first` up to one whose text is not known: which, and what was read of the others.

        text: the messages one after the other, and best `WORD` bytes more, so that it need not be copied. What was read
        is overwritten by the next call. A sample stamped `due` or later counts as one that is not known. seen: by
        series, is set to `hour` where one comes.
        """
        if len(text) < int(ends[-1]) + WORD:
            text += bytes(WORD)
        if len(self.found.ts) < len(ends) or len(self.found.value) < len(text) // 4:
            self.found = _room(2 * len(ends), len(text) // 2)
        self.found.total[:], self.found.clock[:] = 0, (hour, due)
        found = self.found._replace(
            seen=seen if seen is not None else np.zeros(int(self.known.series.max()) + 1, np.int32)
        )
        after = read(np.frombuffer(text, np.uint8), ends, first, self.known, found)
        for place, low, high in self.found.exact[: self.found.total[2]].tolist():
            self.found.value[place] = float(text[low:high])
        return after, self.found

    def learn(self, text: bytes, sample: Mapping[str, Any], entity: int, series: Int32) -> None:
        """Know a message from now on, which is a sound sample of `entity`; nothing comes of one that is unusual."""
        place = begin(np.frombuffer(text, np.uint8), 0, len(text))
        wanted = [key for key in sample if key in ("ts", "v")]
        numbers = [token for token in TOKEN.finditer(text) if not token.group().startswith(b'"')]
        if place < 0 or len(text) > LONGEST or len(numbers) != len(sample["metrics"]) + len(wanted):
            return
        order = [key for key, value in sample.items() for _ in (value if key == "metrics" else range(key in wanted))]
        holes = [(key, token) for key, token in zip(order, numbers, strict=True) if key != "v"]
        edges = [0, *(edge for _, token in holes for edge in token.span()), len(text)]
        pieces = [text[low:high] for low, high in zip(edges[::2], edges[1::2], strict=True)]
        self._add(place, pieces, [key for key, _ in holes].index("ts"), entity, series)

    def _add(self, place: int, pieces: Sequence[bytes], stamp: int, entity: int, series: Int32) -> None:
        if self.used[0] > MOST_BYTES:
            self.clear()
        joined, known, number = b"".join(pieces), self.known, len(self.hashes)
        if 4 * number >= len(known.slots):
            self._spread(2 * len(known.slots))
            known = self.known
        if not _slotted(self.known.slots, place, number):
            return
        self.hashes.append(place)
        known = self.known = known._replace(
            texts=_longer(known.texts, number + 1),
            pieces=_longer(known.pieces, self.used[0] + len(joined) + WORD),
            lengths=_longer(known.lengths, self.used[1] + len(pieces)),
            series=_longer(known.series, self.used[2] + len(series)),
        )
        known.texts[number] = *self.used, len(pieces) - 1, stamp, entity, 0, -1
        known.pieces[self.used[0] : self.used[0] + len(joined)] = np.frombuffer(joined, np.uint8)
        known.lengths[self.used[1] : self.used[1] + len(pieces)] = [len(piece) for piece in pieces]
        known.series[self.used[2] : self.used[2] + len(series)] = series
        self.used = [self.used[0] + len(joined), self.used[1] + len(pieces), self.used[2] + len(series)]

    def _spread(self, slots: int) -> None:
        self.known = self.known._replace(slots=np.zeros(slots, np.int32))
        for number, place in enumerate(self.hashes):
            _slotted(self.known.slots, place, number)


def _slotted(slots: Int32, place: int, number: int) -> bool:
    """Whether there was a place for a text."""
    for probe in range(PROBES):
        at = (place + probe) & (len(slots) - 1)
        if slots[at] == 0:
            slots[at] = number + 1
            return True
    return False


def _longer(rows: NDArray[Any], wanted: int) -> NDArray[Any]:
    if wanted <= len(rows):
        return rows
    longer = np.zeros((max(wanted, 2 * len(rows)), *rows.shape[1:]), rows.dtype)
    longer[: len(rows)] = rows
    return longer


def _room(samples: int, values: int) -> Found:
    return Found(
        np.empty(samples, np.int32), np.empty(samples, np.int64), np.empty(samples, np.int32),
        np.empty(values, np.int32), np.empty(values), np.empty((values, 3), np.int64), np.zeros(3, np.int64),
        np.zeros(2, np.int64), np.zeros(0, np.int32),
    )  # fmt: skip
