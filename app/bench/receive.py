"""Measures `opsloop receive` as many pods scraped by one Prometheus load it: accepted series a second, and its memory.

Each round is what remote write sends of one scrape interval: a series of each pod and name, in requests of `EACH`. One
series in each request is wrong. Afterwards every record is read back: each pod is an entity, each series one of its
metrics with its own value, and what is wrong was refused alone.
"""

from __future__ import annotations

import contextlib
import http.client
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import cramjam
import msgspec
import psutil

from agents.decode import Decode, chunk_of
from app.bench.lane import broker_for_bench
from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker, read_all
from app.printing import err, print_json, print_table
from topics.codec import DeadLetter, decode
from topics.formats.protobuf import message, text, varint
from topics.spec import Instant, Raw
from topics.telemetry import METRICS, Sample

EACH: Final = 2_000  # series in a request, as Prometheus sends them
SENDERS: Final = 4  # connections, as Prometheus has shards
INTERVAL_MS: Final = 15_000
START_S: Final = 60.0
NAMES: Final = ("http_requests_total", "http_request_duration_seconds_sum", "resident_memory_bytes", "queue_length")
MOST: Final = 1_000  # records that the lane is given at once, as it takes them


class Load(msgspec.Struct, frozen=True):
    """What is sent."""

    pods: int
    series: int  # of each pod
    rounds: int


def run(address: str, load: Load, json: bool) -> None:
    """Send all rounds as fast as they are taken, check what came of them, and print the figures."""
    with broker_for_bench(address) as broker:
        found = measure(broker, load)
    if json:
        print_json(found)
    else:
        print_table("Remote write", ("figure", "value"), ((name, f"{value:,.6g}") for name, value in found.items()))


def measure(broker: Broker, load: Load) -> dict[str, float]:
    """The figures of a receiver for a broker whose topics are empty."""
    first, times, sent_s = now_ms() - load.rounds * INTERVAL_MS, list[float](), 0.0
    with _Receiver(broker) as receiver:
        err.print(f"· {load.pods * load.series:,} series are sent {load.rounds} times")
        for number in range(load.rounds):
            bodies = [*_bodies(load, first + number * INTERVAL_MS, number)]
            began = time.perf_counter()
            times += receiver.send(bodies)
            sent_s += time.perf_counter() - began
        used = {"rss_mb": receiver.memory() / 1e6, "receiver_cpu_s": receiver.cpu_s()}
    return _measured(load, times, sent_s) | used | _checked(broker, load, first)


