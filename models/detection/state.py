"""What a partition's detectors have learned, as data: little-endian float64 in a MessagePack envelope.

A state of another version is refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from models.detection.absence import AbsenceState
from models.detection.alarm_trajectory import Trajectory
from models.detection.alarms import Purse, Told
from models.detection.columns import ENTITY_FIELDS, SERIES_FIELDS, TILE, rows_of, tiles_for, tiles_of
from models.detection.entity_detectors import DetectorState
from models.detection.forks import Fork
from models.detection.hysteresis import Held
from models.detection.partition import PartitionDetector
from models.detection.ranges import Out
from models.detection.season import SeasonState
from models.detection.shift import ShiftState
from models.detection.univariate import FIELDS as UNIVARIATE_FIELDS
from topics.batch import Float64
from topics.learning import Feedback
from topics.state import OTHER_VERSION

VERSION: Final = 6

Buffer = bytes | memoryview


class _Fork(msgspec.Struct):
    entity: int
    incidents: list[str]
    label: Feedback
    series: list[int]
    rows: bytes
    row: bytes
    univariate: bytes


class _State(msgspec.Struct):
    """All but the largest: tiles of series and rows of entities come after it."""

    version: int
    n_series: int
    forks: list[_Fork]
    univariate: bytes
    detectors: list[DetectorState]
    watched: list[int]
    absence: AbsenceState
    told: dict[str, Told]
    purses: dict[str, Purse]
    out: dict[int, Out]
    held: dict[str, Held]
    shifts: ShiftState
    trajectories: dict[str, Trajectory]
    season: SeasonState
    pace: bytes = b""  # of version 5 too, before it was kept: it is learned from the next two samples


class _Version(msgspec.Struct):
    version: int = 0


_KEPT: Final = msgspec.msgpack.Decoder(tuple[_State, memoryview, memoryview])  # made before there are threads
_OF_THREE: Final = msgspec.msgpack.Decoder(tuple[_Version, memoryview, memoryview])
_THREE: Final = b"\x93"  # how a tuple of three begins


def pieces(detector: PartitionDetector) -> list[Buffer]:
    """The state in a row of buffers: views of arrays that the next batch changes."""
    bank = detector.bank
    forks = [
        _Fork(
            number, fork.incidents, fork.label, fork.series, _bytes(rows_of(fork.tiles, len(fork.series))),
            _bytes(fork.entity), _bytes(fork.univariate),
        )
        for number, fork in sorted(detector.forks.open.items())
    ]  # fmt: skip
    small = _State(
        VERSION,
        bank.n_series,
        forks=forks,
        univariate=_bytes(bank.univariate_rows),
        detectors=detector.detectors.dump(),
        watched=detector.detectors.dump_watched(),
        absence=detector.absence.dump(),
        told=detector.alarms.told,
        purses=detector.alarms.purses,
        out=detector.ranges.out,
        held=detector.hysteresis.held,
        shifts=detector.shifts.dump(),
        trajectories=detector.trajectories.open,
        season=detector.season.dump(),
        pace=detector.pace.dump(),
    )
    tiles, entities = _bytes(bank.tiles[: tiles_for(bank.n_series)]), _bytes(bank.entities[: bank.n_entities])
    return [_THREE, msgspec.msgpack.encode(small), *_packed([tiles]), *_packed([entities])]


def load(detector: PartitionDetector, state: Buffer) -> None:
    """Let a detector become what was dumped. Raises ValueError when the state is of another version."""
    if state[:1] != _THREE or _OF_THREE.decode(state)[0].version != VERSION:
        raise ValueError(OTHER_VERSION.format(what="learners", version=VERSION))
    kept, tiles, entities = _KEPT.decode(state)
    bank = detector.bank
    bank.load(_floats(tiles).reshape(-1, SERIES_FIELDS, TILE), kept.n_series)
    bank.entities = _rows(entities, ENTITY_FIELDS)
    bank.n_entities = len(bank.entities)
    bank.univariate = _rows(kept.univariate, UNIVARIATE_FIELDS)
    detector.forks.open = {
        f.entity: Fork(
            f.incidents, f.label, f.series, tiles_of(_rows(f.rows, SERIES_FIELDS)),
            _rows(f.row, ENTITY_FIELDS), _rows(f.univariate, UNIVARIATE_FIELDS),
        )
        for f in kept.forks
    }  # fmt: skip
    detector.detectors.load(kept.detectors, kept.watched)
    detector.absence.load(kept.absence)
    detector.ranges.load(kept.out)
    detector.alarms.told, detector.alarms.purses, detector.hysteresis.held = kept.told, kept.purses, kept.held
    detector.shifts.load(kept.shifts)
    detector.trajectories.open = kept.trajectories
    detector.season.load(kept.season)
    detector.pace.load(kept.pace)


def _packed(buffers: Sequence[Buffer]) -> list[Buffer]:
    """MessagePack of the bytes that lie in some buffers, in buffers."""
    return [b"\xc6" + sum(map(len, buffers)).to_bytes(4, "big"), *buffers]


def _bytes(array: Float64) -> bytes:
    """A view of what is little-endian already; msgspec writes one as bytes."""
    return np.ascontiguousarray(array, "<f8").reshape(-1).view(np.uint8).data  # type: ignore[return-value]


def _rows(data: Buffer, fields: int) -> Float64:
    return _floats(data).reshape(-1, fields)


def _floats(data: Buffer) -> Float64:
    """A copy: what was read has no place that an array can be changed in."""
    return np.frombuffer(data, "<f8").copy()
