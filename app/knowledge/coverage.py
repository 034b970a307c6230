"""Which series are in no pack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from models.knowledge.knowledge import Knowledge
from topics.selectors import parts


class UnnamedMetric(msgspec.Struct, frozen=True):
    """A metric whose series no pack names."""

    metric: str  # without attributes
    series: int
    entities: int
    example: str  # an entity that has it


class Coverage(msgspec.Struct, frozen=True):
    """How much of what comes the packs name."""

    series: int
    named: int
    entities: int
    without: tuple[str, ...]  # entities of which no series is named
    unnamed: tuple[UnnamedMetric, ...]  # those of most series first


def coverage(knowledge: Knowledge, seen: Mapping[str, Iterable[str]]) -> Coverage:
    """Hold what was seen against the packs. seen: series by entity."""
    total, named, without = 0, 0, []
    missing: dict[str, dict[str, int]] = {}  # metric → entity → series
    known: dict[str, bool] = {}
    for entity, series in sorted(seen.items()):
        own = 0
        for one in series:
            total += 1
            if one not in known:
                known[one] = knowledge.names(one)
            if known[one]:
                own += 1
            else:
                by = missing.setdefault(parts(one).name, {})
                by[entity] = by.get(entity, 0) + 1
        named += own
        if not own:
            without.append(entity)
    rows = [UnnamedMetric(metric, sum(by.values()), len(by), next(iter(by))) for metric, by in missing.items()]
    rows.sort(key=lambda row: (-row.series, row.metric))
    return Coverage(total, named, len(seen), tuple(without), tuple(rows))
