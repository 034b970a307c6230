"""What the lanes have learned of entities: their series with ordinary ranges, from the newest snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from agents._partition import PartitionState
from agents._snapshots import SnapshotStore, stores
from agents.decode import Decode
from agents.detect import Detect
from app.errors import UserError
from app.kafka.broker import Broker, consumer_config, partition_of
from app.kafka.places import extents
from app.kafka.split import LANE_PREFIX
from models.detection.anomalies import NOTABLE_Z
from models.detection.columns import ALARMED, NEWEST, ONSET, PERIOD, SAMPLES
from models.detection.settings import DetectionSettings
from topics.spec import Instant
from topics.state import LANE_STATE

DETECTS: Final = LANE_PREFIX + "decode+detect"


class LearnedSeries(msgspec.Struct, frozen=True):
    """A series and what is ordinary for it."""

    series: str
    samples: int
    low: float
    expected: float
    high: float


class LearnedEntity(msgspec.Struct, frozen=True):
    """An entity as the newest snapshot has it."""

    entity: str
    samples: int
    newest: Instant  # event time of its last sample
    period_ms: float  # between samples
    onset: Instant  # of the alarm that is on; 0: none is
    series: tuple[LearnedSeries, ...]


def learned(broker: Broker, settings: DetectionSettings, entity: str = "") -> list[LearnedEntity]:
    """What is known of every entity, or of one, by name. An entity is on the partition of its name.

    Raises:
        UserError: there is no topic of snapshots, or this version cannot read a snapshot.
    """
    numbers = sorted(partition for _, partition in extents(broker, [LANE_STATE.name]))
    wanted = [partition_of(entity.encode(), len(numbers))] if entity else numbers
    found: list[LearnedEntity] = []
    for number in wanted:
        store = stores(consumer_config(broker, "opsloop-reader"), LANE_STATE, number).get(DETECTS)
        if store is not None and store.state:
            found += _of(store, settings, entity)
    return sorted(found, key=lambda one: one.entity)


def _of(store: SnapshotStore, settings: DetectionSettings, entity: str) -> Iterator[LearnedEntity]:
    decode, detect = Decode(), Detect(settings)
    try:
        PartitionState([lambda: decode, lambda: detect], store.state, store)
    except ValueError as error:
        raise UserError(
            f"the snapshot of partition {store.partition} cannot be read: {error}", "Use the version that wrote it"
        ) from None
    names, bank = decode.names, detect.model.bank
    bank.admit(names)
    for name in filter(None, [entity] if entity else names.entities):
        for at in names.number(name):
            row = bank.entities[at]
            known = [number for number in names.of(name)[1] if names.series[number][1]]
            mean, spread, count = bank.ordinary(known)
            series = sorted(
                (names.series[number][1], int(n), m - NOTABLE_Z * s, m, m + NOTABLE_Z * s)
                for number, n, m, s in zip(known, count.tolist(), mean.tolist(), spread.tolist(), strict=True)
            )
            yield LearnedEntity(
                name, int(row[SAMPLES]), int(row[NEWEST]), float(row[PERIOD]),
                int(row[ONSET]) if row[ALARMED] else 0, tuple(LearnedSeries(*one) for one in series),
            )  # fmt: skip
