"""Checks after a drill, against the broker's log and not against reports of workers."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from agents import _snapshots
from agents._agent import Agent
from agents._partition import PartitionState, through
from agents.decode import Decode, chunk_of
from agents.detect import Detect
from app import pipeline
from app.drills.load import ENTITIES, PROBE, START_MS, STEP_MS, Load, Probes
from app.drills.report import Report
from app.kafka.broker import Broker, consumer_config, read_all
from topics.codec import encode
from topics.spec import Raw, Record
from topics.state import LANE_STATE
from topics.telemetry import METRICS, Sample

NEXT = 300
CHUNK = 500


def check_transport(broker: Broker, load: Load, probes: Probes, report: Report, *, resent: bool = False) -> None:
    """Check I1 on the log and on the outputs, as Jepsen's Kafka workload does.

    Lost: acknowledged, but not on the log. Unread: acknowledged, but without output. Duplicated: on the log more often
    than sent. Phantom: read, but never sent, as after an aborted send. Reordered: records of one sender and partition
    whose first occurrences on the log, or whose outputs, are in another order than sent.
    resent: the broker was broken too. A client without acknowledgement may then send again in a new epoch, which the
    broker cannot recognise as a repeat: it is counted, and must not be learned twice.
    """
    kept, order = _log(broker)
    unread = {name for name in load.acked if name.startswith("probe")} - probes.seen.keys()
    wrong: dict[str, Collection[object]] = {
        "lost": load.acked - kept.keys(),
        "unread": unread,
        "duplicated": {name for name, times in kept.items() if times > load.sent[name]},
        "phantoms": (kept.keys() | probes.seen.keys()) - load.sent.keys(),
        "reordered": _reordered(probes.order) | (set() if load.untidy else _reordered(order)),
    }
    for what, found in wrong.items():
        known = resent and what == "duplicated"
        report.check(known or not found, f"{len(found)} records are {what}: {sorted(map(str, found))[:5]}")
        report.figures[what] = len(found)
    repeated = sum(count - 1 for count in probes.seen.values())
    report.figures |= {"acknowledged": len(load.acked), "repeated_outputs": repeated}


def _log(broker: Broker) -> tuple[Counter[str], dict[str, list[int]]]:
    """Records of the metrics topic with their number, and sequence numbers in order, by entity and by probes."""
    kept: Counter[str] = Counter()
    order: dict[str, list[int]] = defaultdict(list)
    numbers = {f"drill/s{entity}/0": entity for entity in range(ENTITIES)}
    for raw in read_all(broker, [METRICS.name]):
        value = raw.value or b""
        if value.startswith(PROBE):
            name, lane = value.decode(), f"probes {raw.partition}"
        elif raw.headers:
            continue  # poison, or samples of `teach`
        else:
            sample = msgspec.json.decode(value, type=Sample)
            number = (sample.ts - START_MS) // STEP_MS * ENTITIES + numbers[sample.entity]
            name, lane = f"sample {number}", sample.entity
        if not kept[name]:
            order[lane].append(int(name.split()[1]))
        kept[name] += 1
    return kept, order


def _reordered(order: Mapping[Any, Sequence[int]]) -> set[int]:
    return {later for seen in order.values() for earlier, later in itertools.pairwise(seen) if later < earlier}


class Run(NamedTuple):
    """What comes of the log of a partition in a run without a crash."""

    said: list[bytes]
    learned: str  # hash of the detectors' state
    state: str  # hash of all state: the decoder's has clocks, which know of a late sample until the next one
    finite: bool
    then: tuple[list[bytes], str]  # what is said of the next samples, and all state after them


def run(log: Sequence[Raw], partition: int) -> Run:
    """Feed a log to new stages, and then the next samples."""
    stages = [make() for make in pipeline.lane()]
    said = _feed(stages, log)
    learned = _hash([stage for stage in stages if not isinstance(stage, Decode)])
    return Run(said, learned, _hash(stages), _finite(stages), _next(stages, partition))


def check_learners(broker: Broker, report: Report, *, untidy: bool = False) -> None:
    """Check I2 and I3: the state and the next scores of each partition equal those of a run without a crash.

    untidy (I19): what was learned and said, and all that comes of the next samples, also equal those of a run over the
    log without late and repeated samples.
    """
    client = consumer_config(broker, "")
    by_partition: dict[int, list[Raw]] = defaultdict(list)
    for raw in read_all(broker, [METRICS.name]):
        by_partition[raw.partition].append(raw)
    name = "lane/" + "+".join(make().name for make in pipeline.lane())
    equal = size = 0
    for partition, log in sorted(by_partition.items()):
        straight = run(log, partition)
        report.check(straight.finite, f"partition {partition}: a learner has a number that is not finite")
        if untidy:
            tidy = run(list(newer(log, report)), partition)
            same = (tidy.said, tidy.learned) == (straight.said, straight.learned)
            report.check(same, f"partition {partition}: late or repeated samples have changed what was learned or said")
            same = tidy.then == straight.then
            report.check(same, f"partition {partition}: late or repeated samples have changed what comes of the next")
        store = _snapshots.store_of(_snapshots.stores(client, LANE_STATE, partition), LANE_STATE, name, partition)
        end = log[-1].offset + 1
        if (store.applied or {}).get(METRICS.name) != end:
            report.add_violation(f"partition {partition}: kept up to {store.applied}, and the log ends at {end}")
            continue
        restored = PartitionState(pipeline.lane(), store.state, store).stages
        same = _hash(restored) == straight.state and _next(restored, partition) == straight.then
        report.check(same, f"partition {partition}: what was learned differs from a run without a crash")
        equal += same
        size += len(store.state)
    report.figures |= {"partitions_equal": equal, "partitions": len(by_partition), "state_bytes": size}


def newer(log: Sequence[Raw], report: Report) -> Iterator[Raw]:
    """The samples that are newer than all earlier ones of their entity. The others are counted."""
    newest: dict[str, int] = {}
    for raw in log:
        if (raw.value or b"").startswith(b"{"):
            sample = msgspec.json.decode(raw.value or b"", type=Sample)
            if sample.ts <= newest.get(sample.entity, -1):
                report.figures["late_or_repeated"] = report.figures.get("late_or_repeated", 0) + 1
                continue
            newest[sample.entity] = sample.ts
            report.figures["newer"] = report.figures.get("newer", 0) + 1
        yield raw


def _finite(stages: Sequence[Agent[Any]]) -> bool:
    banks = [stage.model.bank for stage in stages if isinstance(stage, Detect)]
    return all(bool(np.isfinite(rows).all()) for bank in banks for rows in (bank.series, bank.entities))


def _feed(stages: Sequence[Agent[Any]], log: Sequence[Raw]) -> list[bytes]:
    said: list[bytes] = []
    for first in range(0, len(log), CHUNK):
        given: Iterable[Any] = chunk_of(log[first : first + CHUNK])
        said += [encode(record).value for record in _through(stages, given)]
    return said


def _through(stages: Sequence[Agent[Any]], given: Any) -> Iterator[Record]:
    return (output for output in through(stages, given, 0) if isinstance(output, Record))


def _hash(stages: Sequence[Agent[Any]]) -> str:
    return hashlib.sha256(b"".join(stage.snapshot() for stage in stages)).hexdigest()


def _next(stages: Sequence[Agent[Any]], partition: int) -> tuple[list[bytes], str]:
    """Outputs and all state after 300 more samples that all deviate. The state contains every score."""
    log = []
    for number in range(NEXT):
        metrics, ts = {f"m{i}": 60.0 + number % 7 + i for i in range(4)}, START_MS + 10**9 + STEP_MS * number
        sample = encode(Sample(entity=f"drill/s{number % ENTITIES}/0", ts=ts, metrics=metrics))
        log.append(Raw(METRICS.name, partition, 10**9 + number, sample.key, sample.value, (), ts))
    return _feed(stages, log), _hash(stages)
