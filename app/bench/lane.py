"""Measures points a second of one worker on one core with detection, beside River and Faust in the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import orjson
from confluent_kafka.admin import NewTopic

from app.bench import loads
from app.client import Publisher
from app.errors import UserError
from app.kafka.admin import ensure
from app.kafka.broker import Broker, admin, require
from app.kafka.local import LocalKafka
from app.printing import err, print_json, print_table
from app.runtime.memory import tune_allocator
from models.detection.bank import Bank
from models.detection.columns import ENTITY_FIELDS, SERIES_FIELDS, Samples
from topics.batch import Names
from topics.frames import Frame, pack, pack_names
from topics.spec import Instant
from topics.telemetry import METRICS

ENTITIES: Final = 600
METRICS_EACH: Final = 10
MOMENTS_A_FRAME: Final = 10
A_SENDER: Final = 100  # entities in one frame
START: Final[Instant] = 1_700_000_000_000
PERIOD_MS: Final = 1000
MOST_IN_PARTS: Final = 1_200_000  # points


def run(address: str, points: int, json: bool) -> None:
    """Fill the topic with `points` as JSON and ten times as many as frames, and let a pinned worker process them."""
    with broker_for_bench(address) as broker:
        found: dict[str, float] = {}
        with Publisher(broker) as publisher:
            texts = fill_json(publisher, points)
        err.print(f"· {points:,} points as JSON wait on the topic")
        taken = worked(broker, texts)
        found["json10_points_per_s_core"] = taken["points_per_s"]
        found["json10_points_per_cpu_s"] = taken["points_per_cpu_s"]  # CPU time: the fairer figure on a shared machine
        found["decode_share"] = taken["decode_s"] / (taken["decode_s"] + taken["detect_s"])
        with Publisher(broker) as publisher:
            framed = fill_frames(publisher, 10 * points, after=points // (ENTITIES * METRICS_EACH))
        err.print(f"· {10 * points:,} points as frames wait behind them")
        taken = worked(broker, texts + framed, texts)
        found["frames_points_per_s_core"] = taken["points_per_s"]
        found["frames_points_per_cpu_s"] = taken["points_per_cpu_s"]
        found["faust_points_per_s_core"] = faust(broker, points)
    found["signals_share"] = signals_share(min(points, MOST_IN_PARTS))
    err.print("· the same with rates, quantiles, derived signals and parts of samples")
    tune_allocator()  # as a worker does, so that no full garbage collection falls into the measurement
    found["river_points_per_s_core"] = river_trees()
    found["river_gaussian_points_per_s_core"] = river_gaussian()
    found |= loads.shares()
    found["kernel_ns_point"] = kernel(100, 2_000)
    found["kernel_ns_point_1m_series"] = kernel(100_000, 24)
    found["bytes_per_series"] = 8.0 * (SERIES_FIELDS + ENTITY_FIELDS / METRICS_EACH)
    if json:
        print_json(found)
    else:
        print_table("One worker on one core", ("figure", "value"), ((k, f"{v:,.3g}") for k, v in found.items()))


def signals_share(points: int) -> float:
    """What rates, quantiles, derived signals and coalescing take of a worker's JSON points per CPU second, the median
    of some rounds in turns. Without them the same messages are of gauges, each of an entity of its own."""
    with broker_for_bench("") as plain, broker_for_bench("") as used:
        messages = [
            fill_parts(broker, names, points, apart=broker is plain)
            for broker, names in ((plain, loads.GAUGES), (used, loads.COUNTED))
        ]
        rates = [
            [worked(broker, count, 0, "signals")["points_per_cpu_s"] for broker, count in zip((plain, used), messages,
                                                                                             strict=True)]
            for _ in range(loads.ROUNDS)
        ]  # fmt: skip
    return statistics.median(1.0 - with_them / without for without, with_them in rates)


def fill_parts(broker: Broker, names: Sequence[str], points: int, *, apart: bool) -> int:
    """Publish samples in two messages each. Returns the number of messages."""
    moments, count = points // len(names) // loads.ENTITIES, 0
    with Publisher(broker) as publisher:
        for at, raw in loads.messages(names, 2, moments, apart=apart):
            publisher.send_raw(METRICS.name, raw.key or b"", raw.value or b"", partition=at % METRICS.partitions)
            count += 1
    return count


@contextmanager
def broker_for_bench(address: str) -> Iterator[Broker]:
    """The broker at `address`, or a real Kafka that runs only during the measurement."""
    if address:
        broker = Broker.from_environment(address)
        require(broker)
        ensure(broker)
        yield broker
        return
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder)) as kafka:
        ensure(kafka.broker)
        yield kafka.broker


def fill_json(publisher: Publisher, points: int) -> int:
    """Publish samples of `ENTITIES` entities with ten metrics, one a second. Returns the number of points."""
    rng = np.random.default_rng(1)
    names = [f"system.metric.{number}" for number in range(METRICS_EACH)]
    for number in range(points // METRICS_EACH):
        moment, at = divmod(number, ENTITIES)
        values = np.round(rng.normal(50, 5, METRICS_EACH), 3).tolist()
        entity = f"bench/service/{at}"
        sample = {"entity": entity, "ts": START + moment * PERIOD_MS, "metrics": dict(zip(names, values, strict=True))}
        publisher.send_raw(METRICS.name, entity.encode(), orjson.dumps(sample), partition=at % METRICS.partitions)
    publisher.flush()
    return points // METRICS_EACH * METRICS_EACH


def fill_frames(publisher: Publisher, points: int, after: int, entities: int = ENTITIES) -> int:
    """Publish frames of ten samples, one sender for a hundred entities, from sample `after` on. Returns the points."""
    rng = np.random.default_rng(2)
    frames = points // (entities * METRICS_EACH * MOMENTS_A_FRAME)
    for partition in range(METRICS.partitions):
        own = range(partition, entities, METRICS.partitions)
        senders = [own[first : first + A_SENDER] for first in range(0, len(own), A_SENDER)]
        names = [_names(sender) for sender in senders]
        for number in range(frames):
            for sender, named in zip(senders, names, strict=True):
                frame = _frame(named, len(sender), after + number * MOMENTS_A_FRAME, rng)
                publisher.send_raw(METRICS.name, b"frame", pack(frame), partition=partition)
    publisher.flush()
    return frames * entities * METRICS_EACH * MOMENTS_A_FRAME


def _names(entities: Iterable[int]) -> bytes:
    named = [f"bench/service/{at}" for at in entities]
    return pack_names(named, [(e, f"system.metric.{m}") for e in range(len(named)) for m in range(METRICS_EACH)])


def _frame(names: bytes, entities: int, first: int, rng: np.random.Generator) -> Frame:
    """A frame of ten samples of each of `entities` entities, from sample `first` on."""
    moments, samples = first + np.repeat(np.arange(MOMENTS_A_FRAME), entities), entities * MOMENTS_A_FRAME
    return Frame(
        names, (START + moments * PERIOD_MS).astype(np.int64),
        np.tile(np.arange(entities, dtype=np.uint32), MOMENTS_A_FRAME),
        np.arange(0, samples * METRICS_EACH + 1, METRICS_EACH, dtype=np.uint32),
        np.tile(np.arange(entities * METRICS_EACH, dtype=np.uint32), MOMENTS_A_FRAME),
        rng.normal(50, 5, samples * METRICS_EACH),
    )  # fmt: skip


def worked(broker: Broker, end: int, begin: int = 0, how: str = "") -> dict[str, float]:
    """The report of a worker process, pinned to one core, on the points from `begin` to `end` of the topic.

    how: of `app.bench.lane_worker`.
    """
    return _child("app.bench.lane_worker", broker, str(end), str(begin), *filter(None, [how]))


def faust(broker: Broker, points: int) -> float:
    """Points a second of a plain Faust agent that only parses the same samples."""
    topic = "opsloop.bench.faust"
    client = admin(broker)  # kept until its future is done
    client.create_topics([NewTopic(topic, 1, 1)])[topic].result(15)
    with Publisher(broker) as publisher:
        sample = orjson.dumps({"entity": "e", "ts": START, "metrics": {f"system.metric.{m}": 50.0 for m in range(10)}})
        for _ in range(min(points // METRICS_EACH, 60_000)):
            publisher.send_raw(topic, b"e", sample)
    return _child("app.bench.faust_worker", broker, topic, str(min(points // METRICS_EACH, 60_000)))["points_per_s"]


def _child(module: str, broker: Broker, *arguments: str) -> dict[str, float]:
    core = max(os.sched_getaffinity(0))
    command = [sys.executable, "-m", module, broker.bootstrap, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    if done.returncode:
        raise UserError(f"{module} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=dict[str, float])


def river_trees(samples: int = 3_000) -> float:
    """Points a second of River's multivariate detector, as its manual sets it up: scaled half-space trees."""
    from river import anomaly, compose, preprocessing

    model = compose.Pipeline(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=1))
    began = time.process_time()
    for text in _texts(samples):
        metrics = orjson.loads(text)["metrics"]
        model.score_one(metrics)
        model.learn_one(metrics)
    return samples * METRICS_EACH / (time.process_time() - began)


