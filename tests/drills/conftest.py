"""Brokers for drills on safety: the in-memory cluster, and a real Kafka of its own for each drill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from app.kafka.admin import ensure
from app.kafka.broker import probe
from app.kafka.embedded import Embedded
from app.kafka.local import LocalKafka
from tests.clusters import Cluster
from tests.processes import until

BOTH: Final = [pytest.param("memory", id="memory"), pytest.param("kafka", id="kafka", marks=pytest.mark.kafka)]


@pytest.fixture(params=BOTH)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """The topics of the catalogue on one broker: in memory, and again on a real Kafka, which `down` kills."""
    if request.param == "memory":
        embedded: Embedded = request.getfixturevalue("embedded")
        yield Cluster(embedded.broker, embedded.down, embedded.up)
        return
    with LocalKafka(tmp_path / "kafka") as kafka:
        ensure(kafka.broker)

        def up() -> None:
            kafka.start_node(1)
            until(lambda: probe(kafka.broker, 1.0) is None, 60)

        yield Cluster(kafka.broker, lambda: kafka.kill(1), up)
