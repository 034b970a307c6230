"""Messages of telemetry for tests: look after look, a second apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from topics.spec import Raw
from topics.telemetry import METRICS

START: Final = 1_700_000_000_000


def at(sample: float) -> int:
    """The event time of a look."""
    return START + round(1000 * sample)


def raw(sample: float, entity: str, metrics: Mapping[str, float], *, offset: int | None = None) -> Raw:
    """A sample as a message on partition 0."""
    ts = at(sample)
    value = orjson.dumps({"entity": entity, "ts": ts, "metrics": metrics})
    return Raw(METRICS.name, 0, int(sample) if offset is None else offset, entity.encode(), value, (), ts)
