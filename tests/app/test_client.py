"""Measurements sent with the client arrive whole, at the worker that owns their entity, or the sender is told."""

from __future__ import annotations

import collections
import re
import runpy
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import until

from agents.decode import Decode, chunk_of
from app.client import DeliveryError, Telemetry
from app.errors import UserError
from app.kafka.broker import partition_of, read_all
from app.kafka.embedded import Embedded
from topics.batch import Batch
from topics.frames import CONTENT_TYPE
from topics.telemetry import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "ingest.md"


def samples(embedded: Embedded) -> Iterator[tuple[str, dict[str, float]]]:
    """Everything that the workers would decode."""
    decoders: dict[int, Decode] = collections.defaultdict(Decode)
    for raw in read_all(embedded.broker, [METRICS.name]):
        assert dict(raw.headers)["content-type"] == CONTENT_TYPE
        assert len(raw.value or b"") < 1_000_000
        (batch,) = decoders[raw.partition].step(chunk_of([raw]), 0)
        assert isinstance(batch, Batch)
        for at, entity in enumerate(batch.entity.tolist()):
            name = batch.names.entities[entity]
            assert partition_of(name.encode(), METRICS.partitions) == raw.partition
            places = range(batch.start[at], batch.start[at + 1])
            yield name, {batch.names.series[batch.series[p]][1]: float(batch.value[p]) for p in places}


def test_what_is_recorded_arrives_whole_in_the_partition_of_its_entity(embedded: Embedded) -> None:
    with Telemetry(embedded.broker, most=50) as telemetry:
        for sample in range(40):
            for host in range(10):
                telemetry.record(f"host-{host}", {"cpu": sample + host / 16, "load": 1.0})
    arrived: dict[str, list[float]] = collections.defaultdict(list)
    for name, metrics in samples(embedded):
        arrived[name].append(metrics["cpu"])
    assert arrived == {f"host-{host}": [sample + host / 16 for sample in range(40)] for host in range(10)}


def test_what_waits_is_sent_in_time_without_another_record(embedded: Embedded) -> None:
    with Telemetry(embedded.broker, linger_s=0.02) as telemetry:
        telemetry.record("web-1", {"cpu": 1.0})
        until(lambda: list(samples(embedded)) == [("web-1", {"cpu": 1.0})])


def test_several_threads_lose_nothing(embedded: Embedded) -> None:
    with Telemetry(embedded.broker, linger_s=0.001, most=20) as telemetry:

        def work(number: int) -> None:
            for sample in range(200):
                telemetry.record(f"host-{number}", {"look": sample})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counted = collections.Counter(name for name, _ in samples(embedded))
    assert counted == {f"host-{number}": 200 for number in range(4)}


def test_a_block_that_fails_still_sends_what_was_recorded_before(embedded: Embedded) -> None:
    def work() -> None:
        with Telemetry(embedded.broker) as telemetry:
            telemetry.record("web-1", {"cpu": 1.0})
            telemetry.record("web-1", {"cpu": 1 / 0})

    with pytest.raises(ZeroDivisionError):
        work()
    assert list(samples(embedded)) == [("web-1", {"cpu": 1.0})]


def test_many_long_names_stay_within_what_a_broker_takes(embedded: Embedded) -> None:
    with Telemetry(embedded.broker, linger_s=60) as telemetry:
        for host in range(60):
            telemetry.record(f"host-{host}", {f"{metric}{'é' * 200}": 1.0 for metric in range(300)})
    assert sorted(name for name, _ in samples(embedded)) == sorted(f"host-{host}" for host in range(60))


@pytest.mark.parametrize(
    ("entity", "metrics", "ts"),
    [
        ("", {"a": 1.0}, 1), ("e", {}, 1), ("e", {"": 1.0}, 1), ("e", {"n" * 513: 1.0}, 1), ("e" * 257, {"a": 1.0}, 1),
        ("e", {str(n): 1.0 for n in range(2_001)}, 1), ("e", {"a": "high"}, 1), ("e", {"a": 1.0}, "now"),
        ("e", {"\ud800": 1.0}, 1),
    ],
)  # fmt: skip
def test_what_no_worker_would_take_is_refused_at_once_and_spoils_nothing(
    embedded: Embedded, entity: str, metrics: dict[str, float], ts: int
) -> None:
    with Telemetry(embedded.broker) as telemetry:
        telemetry.record("e", {"cpu": 1.0}, 10**12)
        with pytest.raises((ValueError, TypeError)):
            telemetry.record(entity, metrics, ts)
        telemetry.record("e", {"cpu": 2.0}, 10**12)
    assert [metrics for _, metrics in samples(embedded)] == [{"cpu": 1.0}, {"cpu": 2.0}]
    with pytest.raises(ValueError, match="closed"):
        telemetry.record("e", {"cpu": 3.0})


def test_without_a_broker_the_first_record_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.kafka.publisher.ANSWER_S", 0.3)
    telemetry = Telemetry("127.0.0.1:1")
    with pytest.raises(UserError, match="no answer from the broker"):
        telemetry.record("web-1", {"cpu": 1.0})
    telemetry.close()


def test_when_the_broker_goes_away_the_sender_is_told_how_much_is_lost(embedded: Embedded) -> None:
    telemetry = Telemetry(embedded.broker, linger_s=0.01)
    telemetry.record("web-1", {"cpu": 1.0})
    telemetry.flush()
    embedded.down()
    telemetry.record("web-1", {"cpu": 2.0})
    with pytest.raises(DeliveryError, match="1 message to the broker not delivered"):
        telemetry.flush(0.3)
    embedded.up()
    telemetry.close()
    assert [metrics["cpu"] for _, metrics in samples(embedded)] == [1.0, 2.0]


def test_the_example_of_the_page_runs(embedded: Embedded, tmp_path: Path) -> None:
    (block,) = re.findall(r"<!-- python: telemetry -->\n```python\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "example.py").write_text(block.replace('"127.0.0.1:9092"', "broker"))
    runpy.run_path(str(tmp_path / "example.py"), {"broker": embedded.broker})
    assert [name for name, _ in samples(embedded)] == ["web-1"]
