"""Labelled recordings, and the results of a detector on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from app.bench.detectors import Judged
from app.bench.scoring import Events, Float64, auc_pr, events, segments, total, vus_pr, window_of
from app.errors import UserError
from app.offline.score import Int8, Recording, load, recordings
from topics.spec import DAY_MS

PERIOD_MS: Final = {
    "asd": 300_000
}  # between samples of recordings that have no times of their own but are not minutely
DELAY_LIMIT: Final = 30  # samples from an event's start within which an alarm counts in `f1_in_time`


@dataclass(frozen=True, slots=True)
class Labelled:
    """A recording whose events are known."""

    recording: Recording
    label: Int8
    days: float
    metrics_to_blame: Path  # may not be there


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one detector on one recording."""

    name: str
    vus_pr: float  # nan, as the next one, where there is no event
    auc_pr: float
    events: Events
    in_time: Events
    raised: Events
    alarmed_share: float
    alarms_a_day: float
    top1: int
    top3: int
    explained: int  # labelled events whose metrics are labelled too


def paths(folder: Path) -> list[Path]:
    """The recordings in a folder."""
    return [path for path in recordings([folder]) if path.name.lower().endswith((".npz", ".csv", ".csv.gz"))]


def labelled(path: Path, family: str) -> Labelled:
    """The recording in a file, with its labels.

    Raises:
        UserError: it has none.
    """
    recording = load(path)
    if recording.label is None:
        raise UserError(f"{path.name} has no labels", "Give it a column, or in .npz an array, named `label`")
    period = PERIOD_MS.get(family, float(np.median(np.diff(recording.ts))) if len(recording.ts) > 1 else 60_000.0)
    days = len(recording.ts) * period / DAY_MS
    return Labelled(recording, recording.label, days, path.parent / "interpretation_label" / f"{path.stem}.txt")


def result(of: Labelled, judged: Judged) -> Result:
    """What the labels say of what a detector made of a recording."""
    label, alarm = of.label, judged.alarm
    top1, top3, explained = _attributed(judged.attribution, of.metrics_to_blame)
    vus = auc = math.nan
    if label.any():
        vus = vus_pr(label, judged.score, window_of(np.nan_to_num(of.recording.values[:, 0])))
        auc = auc_pr(label, judged.score)
    return Result(
        of.recording.name, vus, auc, events(label, alarm), events(label, alarm, DELAY_LIMIT),
        events(label, np.diff(alarm, prepend=0) == 1), float(alarm.mean()), len(segments(alarm)) / of.days,
        top1, top3, explained,
    )  # fmt: skip


def _attributed(attribution: Float64, labels: Path) -> tuple[int, int, int]:
    """Events whose top metric, and those one of whose top three metrics, is a labelled one; and how many have any."""
    top1 = top3 = explained = 0
    for line in labels.read_text().splitlines() if labels.is_file() else ():
        span, _, dimensions = line.partition(":")
        first, last = (int(edge) for edge in span.split("-"))
        explained += 1
        if not attribution.any():
            continue  # this detector has no attribution
        true = {int(dimension) - 1 for dimension in dimensions.split(",")}
        ranked = np.argsort(-attribution[first : last + 1].max(axis=0), kind="stable")[:3].tolist()
        top1 += ranked[0] in true
        top3 += not true.isdisjoint(ranked)
    return top1, top3, explained


def summary(results: Sequence[Result]) -> dict[str, float]:
    """Means over recordings. Events, precision and recall are taken over all events together."""
    both, timely = total(r.events for r in results), total(r.in_time for r in results)
    raised = total(r.raised for r in results)
    explained = max(sum(r.explained for r in results), 1)
    return {
        "vus_pr": _mean(r.vus_pr for r in results), "auc_pr": _mean(r.auc_pr for r in results),
        "precision": both.precision, "recall": both.recall, "f1": both.f1, "f1_in_time": timely.f1,
        "f1_raised": raised.f1, "alarmed_share": _mean(r.alarmed_share for r in results),
        "median_delay": float(np.median(both.delays)) if both.delays else math.nan,
        "alarms_a_day": _mean(r.alarms_a_day for r in results),
        "top1": sum(r.top1 for r in results) / explained, "top3": sum(r.top3 for r in results) / explained,
    }  # fmt: skip


def _mean(values: Iterable[float]) -> float:
    """The mean of those that there are."""
    found = [value for value in values if not math.isnan(value)]
    return float(np.mean(found)) if found else math.nan
