"""Messages whose values are counters, histograms and operands of derived signals, and what these cost the lane.

Each is held against as many messages and points in which all are gauges. Rounds take turns, so
that both have the same load of the machine; what counts is CPU time of decoding and detection.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from agents._agent import Agent
from agents._partition import through
from agents.decode import Decode
from agents.detect import Detect
from app.shipped import packs
from models.knowledge.base import DerivedSignal, Pack, PackHead
from models.knowledge.compiled import compiled
from models.knowledge.knowledge import Knowledge
from models.versions import Book
from topics.batch import Names
from topics.chunk import Chunk, chunk_of
from topics.kinds import PLAIN as PLAIN_KIND
from topics.kinds import meaning
from topics.meanings import NOTHING, Meanings
from topics.spec import Instant, Raw
from topics.telemetry import METRICS

ROUNDS: Final = 3
ENTITIES: Final = 300
MOMENTS: Final = 200
BATCH: Final = 1_000
LARGE: Final = 100_000.0  # so that counts and levels have as many digits
START: Final[Instant] = 1_700_000_000_000

PLAIN: Final = tuple(f"system.metric.{number}" for number in range(10))
COUNTED: Final = (
    'requests_total{status="200"}', 'requests_total{status="500"}', "memory_used", "memory_max", "queue_depth",
    'wait_bucket{le="0.1"}', 'wait_bucket{le="1"}', 'wait_bucket{le="10"}', 'wait_bucket{le="+Inf"}',
    'wait_bucket{le="sum"}',
)  # fmt: skip
GAUGES: Final = tuple(f"gauge_{number}_" + "x" * (len(name) - 8) for number, name in enumerate(COUNTED))  # as long
RATIOS: Final = (
    DerivedSignal("memory.used_ratio", "memory_used / memory_max"),
    DerivedSignal("requests.failed_ratio", 'rate(requests_total{status="5*"}) / rate(requests_total)'),
)
GAUGES_RATIO: Final = (DerivedSignal("first.share", "system.metric.0 / system.metric.1"),)


class Load(NamedTuple):
    """Messages, and what packs say of them."""

    chunks: Sequence[Chunk]
    said: Meanings


def shares() -> dict[str, float]:
    """What packs take whose signals nobody sends, and one derived signal of an entity with ten series, in one process.

    Medians of `ROUNDS` rounds.
    """
    plain = list(chunks(PLAIN, 1))
    return {
        "packs_unused_share": _share(Load(plain, packs().meanings(Book())), Load(plain, NOTHING)),
        "derived_share": _share(Load(plain, _said(GAUGES_RATIO)), Load(plain, NOTHING)),
    }


def ratios() -> Meanings:
    """What packs say of `COUNTED`."""
    return _said(RATIOS)


def chunks(names: Sequence[str], parts: int, *, apart: bool = False) -> Iterator[Chunk]:
    """The messages of one partition."""
    raws = [raw for _, raw in messages(names, parts, MOMENTS, apart=apart)]
    return (chunk_of(raws[at : at + BATCH]) for at in range(0, len(raws), BATCH))


def messages(names: Sequence[str], parts: int, moments: int, *, apart: bool = False) -> Iterator[tuple[int, Raw]]:
    """Samples of every entity, in so many messages each, and the number of the entity.

    apart: each message is of an entity of its own.
    """
    rng, each, offset = np.random.default_rng(1), len(names) // parts, 0
    grows = np.array([meaning(name).kind != PLAIN_KIND for name in names])
    total = np.full((ENTITIES, len(names)), LARGE)
    for moment in range(moments):
        now = np.sort(np.round(rng.normal(50, 5, total.shape), 3), axis=1)
        total = np.round(np.where(grows, total, LARGE) + now, 3)
        for at, row in enumerate(total.tolist()):
            for part in range(parts):
                entity = f"bench/{at}/{part if apart else 0}"
                own, ts = slice(part * each, (part + 1) * each), START + 1_000 * moment
                sample = {"entity": entity, "ts": ts, "metrics": dict(zip(names[own], row[own], strict=True))}
                yield at, Raw(METRICS.name, 0, offset, entity.encode(), orjson.dumps(sample), arrived=ts + part)
                offset += 1


def cpu_s(load: Load) -> float:
    """CPU seconds of decoding and detection, without the first tenth."""
    stages: list[Agent[Any]] = [Decode(Names(meanings=load.said)), Detect()]
    warm = len(load.chunks) // 10
    began = 0.0
    for number, chunk in enumerate(load.chunks):
        if number == warm:
            began = time.process_time()
        for _ in through(stages, chunk, START):
            pass
    return time.process_time() - began


def _share(used: Load, without: Load) -> float:
    """The share of the throughput of one load that another one loses."""
    return statistics.median(1.0 - cpu_s(without) / cpu_s(used) for _ in range(ROUNDS))


def _said(signals: tuple[DerivedSignal, ...]) -> Meanings:
    return compiled(Knowledge.of([Pack(PackHead("bench", "bench"), signals=signals)]))
