"""Recordings scored offline, by the very code of the live path: one sample after another, cold, without labels."""

from __future__ import annotations

import gzip
import io
import math
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

from agents.detect import Detect
from app.errors import UserError
from app.ingest.publish import Bad, read_csv
from models.detection.settings import DetectionSettings
from topics.batch import Batch, Float64, Int64, Names
from topics.formats.native import MAX_SIZE
from topics.kinds import COUNTER, meaning
from topics.signals import Anomaly
from topics.spec import Origin
from topics.telemetry import METRICS

EPOCH: Final = 1_577_836_800_000  # 2020-01-01: where a recording without times is taken to begin ...
PERIOD_MS: Final = 60_000  # ... with a sample a minute
LABELS: Final = frozenset({"label", "labels", "anomaly", "is_anomaly"})  # columns that are answers, not measurements

FIRST: Final = "bank"  # the detector whose alarms open incidents
ENDINGS: Final = (".npz", ".csv", ".csv.gz", ".parquet")

Int8 = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Recording:
    """Measurements of one entity: n samples of k metrics, NaN where there is none."""

    name: str
    metrics: tuple[str, ...]
    ts: Int64  # (n,) ms
    values: Float64  # (n, k)
    train: Float64  # (t, k) what came before, fed first only when asked for
    label: Int8 | None = None  # (n,)


@dataclass(frozen=True, slots=True)
class ScoredRecording:
    """What the detector made of a recording."""

    score: Float64  # (n,) how far the entity was off
    alarm: Int8  # (n,) the decision at each step: 1 from the look that raised an alarm to the one that cleared it
    attribution: Float64  # (n, k) |z| of each metric
    second: dict[str, Int8]  # (n,) the same of each other detector that told something: its name, 1 while it is on


