"""What a series is taken to be before it has shown itself, from what its name says of its unit."""

from __future__ import annotations

import functools
import math
import re
from typing import Final, NamedTuple


class Prior(NamedTuple):
    """What is known of a family of series."""

    peak: float = 0.0  # an ordinary large value: the least spread is a share of it (`DetectorConfig.floor`)
    trust: float = 0.0  # weight of such a series when it is off alone: above 0 where a person would act on it alone
    mean: float = math.nan  # where it is, when that is known: such a series is scored from its first value on


FAMILIES: Final = {
    "up": Prior(10.0, 1.5, 1.0), "refused": Prior(10.0, 1.5, 0.0),
    "ratio": Prior(5.0, 1.5), "utilization": Prior(3.0, 1.5),
    "duration": Prior(0.7, 1.5), "latency": Prior(0.7, 1.5), "memory": Prior(1e8, 1.5),
    "bytes": Prior(1e8), "queue": Prior(100.0),
}  # fmt: skip

UNKNOWN: Final = Prior()


@functools.lru_cache(maxsize=100_000)
def prior(metric: str) -> Prior:
    """The family of a metric, by the words of its name: of several the last, as units stand at the end.

    But `memory.bytes` is memory.
    """
    found = [word for word in re.split(r"[._{}]", metric) if word in FAMILIES]
    if found[-2:] == ["memory", "bytes"]:
        found.pop()
    return FAMILIES[found[-1]] if found else UNKNOWN
