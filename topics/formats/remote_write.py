"""Prometheus remote write 1.0 and 2.0, the message inside the compression: each series with its samples.

Field numbers are those of prompb/types.proto (`prometheus.WriteRequest`) and of prompb/io/prometheus/write/v2
(`io.prometheus.write.v2.Request`); proto3 leaves out zeros. A native histogram is taken by its mean, as OpenTelemetry's
are. Whose a series is and what its metric is called follows from its labels as in records.prometheus; a series without
a label that says it is its job's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from topics.codec import Cause, DecodeError
from topics.formats.naming import Naming
from topics.formats.protobuf import Fields, double, fields
from topics.formats.tolerance import NOT_AS_IT_SAYS

Labels = tuple[tuple[str, str], ...]
Identify = Callable[[Fields], "Described"]
Point = tuple[int, float]  # ms since 1970, value

MOST_REMEMBERED: Final = 50_000  # series whose labels were read before
LONGEST: Final = 2_000  # bytes of the labels of a series that is remembered
_COUNT, _COUNT_FLOAT, _SUM, _STAMP = 1, 2, 3, 15  # of a native histogram


class Identity(NamedTuple):
    """What the labels of a series say."""

    labels: Labels = ()
    entity: str = ""  # empty: nothing says whose it is
    metric: str = ""
    factor: float = 1.0  # from the series' unit to that of the metric
    fault: str = ""  # why it is no series


class Described(NamedTuple):
    """The labels of a series as it has them."""

    labels: Labels
    known: Mapping[str, str]  # those that are there, without the name
    name: str
    fault: str = ""


class Series(NamedTuple):
    """One series of a request: its points, or why it is refused as a whole."""

    identity: Identity
    samples: Sequence[Point] = ()
    histograms: Sequence[Point] = ()
    refused: DecodeError | None = None


def read_v1(message: bytes, naming: Naming | None = None) -> Iterator[Series]:
    """The series of a WriteRequest. Raises what protobuf.fields raises: the message is none."""
    naming = naming or Naming()
    for data in fields(message).get(1, ()):
        yield _series(data, naming, _pairs, 4)


def read_v2(message: bytes, naming: Naming | None = None) -> Iterator[Series]:
    """The series of a Request of version 2. Raises what protobuf.fields raises: the message is none."""
    request, naming = fields(message), naming or Naming()
    symbols: Sequence[bytes] = request.get(4, ())
    for data in request.get(5, ()):
        yield _series(data, naming, functools.partial(_referred, symbols), 3)


def _series(data: bytes, naming: Naming, describe: Identify, histograms: int) -> Series:
    """A series of either version. `histograms`: the number of their field."""
    identity = Identity()
    try:
        held = fields(data)
        said = describe(held)
        identity = _identity(said, naming)
        if identity.fault:
            cause = Cause.WRONG_TYPE if said.fault else Cause.SAME_NAME
            return Series(identity, refused=DecodeError(cause, identity.fault))
        return Series(
            identity,
            [(_int64(s.get(2)), double(s[1][-1]) if 1 in s else 0.0) for s in map(fields, held.get(2, ()))],
            [(_int64(h.get(_STAMP)), _mean(h)) for h in map(fields, held.get(histograms, ()))],
        )
    except NOT_AS_IT_SAYS as error:
        return Series(identity, refused=DecodeError(Cause.MALFORMED, f"no series of remote write: {error!r}"[:300]))


def _pairs(held: Fields) -> Described:
    """The labels of version 1: messages of a name and a value."""
    pairs = tuple(held.get(1, ()))
    return _of_pairs(pairs) if sum(map(len, pairs)) <= LONGEST else _of_pairs.__wrapped__(pairs)


@functools.lru_cache(MOST_REMEMBERED)
def _of_pairs(pairs: tuple[bytes, ...]) -> Described:
    held = map(fields, pairs)
    return _described(tuple((_text(pair.get(1)), _text(pair.get(2))) for pair in held))


def _referred(symbols: Sequence[bytes], held: Fields) -> Described:
    """The labels of version 2: numbers of texts, packed or one by one."""
    refs: Iterable[bytes | int] = held.get(1, ())
    numbers = [number for each in refs for number in (_packed(each) if isinstance(each, bytes) else (each,))]
    texts = tuple(symbols[number] for number in numbers)
    return _of_texts(texts) if sum(map(len, texts)) <= LONGEST else _of_texts.__wrapped__(texts)


@functools.lru_cache(MOST_REMEMBERED)
def _of_texts(texts: tuple[bytes, ...]) -> Described:
    read = [bytes(text).decode() for text in texts]
    return _described(tuple(zip(read[::2], read[1::2], strict=True)))


def _described(labels: Labels) -> Described:
    known = {name: value for name, value in labels if value}  # an empty value is no label
    if "" in known or len({name for name, _ in labels}) != len(labels):
        return Described(labels, known, "", "a label has no name, or stands twice")
    name = known.pop("__name__", "")
    return Described(labels, known, name, "" if name else "the series has no __name__")


def _identity(said: Described, naming: Naming) -> Identity:
    if said.fault:
        return Identity(said.labels, fault=said.fault)
    whose = naming.of(said.known, said.name)
    entity = whose.entity or said.known.get("job", "")
    named = whose.named(said.name)
    if named is None:
        return Identity(said.labels, entity, fault=naming.clashes.pop().detail)
    return Identity(said.labels, entity, *named)


def _mean(histogram: Fields) -> float:
    """The mean of what a native histogram has observed; 0 when it has observed nothing."""
    count = histogram[_COUNT][-1] if _COUNT in histogram else 0
    if _COUNT_FLOAT in histogram:
        count = double(histogram[_COUNT_FLOAT][-1])
    total = double(histogram[_SUM][-1]) if _SUM in histogram else 0.0
    return total / count if count else total


def _packed(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
        elif shift > 63:
            raise ValueError("a protobuf number is too long")
    if shift:
        raise ValueError("a protobuf number is cut")


def _text(held: Sequence[bytes] | None) -> str:
    return bytes(held[-1]).decode() if held else ""


def _int64(held: Sequence[int] | None) -> int:
    value = held[-1] if held else 0
    if not isinstance(value, int):
        raise TypeError("a stamp is no number")
    return value - (1 << 64) if value >= 1 << 63 else value
