"""Which entities have sent something lately, from the topic of samples itself."""

from __future__ import annotations

from itertools import islice
from typing import Final

import msgspec

from app.clock import now_ms
from app.kafka.broker import Broker, read_all
from topics.codec import DecodeError
from topics.frames import CONTENT_TYPE, unpack, unpack_names
from topics.spec import Raw
from topics.telemetry import METRICS

WITHIN_S: Final = 60
MOST: Final = 20_000  # messages that are read


class Recent(msgspec.Struct, frozen=True):
    """Entities that were heard of."""

    names: frozenset[str]
    complete: bool  # false: there were more messages than are read


def recent(broker: Broker, within_s: int = WITHIN_S) -> Recent:
    """The entities of the samples that arrived in the last seconds. Raises UserError: the topic cannot be read."""
    names, read = set[str](), 0
    for raw in islice(read_all(broker, [METRICS.name], since_ms=now_ms() - within_s * 1_000), MOST):
        names.update(_names(raw))
        read += 1
    return Recent(frozenset(names), read < MOST)


def _names(raw: Raw) -> list[str]:
    """The entities of one message: of a frame those in it, else its key."""
    if dict(raw.headers).get("content-type") != CONTENT_TYPE:
        return [raw.key.decode(errors="replace")] if raw.key else []
    try:
        return list(unpack_names(unpack(raw.value or b"").names)[0])
    except DecodeError:
        return []
