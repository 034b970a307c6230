"""A partition's learned state is split by entity: each goes on with the very same scores, on one partition alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import msgspec
import pytest

from agents._partition import PartitionState
from agents._snapshots import SnapshotStore
from app import pipeline
from app.errors import UserError
from app.kafka.broker import partition_of
from app.kafka.split import LaneStates, lane_name
from models.detection.settings import DetectionSettings
from topics.chunk import chunk_of
from topics.codec import Message, decode_value, encode
from topics.signals import Anomaly
from topics.spec import Raw
from topics.state import LANE_STATE, Snapshot
from topics.telemetry import METRICS, Sample

SETTINGS = DetectionSettings()
STAGES = pipeline.lane(SETTINGS)
NAME = lane_name(STAGES)
ENTITIES = [f"shop/web/{number}" for number in range(10)]
TAUGHT, NEXT = 150, 30
BEGAN = 1_760_000_000_000


def samples(entities: Sequence[str], first: int, count: int) -> Iterator[Sample]:
    """A sample a second of each; the last ten of all are far off."""
    for number in range(first, first + count):
        for entity in entities:
            rng = random.Random(f"{entity} {number}")
            off = 400.0 if number >= TAUGHT + NEXT - 10 else 0.0
            metrics = {name: rng.gauss(50.0, 2.0) + off for name in ("cpu", "memory", "latency")}
            yield Sample(entity=entity, ts=BEGAN + 1_000 * number, metrics=metrics)


def fed(part: PartitionState, given: Iterator[Sample]) -> list[Anomaly]:
    raws = [Raw(METRICS.name, 0, at, None, encode(sample).value) for at, sample in enumerate(given)]
    return [output for output in part.following(chunk_of(raws), 0) if isinstance(output, Anomaly)]


def states_of(part: PartitionState) -> LaneStates:
    """What a worker left: one snapshot on partition 0."""
    states = LaneStates({}, ())
    state = b"".join(part.pieces())
    store = SnapshotStore(LANE_STATE, NAME, 0, epoch=3, seq=7, applied={METRICS.name: 1_500}, state=state)
    states.found = {0: {NAME: store}}
    return states


def read(messages: Sequence[Message]) -> Snapshot:
    (message,) = messages
    snapshot = decode_value(LANE_STATE, message.value)
    assert isinstance(snapshot, Snapshot)
    return snapshot


def restored(snapshot: Snapshot) -> PartitionState:
    store = SnapshotStore(LANE_STATE, NAME, snapshot.partition)
    return PartitionState(STAGES, bytes(snapshot.state), store)


@pytest.fixture(scope="module")
def left() -> LaneStates:
    part = PartitionState(STAGES, b"", SnapshotStore(LANE_STATE, NAME, 0))
    fed(part, samples(ENTITIES, 0, TAUGHT))
    return states_of(part)


@pytest.mark.parametrize("partitions", [2, 3, 5])
def test_each_entity_goes_on_bit_equal_where_its_samples_come_now(left: LaneStates, partitions: int) -> None:
    for entity in ENTITIES:
        expected = [a for a in fed(restored_of(left), samples([entity], TAUGHT, NEXT)) if a.entity == entity]
        place = partition_of(entity.encode(), partitions)
        part = restored(read(left.split(STAGES, (0, place), partitions)))
        assert [a for a in fed(part, samples([entity], TAUGHT, NEXT)) if a.entity == entity] == expected
        assert expected, "ten samples were far off"


def restored_of(states: LaneStates) -> PartitionState:
    store = states.found[0][NAME]
    return PartitionState(STAGES, store.state, store)


def test_an_entity_is_known_on_one_partition_alone(left: LaneStates) -> None:
    for place in range(3):
        part = restored(read(left.split(STAGES, (0, place), 3)))
        known = {name for name in part.stages[0].names.entities if name}  # type: ignore[attr-defined]
        assert known == {entity for entity in ENTITIES if partition_of(entity.encode(), 3) == place}


def test_a_new_partition_begins_at_its_first_record_and_the_old_one_where_it_was(left: LaneStates) -> None:
    old, new = (read(left.split(STAGES, (0, place), 2)) for place in (0, 1))
    assert (old.partition, old.applied, old.epoch) == (0, {METRICS.name: 1_500}, 4)
    assert (new.partition, new.applied, new.epoch) == (1, {METRICS.name: 0}, 1)


def test_a_snapshot_of_another_version_is_refused_in_one_line() -> None:
    states = LaneStates({}, ())
    stages = msgspec.msgpack.encode({"decode": b"\x91\x01"})
    states.found = {0: {NAME: SnapshotStore(LANE_STATE, NAME, 0, applied={}, state=stages)}}
    with pytest.raises(UserError, match="partition 0 cannot be read"):
        states.split(STAGES, (0, 1), 2)
