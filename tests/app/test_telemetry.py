"""Measurements sent with the client arrive whole, at the worker that owns their entity."""

from __future__ import annotations

import collections

from agents.decode import Decode, chunk_of
from app.broker import partition_of, read_all
from app.client import Telemetry
from app.embedded import Embedded
from models.detection.batch import Batch
from topics.frames import CONTENT_TYPE
from topics.telemetry import METRICS


def test_what_is_recorded_arrives_whole_in_the_partition_of_its_entity(embedded: Embedded) -> None:
    with Telemetry(embedded.broker, most=50) as telemetry:
        for look in range(40):
            for host in range(10):
                telemetry.record(f"host-{host}", {"cpu": look + host / 16, "load": 1.0})
    arrived: dict[str, list[float]] = collections.defaultdict(list)
    decoders: dict[int, Decode] = collections.defaultdict(Decode)
    for raw in read_all(embedded.broker, [METRICS.name]):
        assert dict(raw.headers)["content-type"] == CONTENT_TYPE
        (batch,) = decoders[raw.partition].step(chunk_of([raw]), 0)
        assert isinstance(batch, Batch)
        for at, entity in enumerate(batch.entity.tolist()):
            name = batch.names.entities[entity]
            assert partition_of(name.encode(), METRICS.partitions) == raw.partition
            arrived[name].append(float(batch.value[batch.start[at]]))
    assert arrived == {f"host-{host}": [look + host / 16 for look in range(40)] for host in range(10)}