def _measured(load: Load, times: Sequence[float], sent_s: float) -> dict[str, float]:
    values = load.pods * load.series * load.rounds
    ordered = sorted(times)
    return {
        "pods": load.pods, "series": load.pods * load.series, "requests": len(times),
        "series_per_s": values / sent_s, "needed_per_s": load.pods * load.series * 1000.0 / INTERVAL_MS,
        "p50_ms": 1000.0 * ordered[len(ordered) // 2], "p99_ms": 1000.0 * ordered[int(0.99 * (len(ordered) - 1))],
    }  # fmt: skip


def value_of(pod: int, series: int, number: int) -> float:
    """The value of a series in a round: no other has it."""
    return float((number * 10_000 + series) * 100_000 + pod)


def _labels(pod: int, series: int) -> tuple[tuple[str, str], ...]:
    return (
        ("__name__", NAMES[series % len(NAMES)]), ("instance", f"10.{pod >> 8}.{pod & 255}.7:8080"), ("job", "pods"),
        ("namespace", f"team-{pod % 20}"), ("pod", f"cart-{pod}"), ("route", f"/r{series // len(NAMES)}"),
    )  # fmt: skip


def _bodies(load: Load, ts: Instant, number: int) -> Iterator[bytes]:
    """The requests of a round; one series in each has a label twice, and so is of nobody."""
    every = ((pod, series) for pod in range(load.pods) for series in range(load.series))
    while held := [*islice(every, EACH - 1)]:
        right = (_series(_labels(*which), ts, value_of(*which, number)) for which in held)
        wrong = _series((*_labels(*held[0]), ("pod", "other")), ts, -1.0)
        yield bytes(cramjam.snappy.compress_raw(b"".join(message(1, each) for each in (*right, wrong))))


def _series(labels: Sequence[tuple[str, str]], ts: Instant, value: float) -> bytes:
    named = b"".join(message(1, text(1, name) + text(2, held)) for name, held in labels)
    return named + message(2, b"\x09" + struct.pack("<d", value) + varint(2, ts))


class _Receiver:
    """`opsloop receive` as a process of its own."""

    def __init__(self, broker: Broker) -> None:
        command = [sys.executable, "-m", "app", "receive", "--listen", "127.0.0.1:0", "--broker", broker.bootstrap]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._port = 0

    def __enter__(self) -> _Receiver:
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        if "receiving on" not in line:
            self._process.kill()
            raise UserError(f"opsloop receive does not start: {line.strip()}", "Start it by hand to see more")
        self._port = int(line.rpartition(":")[2])
        self._log = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._log.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.join(5)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def cpu_s(self) -> float:
        """Seconds of a processor that it has used."""
        used = psutil.Process(self._process.pid).cpu_times()
        return float(used.user + used.system)

    def send(self, bodies: Sequence[bytes]) -> list[float]:
        """Post all bodies over `SENDERS` connections: seconds of each. Raises UserError: one was not taken."""
        waiting, times, faults = iter(bodies), list[float](), list[str]()
        lock = threading.Lock()

        def work() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            with contextlib.closing(connection):
                while True:
                    with lock:
                        body = next(waiting, None)
                    if body is None or faults:
                        return
                    times.append(_post(connection, body, faults))

        threads = [threading.Thread(target=work) for _ in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise UserError(f"a request was not taken ({faults[0]})", "See the log of opsloop receive")
        return times


def _post(connection: http.client.HTTPConnection, body: bytes, faults: list[str]) -> float:
    """Post a body until it is taken, waiting where the receiver asks for that: seconds."""
    began = time.perf_counter()
    while True:
        connection.request("POST", "/api/v1/write", body, {
            "content-type": "application/x-protobuf", "content-encoding": "snappy",
        })  # fmt: skip
        answer = connection.getresponse()
        said = answer.read().decode()
        if answer.status == 503 and time.perf_counter() - began < START_S:
            time.sleep(float(answer.headers.get("retry-after", "1")))
            continue
        if answer.status != 400 or "refused 1," not in said:  # the wrong series of each request
            faults.append(f"{answer.status} {said[:200]}")
        return time.perf_counter() - began


def _checked(broker: Broker, load: Load, first: Instant) -> dict[str, float]:
    """What is on the broker: values that are missing or wrong, letters, and entities that the lane makes of it."""
    seen = wrong = refused = 0
    by_partition: dict[int, list[Raw]] = {}
    for raw in read_all(broker, [METRICS.name]):
        record = decode(raw).record
        if isinstance(record, Sample):
            number, pod = (record.ts - first) // INTERVAL_MS, _pod(record.entity)
            seen += len(record.metrics)
            wrong += sum(held != value_of(pod, _place(name), number) for name, held in record.metrics.items())
            by_partition.setdefault(raw.partition, []).append(raw)
    entities = 0
    for raws in by_partition.values():
        lane = Decode()
        for at in range(0, len(raws), MOST):
            refused += sum(isinstance(e, DeadLetter) for e in lane.step(chunk_of(raws[at : at + MOST]), now_ms()))
        entities += sum(map(bool, lane.names.entities))
    letters = sum(1 for _ in read_all(broker, [METRICS.dlq]))
    return {
        "missing": load.pods * load.series * load.rounds - seen, "wrong": wrong, "refused_by_receiver": letters,
        "refused_by_lane": refused, "entities": entities,
    }  # fmt: skip


def _pod(entity: str) -> int:
    _, high, low, _ = entity.split(".")
    return int(high) << 8 | int(low)


def _place(metric: str) -> int:
    """Which series of its pod a metric is."""
    stem = metric.partition("{")[0].replace("_seconds_bucket", "_seconds_sum")
    route = metric.partition('route="/r')[2].partition('"')[0]
    return int(route) * len(NAMES) + NAMES.index(stem)