def river_gaussian(samples: int = 15_000) -> float:
    """Points a second of River's fastest learner, one for each series. It only has the bank's view of the level."""
    from river import anomaly

    scorers = {f"m{m}": anomaly.GaussianScorer() for m in range(METRICS_EACH)}
    began = time.process_time()
    for text in _texts(samples):
        for metric, value in orjson.loads(text)["metrics"].items():
            scorers[metric].score_one(None, value)
            scorers[metric].learn_one(None, value)
    return samples * METRICS_EACH / (time.process_time() - began)


def _texts(samples: int) -> list[bytes]:
    rows = np.random.default_rng(3).normal(50, 5, (samples, METRICS_EACH))
    return [orjson.dumps({"metrics": {f"m{m}": float(v) for m, v in enumerate(row)}}) for row in rows]


def kernel(entities: int, moments: int = 60) -> float:
    """CPU nanoseconds of the kernel for one point, over `entities` with ten series: the best of many batches.

    Only batches in the second half count: a new series costs almost nothing.
    """
    names, bank = Names(), Bank()
    for entity in range(entities):
        names.intern(f"bench/service/{entity}", [f"system.metric.{m}" for m in range(METRICS_EACH)])
    bank.admit(names)
    rng, samples = np.random.default_rng(4), min(max(entities, 1_000), 20_000)
    start, values = np.arange(0, samples * METRICS_EACH + 1, METRICS_EACH, dtype=np.int32), samples * METRICS_EACH
    best, batches = float("inf"), moments * entities // samples
    for number in range(batches):
        moment, whose = np.divmod(np.arange(samples) + number * samples, entities)
        series = (whose[:, None] * METRICS_EACH + np.arange(METRICS_EACH)).astype(np.int32).ravel()
        ts = START + moment * PERIOD_MS
        given = Samples(whose.astype(np.int32), ts, start, series, rng.normal(50, 5, values))
        began = time.process_time()
        bank.take(given)
        if number >= batches // 2:
            best = min(best, time.process_time() - began)
    return best / values * 1e9
