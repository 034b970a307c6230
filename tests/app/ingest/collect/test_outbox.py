from __future__ import annotations

import pytest

from app.ingest.collect.outbox import WINDOW, Outbox
from app.kafka.broker import read_all
from app.kafka.embedded import Embedded
from topics.codec import decode
from topics.telemetry import METRICS, Sample


def sample(n: int) -> Sample:
    return Sample(entity="host", ts=n, metrics={"n": float(n)})


def seen(cluster: Embedded) -> list[int]:
    return [int(decode(m).record.metrics["n"]) for m in read_all(cluster.broker, [METRICS.name])]  # type: ignore[attr-defined]


def test_everything_arrives_in_order_with_nothing_left(embedded: Embedded) -> None:
    outbox = Outbox(embedded.broker, 60, 10_000_000)
    for n in range(3 * WINDOW):
        outbox.add(sample(n))
    assert outbox.flush(10) == 0
    assert seen(embedded) == list(range(3 * WINDOW))
    assert (outbox.sent, outbox.dropped) == (3 * WINDOW, 0)


def test_when_there_are_too_many_bytes_the_oldest_are_given_up(embedded: Embedded) -> None:
    outbox = Outbox(embedded.broker, 60, 1_000)
    for n in range(100):
        outbox.add(sample(n))
    kept = outbox.pending
    assert 0 < kept < 100
    assert outbox.dropped == 100 - kept
    assert outbox.flush(10) == 0
    assert seen(embedded) == list(range(100 - kept, 100))


def test_what_waits_too_long_is_given_up(embedded: Embedded) -> None:
    now = 0.0
    outbox = Outbox(embedded.broker, 60, 10_000, lambda: now)
    outbox.add(sample(0))
    now = 61.0
    outbox.add(sample(1))
    assert (outbox.pending, outbox.dropped) == (1, 1)


@pytest.mark.parametrize("outage", [1, 2])
def test_an_outage_shorter_than_the_bound_loses_nothing_and_repeats_nothing(embedded: Embedded, outage: int) -> None:
    outbox = Outbox(embedded.broker, 60, 10_000_000)
    outbox.add(sample(0))
    assert outbox.flush(10) == 0
    for _ in range(outage):
        embedded.down()
        start = outbox.sent
        for n in range(start, start + 2 * WINDOW):
            outbox.add(sample(n))
        outbox.flush(0.2)
        assert outbox.pending > 0
        embedded.up()
        assert outbox.flush(20) == 0
    assert seen(embedded) == list(range(outage * 2 * WINDOW + 1))
