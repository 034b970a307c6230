"""Samples that were recorded: from a file, or from the topic of samples."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from app.errors import UserError
from app.kafka.broker import Broker, read_all, require
from topics.codec import DecodeError, decode
from topics.spec import Instant, Raw
from topics.telemetry import METRICS, Sample

MOST: Final = 2_000_000  # samples of one recording


def recorded(path: Path) -> list[Sample]:
    """The samples of a file, oldest first: lines of JSON, or what `opsloop replay --save` wrote; gzip is read too.

    Raises:
        UserError: the file cannot be read, or holds no samples.
    """
    try:
        content = path.read_bytes()
        lines = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).splitlines()
        found = [s for line in lines if line.strip() for s in _samples(msgspec.json.decode(line))]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})", "Give a recording") from None
    except (EOFError, msgspec.DecodeError, msgspec.ValidationError) as error:
        remedy = 'A line of it is {"entity", "ts", "metrics"}; or write one with opsloop replay --save'
        raise UserError(f"{path} is no recording of samples ({error})", remedy) from None
    return _ordered(found, str(path))


def told(broker: Broker, since: Instant, most: int = MOST) -> list[Sample]:
    """The samples on the topic since a time, oldest first, `most` at most. Raises UserError when there are none."""
    require(broker)
    read = (s for raw in read_all(broker, [METRICS.name], since_ms=since) for s in _of(raw))
    return _ordered(list(islice(read, most)), f"{METRICS.name} at {broker.bootstrap}")


def _ordered(samples: list[Sample], place: str) -> list[Sample]:
    if not samples:
        raise UserError(f"{place} has no samples", "Give a recording, or look at opsloop collect", exit_code=1)
    if len(samples) > MOST:
        raise UserError(f"{place} has {len(samples):,} samples, {MOST:,} are the most", "Give a shorter one")
    return sorted(samples, key=lambda sample: sample.ts)


def _samples(line: Any) -> Iterator[Sample]:
    if isinstance(line, dict) and "metrics" in line:
        yield msgspec.convert(line, Sample)
    else:
        yield from _of(msgspec.convert(line, Raw))


def _of(raw: Raw) -> Iterator[Sample]:
    """The sample of a message of the topic of samples."""
    if raw.topic != METRICS.name:
        return
    try:
        record = decode(raw).record
    except DecodeError:
        return
    if isinstance(record, Sample):
        yield record


def series_of(samples: Iterable[Sample]) -> dict[str, set[str]]:
    """The series that were seen, by entity."""
    seen: dict[str, set[str]] = {}
    for sample in samples:
        seen.setdefault(sample.entity, set()).update(sample.metrics)
    return seen
