"""Prometheus remote write 1.0 and 2.0, the message inside the compression: each series with its samples.

Field numbers are those of prompb/types.proto (`prometheus.WriteRequest`) and of prompb/io/prometheus/write/v2
(`io.prometheus.write.v2.Request`); proto3 leaves out zeros. Whose a series is follows from its labels as in
records.prometheus; a series without a label that says it is its job's. What its metric is called follows from them and
from its type, which only version 2 sends with it. Native histograms are read by `native_histograms`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from sys import intern
from typing import Final, NamedTuple

from topics.codec import Cause, DecodeError
from topics.formats.naming import Naming
from topics.formats.protobuf import Fields, double, fields, int64, varints
from topics.formats.tolerance import NOT_AS_IT_SAYS

Labels = tuple[tuple[str, str], ...]
Identify = Callable[[Fields], "Described"]
Point = tuple[int, float]  # ms since 1970, value

MOST_REMEMBERED: Final = 250_000  # series whose labels were read before, each about a kilobyte
LONGEST: Final = 2_000  # bytes of the labels of a series that is remembered
_TYPES: Final = ("", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset")  # by number


class Identity(NamedTuple):
    """What the labels of a series say."""

    labels: Labels = ()
    entity: str = ""  # empty: nothing says whose it is
    metric: str = ""
    fault: str = ""  # why it is no series


class Described(NamedTuple):
    """The labels of a series as it has them."""

    labels: Labels
    known: Mapping[str, str]  # those that are there, without the name
    name: str
    kind: str = ""  # its type, where the request says it
    fault: str = ""


class Series(NamedTuple):
    """One series of a request: its points, or why it is refused as a whole."""

    identity: Identity
    samples: Sequence[Point] = ()
    histograms: Sequence[bytes] = ()  # native ones, as messages
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
            [
                (int64(s[2][-1]) if 2 in s else 0, double(s[1][-1]) if 1 in s else 0.0)
                for s in map(fields, held.get(2, ()))
            ],
            held.get(histograms, ()),
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
    texts = tuple(symbols[number] for number in varints(held.get(1, ())))
    said = fields(held[5][-1]).get(1, (0,))[-1] if 5 in held else 0  # its metadata
    kind = _TYPES[said] if 0 <= said < len(_TYPES) else ""
    read = _of_texts if sum(map(len, texts)) <= LONGEST else _of_texts.__wrapped__
    return read(texts, kind)


@functools.lru_cache(MOST_REMEMBERED)
def _of_texts(texts: tuple[bytes, ...], kind: str) -> Described:
    read = [intern(bytes(text).decode()) for text in texts]
    return _described(tuple(zip(read[::2], read[1::2], strict=True)), kind)


def _described(labels: Labels, kind: str = "") -> Described:
    known = {name: value for name, value in labels if value}  # an empty value is no label
    if "" in known or len({name for name, _ in labels}) != len(labels):
        return Described(labels, known, "", fault="a label has no name, or stands twice")
    name = known.pop("__name__", "")
    return Described(labels, known, name, kind, "" if name else "the series has no __name__")


def _identity(said: Described, naming: Naming) -> Identity:
    if said.fault:
        return Identity(said.labels, fault=said.fault)
    whose = naming.of(said.known, said.name)
    entity = whose.entity or said.known.get("job", "")
    named = whose.named(said.name, said.kind)
    if named is None:
        return Identity(said.labels, entity, fault=naming.clashes.pop().detail)
    return Identity(said.labels, entity, named[0])


def _text(held: Sequence[bytes] | None) -> str:
    return intern(bytes(held[-1]).decode()) if held else ""  # most stand in many series
