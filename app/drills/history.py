"""What must hold after a drill: checked against the log itself, not against what workers say of themselves."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from agents import _snapshots
from agents._agent import Agent
from agents.decode import chunk_of
from app import pipeline
from app.broker import Broker, consumer_config, read_all
from app.drills.load import ENTITIES, START_MS, Load, Probes
from app.drills.report import Report
from topics.codec import encode
from topics.spec import Raw, Record
from topics.state import LANE_STATE
from topics.telemetry import METRICS, Sample

NEXT = 300
CHUNK = 500


def check_transport(broker: Broker, load: Load, probes: Probes, report: Report) -> None:
    """I1 on the log and on the way out: what was acknowledged is there, and each probe came out at least once."""
    kept: set[str] = set()
    stamps = {f"drill/s{entity}/0": entity for entity in range(ENTITIES)}
    for raw in read_all(broker, [METRICS.name]):
        value = raw.value or b""
        if value.startswith(b"probe "):
            kept.add(value.decode())
        else:
            sample = msgspec.json.decode(value, type=Sample)
            kept.add(f"sample {(sample.ts - START_MS) // 250 * ENTITIES + stamps[sample.entity]}")
    lost, unread = load.acked - kept, {n for n in load.acked if n.startswith("probe")} - probes.seen.keys()
    report.check(not lost, f"{len(lost)} acknowledged records are not on the log")
    report.check(not unread, f"{len(unread)} acknowledged records never came out: {sorted(unread)[:5]}")
    repeated = sum(count - 1 for count in probes.seen.values())
    report.figures |= {"acknowledged": len(load.acked), "repeated_outputs": repeated, "lost": len(lost | unread)}


def check_learners(broker: Broker, report: Report) -> None:
    """I2, I3: each partition's kept state is that of a run without a crash, and so are the next scores."""
    client = consumer_config(broker, "")
    by_partition: dict[int, list[Raw]] = defaultdict(list)
    for raw in read_all(broker, [METRICS.name]):
        by_partition[raw.partition].append(raw)
    equal = 0
    for partition, log in sorted(by_partition.items()):
        straight = [make() for make in pipeline.lane()]
        _feed(straight, log)
        name = "lane/" + "+".join(stage.name for stage in straight)
        shelf = _snapshots.shelf_of(_snapshots.shelves(client, LANE_STATE, partition), LANE_STATE, name, partition)
        end = log[-1].offset + 1
        if (shelf.applied or {}).get(METRICS.name) != end:
            report.violated(f"partition {partition}: kept up to {shelf.applied}, and the log ends at {end}")
            continue
        restored = [make() for make in pipeline.lane()]
        kept = msgspec.msgpack.decode(shelf.state, type=dict[str, bytes])
        for stage in restored:
            if own := kept.get(stage.name):
                stage.restore(own)
        same = _hash(straight) == _hash(restored) and _next(straight, partition) == _next(restored, partition)
        report.check(same, f"partition {partition}: what was learned differs from a run without a crash")
        equal += same
    report.figures |= {"partitions_equal": equal, "partitions": len(by_partition)}


def _feed(stages: Sequence[Agent[Any]], log: Sequence[Raw]) -> list[bytes]:
    said: list[bytes] = []
    for first in range(0, len(log), CHUNK):
        given: Iterable[Any] = chunk_of(log[first : first + CHUNK])
        said += [encode(record).value for record in _through(stages, given)]
    return said


def _through(stages: Sequence[Agent[Any]], given: Any) -> Iterator[Record]:
    onward = []
    for output in stages[0].step(given, 0):
        if isinstance(output, Record) and len(stages) == 1:
            yield output
        elif len(stages) > 1:
            onward.append(output)
    if onward:
        yield from _through(stages[1:], [each for each in onward if not hasattr(each, "cause")])


def _hash(stages: Sequence[Agent[Any]]) -> str:
    return hashlib.sha256(b"".join(stage.snapshot() for stage in stages)).hexdigest()


def _next(stages: Sequence[Agent[Any]], partition: int) -> tuple[list[bytes], str]:
    """What follows from 300 more samples that all deviate: outputs, and the state, which holds every score."""
    log = []
    for number in range(NEXT):
        metrics = {f"m{i}": 60.0 + number % 7 + i for i in range(4)}
        sample = encode(
            Sample(entity=f"drill/s{number % ENTITIES}/0", ts=START_MS + 10**9 + 250 * number, metrics=metrics)
        )
        log.append(Raw(METRICS.name, partition, 10**9 + number, sample.key, sample.value, (), START_MS + 10**9))
    return _feed(stages, log), _hash(stages)
