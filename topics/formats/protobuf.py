"""Protobuf as far as OpenTelemetry needs it: fields by number, undecoded, and its `AnyValue` and `KeyValue`."""

from __future__ import annotations

import base64
import struct
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

Fields = dict[int, list[Any]]

VARINT, FIXED, BYTES, SHORT = 0, 1, 2, 5  # wire types
_SIZES: Final = {FIXED: 8, SHORT: 4}


def fields(data: bytes) -> Fields:
    """The fields of a message by number: numbers decoded, all else as bytes; bounded by its own bytes.

    Raises:
        ValueError, IndexError, KeyError: it is no message of protobuf.
    """
    found: Fields = defaultdict(list)
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag & 0x87 == BYTES and at + 1 < end and (size := data[at + 1]) < 0x80 and at + size + 2 <= end:
            found[tag >> 3].append(data[at + 2 : at + size + 2])  # a short one, as most are
            at += size + 2
            continue
        number, _, held, at = _field(data, at)
        found[number].append(held)
    return found


def wires(data: bytes) -> set[tuple[int, int]]:
    """The numbers and wire types of a message's fields: what it is of, where nothing says so. Raises as `fields`."""
    found, at = set(), 0
    while at < len(data):
        number, wire, _, at = _field(data, at)
        found.add((number, wire))
    return found


def _field(data: bytes, at: int) -> tuple[int, int, Any, int]:
    """Number, wire type and content of the field at `at`, and where the next one begins."""
    tag, at = _varint(data, at)
    number, wire = tag >> 3, tag & 7
    if wire == VARINT:
        held, at = _varint(data, at)
        return number, wire, held, at
    if wire == BYTES:
        size, at = _varint(data, at)
    else:
        size = _SIZES[wire]
    if at + size > len(data):
        raise ValueError("a protobuf field is cut")
    return number, wire, data[at : at + size], at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a protobuf number is too long")


def pairs(attributes: Iterable[bytes]) -> dict[str, Any]:
    """Repeated `KeyValue`s as a mapping."""
    found = {}
    for attribute in map(fields, attributes):
        found[bytes(attribute[1][0]).decode()] = any_of(attribute[2][0]) if 2 in attribute else ""
    return found


def any_of(data: bytes) -> Any:
    """What an `AnyValue` holds; an empty text where it holds nothing. Bytes are told as base64, as in OTLP/JSON."""
    for number, held in fields(data).items():
        match number:
            case 1:
                return bytes(held[0]).decode()
            case 2:
                return bool(held[0])
            case 3:
                return int64(held[0])
            case 4:
                return double(held[0])
            case 5:
                return [any_of(each) for each in fields(held[0]).get(1, ())]
            case 6:
                return pairs(fields(held[0]).get(1, ()))
            case 7:
                return base64.b64encode(held[0]).decode()
    return ""


def fixed(data: bytes) -> int:
    """A `fixed64`. Raises struct.error."""
    return int(struct.unpack("<Q", data)[0])


def signed(data: bytes) -> int:
    """An `sfixed64`. Raises struct.error."""
    return int(struct.unpack("<q", data)[0])


def double(data: bytes) -> float:
    """A `double`. Raises struct.error."""
    return float(struct.unpack("<d", data)[0])


def doubles(held: Iterable[bytes]) -> list[float]:
    """Repeated `double`, packed or one by one. Raises struct.error."""
    return [value for part in held for (value,) in struct.iter_unpack("<d", part)]


def fixeds(held: Iterable[bytes]) -> list[int]:
    """Repeated `fixed64`, packed or one by one. Raises struct.error."""
    return [value for part in held for (value,) in struct.iter_unpack("<Q", part)]


def varints(held: Iterable[bytes | int]) -> list[int]:
    """Repeated numbers, packed or one by one. Raises ValueError, IndexError."""
    found: list[int] = []
    for part in held:
        if isinstance(part, int):
            found.append(part)
            continue
        at = 0
        while at < len(part):
            value, at = _varint(part, at)
            found.append(value)
    return found


def int64(value: int) -> int:
    """A number as the `int64` that it stands for. Raises TypeError: it is bytes."""
    if not isinstance(value, int):
        raise TypeError("a number of protobuf is none")
    return value - (1 << 64) if value >= 1 << 63 else value


def zigzag(value: int) -> int:
    """A `sint32` as the number it stands for."""
    return (value >> 1) ^ -(value & 1)


def varint(number: int, value: int) -> bytes:
    """A field that holds a number from 0 on."""
    return _written(number << 3 | VARINT) + _written(value)


def message(number: int, held: bytes) -> bytes:
    """A field that holds a message."""
    return _written(number << 3 | BYTES) + _written(len(held)) + held


def text(number: int, held: str) -> bytes:
    """A field that holds a text."""
    return message(number, held.encode())


def _written(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
