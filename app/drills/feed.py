"""Drills with bad input of the lane: repeated samples, late samples, and poison messages of every class."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from app.clock import now_ms
from app.drills.report import Report
from app.drills.testbed import in_turn, open_testbed
from app.errors import UserError
from app.kafka.broker import Broker, producer_config, read_all
from topics.codec import Cause
from topics.spec import Topic
from topics.telemetry import METRICS

NAMES: Final = 1_000_000
NAMES_A_MESSAGE: Final = 60_000
HOUR_MS: Final = 3_600_000
MARK: Final = "poison"
WAIT_S: Final = 60.0
DOOR: Final = "door"  # not a dead-letter cause: the broker itself refuses it

Class = tuple[str, bytes | None, bytes | None, set[str]]  # name, key, value, expected causes


def duplicates(folder: Path, report: Report, trials: int) -> None:
    """Send a tenth of all samples twice and a tenth up to 30 s late, and kill a worker in between."""
    with open_testbed(folder, report, untidy=True) as field:

        def fault(_: int) -> float:
            time.sleep(3.0)
            field.workers[0].kill()
            moment = time.monotonic()
            (field.workers[0],) = field.start_workers(1)
            return moment

        in_turn(field, report, trials, fault)


def poison(folder: Path, report: Report, trials: int) -> None:
    """Send messages of every class that must be refused, between valid ones."""
    with open_testbed(folder, report) as field:
        for number in range(trials):
            field.calm()
            moment = time.monotonic()
            wanted = _send(field.broker, METRICS, list(classes(number)), report)
            _await(field.broker, METRICS, wanted, report)
            field.await_recovery()
            report.stall_s = max(report.stall_s, field.stall(moment))
            report.trials += 1
        report.check(all(worker.alive for worker in field.workers), "a worker did not outlive poison")


def classes(number: int) -> Iterator[Class]:
    """One or more messages of every class of poison, each with the causes under which it may be refused."""
    key, malformed, wrong = b"drill/poison/0", {Cause.MALFORMED.value}, {Cause.WRONG_TYPE.value}
    not_finite = {Cause.NOT_FINITE.value}
    sample = _sample(number)
    yield "empty", key, b"", {Cause.EMPTY}
    yield "no value", key, None, {Cause.EMPTY}
    yield "random bytes", key, bytes((number * 7 + i * 131 + i * i) % 251 + 1 for i in range(400)), malformed
    yield "truncated JSON", key, sample[:-9], malformed
    yield "depth 1,500", key, b'{"entity":' + b"[" * 1_500 + b"]" * 1_500 + b"}", malformed | wrong
    yield "10 MB", key, b'{"entity":"' + b"x" * 10_000_000 + b'"}', {Cause.OVERSIZED, DOOR}
    yield "just above 1 MB", key, b'{"entity":"' + b"x" * 1_000_000 + b'"}', {Cause.OVERSIZED}
    yield "null key, no entity", None, b'{"metrics":{"a":1}}', wrong
    for text in ("NaN", "Infinity", "-Infinity", "1e308", "1e400"):
        yield text, key, sample.replace(b"1.5", text.encode()), not_finite | malformed
    yield "integer over 64 bits", key, sample.replace(b"1.5", b"9" * 150), not_finite | malformed
    yield "stamp over 64 bits", key, _sample(number, ts=10**25), {Cause.TIMESTAMP, *wrong, *malformed}
    yield "strings for numbers", key, sample.replace(b"1.5", b'"1.5"'), wrong
    yield "wrong version", key, _sample(number, v=99), {Cause.VERSION}
    yield "future stamp", key, _sample(number, ts=now_ms() + HOUR_MS), {Cause.TIMESTAMP}
    yield "stamp of the year 1970", key, _sample(number, ts=5), {Cause.TIMESTAMP}
    for first in range(0, NAMES, NAMES_A_MESSAGE):
        names = {f"n{first + i}": 1 for i in range(NAMES_A_MESSAGE)}
        yield f"a million names, from {first}", key, _sample(number, metrics=names), {Cause.TOO_MANY_SERIES}


def harmless(number: int) -> Iterator[tuple[str, bytes]]:
    """Extreme but valid messages: learners must accept them and stay finite."""
    yield "1e12 spike", _sample(number).replace(b"1.5", b"1e12")
    yield "1e99", _sample(number, ts=1_700_000_001_000 + number).replace(b"1.5", b"1e99")
    yield "duplicate keys", _sample(number).replace(b'"a"', b'"a":2,"a"')


def _sample(number: int, **changes: Any) -> bytes:
    fields = {"entity": "drill/poison/0", "ts": 1_700_000_000_000 + number, "metrics": {"a": 1.5}} | changes
    return json.dumps(fields, separators=(",", ":")).encode()


def _send(broker: Broker, topic: Topic, given: list[Class], report: Report) -> dict[str, set[str]]:
    """Send all messages. Returns the allowed causes by mark. Counts messages that the broker refuses."""
    wanted: dict[str, set[str]] = {}
    producer = Producer(producer_config(broker))
    refused: set[str] = set()
    for name, key, value, causes in given:
        mark = f"{report.trials}/{name}"
        wanted[mark] = causes

        def told(error: Any, _: Any, mark: str = mark) -> None:
            if error is not None:
                refused.add(mark)

        try:
            producer.produce(topic.name, value, key, headers=[(MARK, mark.encode())], on_delivery=told)
        except KafkaException:
            refused.add(mark)
        producer.poll(0)
    for name, value in harmless(report.trials):
        producer.produce(topic.name, value, name.encode(), headers=[(MARK, b"")])
    if producer.flush(30):
        raise UserError("the broker takes no poison", "Look whether it runs")
    for mark in refused:
        report.check(DOOR in wanted.pop(mark), f"the broker refused {mark}")
    report.figures["at_the_door"] = report.figures.get("at_the_door", 0) + len(refused)
    report.figures["poisoned"] = report.figures.get("poisoned", 0) + len(given)
    return wanted


def _await(broker: Broker, topic: Topic, wanted: dict[str, set[str]], report: Report) -> None:
    """Check that each message sent is a dead letter at least once, with an allowed cause."""
    end = time.monotonic() + WAIT_S
    found: dict[str, set[str]] = defaultdict(set)
    while not wanted.keys() <= found.keys() and time.monotonic() < end:
        for raw in read_all(broker, [topic.dlq]):
            headers = dict(raw.headers)
            if MARK in headers:
                found[headers[MARK].decode()].add(headers["dlq_cause"].decode())
        time.sleep(0.3)
    for mark, causes in wanted.items():
        report.check(mark in found, f"{mark} was not refused")
        report.check(found[mark] <= causes, f"{mark} was refused as {found[mark]} and not as {causes}")
