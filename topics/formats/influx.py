"""Influx line protocol, Telegraf's default: `cpu,host=web01,cpu=cpu0 usage_idle=92.5 1717000000000000000`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from topics.formats.names import Sampled, host_of, instant, metric, others
from topics.spec import Instant


def read(value: bytes) -> Iterator[Sampled]:
    """Each line as a sample. Raises ValueError when a line is not of the protocol."""
    for line in value.decode().splitlines():
        if line.strip() and not line.startswith("#"):
            yield read_line(line)


def read_line(line: str, now: Instant | None = None) -> Sampled:
    """One line as a sample, which is of `now` (ms) when it has no time. Raises ValueError: it is not of the protocol."""
    parts = list(_split(line.strip(), " "))
    if len(parts) != 3 and (now is None or len(parts) != 2):
        raise ValueError("a line has a measurement with tags, fields, and a time")
    name, *pairs = _split(parts[0], ",")
    tags = dict(_pair(pair) for pair in pairs)
    metrics = {}
    for field in _split(parts[1], ","):
        key, text = _pair(field)
        if (number := _number(text)) is not None:
            known, converted = metric(f"{name}.{key}", number, others(tags))
            metrics[known] = converted
    return Sampled(host_of(tags), now or 0 if len(parts) == 2 else instant(int(parts[2])), metrics)


def _pair(text: str) -> tuple[str, str]:
    key, value = itertools.islice(_split(text, "=", most=1), 2)
    return key.replace("\\", ""), value.replace("\\", "")


def _split(text: str, mark: str, most: int = -1) -> Iterator[str]:
    """The parts of `text` between marks that are neither quoted nor escaped. One pass, however hostile the text."""
    begin, quoted, escaped = 0, False, False
    for at, char in enumerate(text):
        if escaped or char == "\\":
            escaped = not escaped
        elif char == '"':
            quoted = not quoted
        elif char == mark and not quoted and most:
            yield text[begin:at]
            begin, most = at + 1, most - 1
    yield text[begin:]


def _number(text: str) -> float | None:
    if text in ("t", "T", "true", "True", "TRUE"):
        return 1.0
    if text in ("f", "F", "false", "False", "FALSE"):
        return 0.0
    return None if text.startswith('"') else float(text.rstrip("iu"))