def load(path: Path) -> Recording:
    """The recording in a .npz (test, and perhaps train and label), .csv, .csv.gz or .parquet file.

    Raises:
        UserError: there is no such file, or it holds no measurements.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}", "Give .npz, .csv, .csv.gz or .parquet files")
    endings = "".join(path.suffixes[-2:]).lower()
    try:
        if endings.endswith(".npz"):
            return _npz(path)
        if endings.endswith(".parquet"):
            return _parquet(path)
        text = gzip.open if endings.endswith(".gz") else open
        with text(path, "rt", encoding="utf-8-sig", newline="") as stream:
            return _csv(path, stream)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path.name} cannot be read ({error})", "See `opsloop score --help` for what is read"
        ) from None


def _npz(path: Path) -> Recording:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
        part = next((name for name in ("test", "data", "values", "X") if name in held), None)
        if part is None:
            raise ValueError(f"it has no array `test`, only {', '.join(held.files)}")
        values = _table(held[part])
        train = _table(held["train"]) if "train" in held and held["train"].size else values[:0]
        if train.shape[1] != values.shape[1]:
            raise ValueError(f"`train` has {train.shape[1]} metrics where `{part}` has {values.shape[1]}")
        label = held["label"].astype(np.int8).ravel() if "label" in held else None
    ts = EPOCH + PERIOD_MS * np.arange(len(values), dtype=np.int64)
    width = len(str(values.shape[1] - 1))
    metrics = tuple(f"metric-{number:0{width}}" for number in range(values.shape[1]))
    return Recording(path.stem, metrics, ts, values, train, label)


def _table(values: NDArray[np.generic]) -> Float64:
    table = np.asarray(values, np.float64)
    table = table.reshape(-1, 1) if table.ndim == 1 else table
    if table.ndim != 2 or not table.size:
        raise ValueError(f"an array of the shape {values.shape} is no measurements; (n, metrics) is")
    return table


def _csv(path: Path, stream: TextIO) -> Recording:
    name, samples, ts = path.name.partition(".")[0], [], [0]
    for row in read_csv(
        stream, name, ordered=False
    ):  # one that says nothing stays as a gap: what is scored has a place for each row
        samples.append({} if isinstance(row, Bad) else row.metrics)
        ts.append(ts[-1] if isinstance(row, Bad) else row.ts)
    metrics = tuple(m for m in dict.fromkeys(m for sample in samples for m in sample) if m.lower() not in LABELS)
    if not metrics:
        raise ValueError("it has no row with a number")
    values = np.array([[sample.get(metric, math.nan) for metric in metrics] for sample in samples])
    found = [sample[m] for sample in samples for m in sample if m.lower() in LABELS]
    label = np.array(found, np.int8) if len(found) == len(samples) else None
    when = np.array(ts[1:], np.int64)
    if (np.diff(when) < 0).any():  # newest first, perhaps
        order = np.argsort(when, kind="stable")
        when, values, label = when[order], values[order], None if label is None else label[order]
    metrics, values = _as_rates(metrics, when, values)
    return Recording(name, metrics, when, values, values[:0], label)


def _as_rates(metrics: tuple[str, ...], ts: Int64, values: Float64) -> tuple[tuple[str, ...], Float64]:
    """Counters as the live path has them: growth a second since the value before, none where one was reset."""
    for column in [at for at, name in enumerate(metrics) if meaning(name).kind == COUNTER]:
        there = np.flatnonzero(~np.isnan(values[:, column]))
        counts, seconds = values[there, column], np.diff(ts[there]) / 1000.0
        values[:, column] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            grown = np.diff(counts) / seconds
        values[there[1:], column] = np.where((grown >= 0.0) & (seconds > 0.0), grown, np.nan)
    return tuple(meaning(name).shown if meaning(name).kind == COUNTER else name for name in metrics), values


def _parquet(path: Path) -> Recording:
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "reading parquet needs pyarrow", "Type `pip install 'opsloop[parquet]'`, or convert the file to CSV"
        ) from None
    text = io.BytesIO()
    pyarrow.csv.write_csv(pyarrow.parquet.read_table(path), text)
    return _csv(path, io.StringIO(text.getvalue().decode()))


def recordings(paths: Iterable[Path]) -> Iterator[Path]:
    """The files, and those in folders, at any depth, in order."""
    for path in paths:
        if path.is_dir():
            yield from sorted(inside for inside in path.rglob("*") if inside.name.lower().endswith(ENDINGS))
        else:
            yield path


def batch_of(names: Names, entity: str, metrics: Iterable[str], ts: Int64, values: Float64) -> Batch:
    """The samples of one entity as a batch of the live path; offsets are rows."""
    number, series = names.intern(entity, metrics)
    there = _there(values)
    start = np.concatenate(([0], np.cumsum(there.sum(axis=1)))).astype(np.int32)
    numbers = np.broadcast_to(np.array(series, np.int32), values.shape)[there]
    samples = len(ts)
    entities, offsets = np.full(samples, number, np.int32), np.arange(samples, dtype=np.int64)
    return Batch(METRICS.name, 0, names, entities, ts, start, numbers, values[there], offsets)


def _there(values: Float64) -> NDArray[np.bool_]:
    """Where a measurement is: NaN is none, and a sample with a value that the live path would refuse is left out."""
    there: NDArray[np.bool_] = ~np.isnan(values)
    there[(np.abs(values) > MAX_SIZE).any(axis=1)] = False
    return there


def score(
    recording: Recording, settings: DetectionSettings | None = None, *, warm: bool = False, detect: Detect | None = None
) -> ScoredRecording:
    """Score a recording: cold, or after its `train` part when `warm`.

    settings: as of a live worker, for which the recording's name is the entity; detect: the agent that is fed.
    """
    detect, names = detect or Detect(settings), Names()
    if warm and len(recording.train):
        before = recording.ts[0] - PERIOD_MS * np.arange(len(recording.train), 0, -1, dtype=np.int64)
        for _ in detect.model.scored(batch_of(names, recording.name, recording.metrics, before, recording.train)):
            pass
    batch = batch_of(names, recording.name, recording.metrics, recording.ts, recording.values)
    there = _there(recording.values)
    seen = np.logical_or.reduce(there, axis=1)
    said: list[Anomaly] = []
    scores, strengths = [np.zeros(1)], [np.zeros(0)]
    for scored, anomalies in detect.model.scored(batch.only(seen)):
        scores.append(scored.score.copy())
        strengths.append(np.abs(scored.z))
        said += anomalies
    attribution = np.zeros(recording.values.shape)
    attribution[there] = np.concatenate(strengths)
    alarms = _alarms(said, len(batch))
    return ScoredRecording(np.concatenate(scores)[np.cumsum(seen)], alarms.pop(FIRST), attribution, alarms)


def _alarms(said: Iterable[Anomaly], rows: int) -> dict[str, Int8]:
    """By detector, row by row: whether one of its alarms is on."""
    found = {FIRST: np.zeros(rows, np.int8)}
    since: dict[tuple[str, str], int] = {}
    for anomaly in said:
        if anomaly.suppressed != "none":
            continue
        key, row = (anomaly.detector, anomaly.id), Origin.parse(anomaly.evidence).offset
        if anomaly.state == "raised":
            since[key] = row
        elif anomaly.state == "cleared" and key in since:  # else it was raised before the recording began
            found.setdefault(anomaly.detector, np.zeros(rows, np.int8))[since.pop(key) : row] = 1
    for (detector, _), row in since.items():
        found.setdefault(detector, np.zeros(rows, np.int8))[row:] = 1
    return found
