"""Measures the accuracy of the detector on labelled recordings, beside three plain detectors in the same run.

The detector's constants were searched on machine-1-6, machine-3-4, omi-1, omi-3 and omi-5 while the others were
watched, and set in the middle of a plateau of both; the univariate ones in the middle of a plateau on all series of NAB
and on halves of them. So the results are not blind; data that is in no folder is the better test. Everything runs
online: from a cold start, one sample after another, without later samples or labels. The peers get the same entity
score (mean of the five largest values, smoothed) and a boundary of mean plus four deviations of their earlier scores.

`f1` counts an event as caught when an alarm is on during it. The stricter `f1_raised` requires that one is raised
during it, and counts every alarm raised outside of events as false. `alarmed_share` exposes a detector that is always
on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from rich.progress import track

from agents.detect import Detect
from app.bench.scoring import (
    Events,
    Float64,
    NabFile,
    Segment,
    auc_pr,
    events,
    nab,
    segments,
    total,
    vus_pr,
    window_of,
)  # fmt: skip
from app.errors import UserError
from app.offline.score import Recording, batch_of, load, score
from app.printing import err, print_json, print_table
from models.detection.settings import DetectionSettings, Pattern
from topics.batch import Names

CHOSEN_ON: Final = frozenset({"machine-1-6", "machine-3-4", "omi-1", "omi-3", "omi-5"})
PERIODS_A_DAY: Final = {"smd": 1440, "asd": 288}
DELAY_LIMIT: Final = 30  # samples from an event's start within which an alarm counts in `f1_in_time`
PROBATION: Final = 0.15  # share of a NAB file, of at most its first 5,000 points


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one detector on one recording."""

    name: str
    vus_pr: float
    auc_pr: float
    events: Events
    in_time: Events
    raised: Events
    alarmed_share: float
    alarms_a_day: float
    top1: int
    top3: int
    explained: int  # labelled events whose metrics are labelled too


def run(data: Path, json: bool) -> None:
    """Score all recordings under `data`/{smd,asd,nab} with each detector. Print tables; `json`: one object."""
    if not data.is_dir():
        raise UserError(f"there is no folder {data}", "Name the folder with smd, asd and nab: --data DIR")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for family in ("smd", "asd"):
        paths = sorted((data / family).glob("*.npz"))
        for detector, judge in DETECTORS.items():
            results = [
                judged(path, family, judge)
                for path in track(paths, f"{family} · {detector}", console=err, transient=True)
            ]
            for part, chosen in (("chosen", True), ("reported", False)):
                members = [r for r in results if (r.name in CHOSEN_ON) is chosen]
                found.setdefault(f"{family} {part}", {})[detector] = summary(members)
            found.setdefault(family, {})[detector] = summary(results)
    found["nab"] = {detector: of_nab(data / "nab", judge) for detector, judge in DETECTORS.items()}
    found["shifts"] = {family: shifts(data / family) for family in ("smd", "asd", "nab")}
    if json:
        print_json(found)
        return
    for family, by_detector in found.items():
        columns = ["set" if family == "shifts" else "detector", *next(iter(by_detector.values()))]
        rows = ([name, *(f"{v:.3f}" for v in values.values())] for name, values in by_detector.items())
        print_table(family, columns, rows)


Judge = Callable[[Recording], tuple[Float64, Float64, Float64]]  # score (n,), alarm (n,), attribution (n, k)


def judged(path: Path, family: str, judge: Judge) -> Result:
    """The result of one detector on one labelled recording."""
    recording = load(path)
    assert recording.label is not None
    values, alarm, attribution = judge(recording)
    label = recording.label
    seen = events(label, alarm)
    top1, top3, explained = _attributed(attribution, path.parent / "interpretation_label" / f"{path.stem}.txt")
    days = len(values) / PERIODS_A_DAY[family]
    return Result(
        recording.name, vus_pr(label, values, window_of(recording.values[:, 0])), auc_pr(label, values), seen,
        events(label, alarm, DELAY_LIMIT), events(label, np.diff(alarm, prepend=0) == 1), float(alarm.mean()),
        len(segments(alarm)) / days, top1, top3, explained,
    )  # fmt: skip


def _attributed(attribution: Float64, labels: Path) -> tuple[int, int, int]:
    """Events whose top metric, and those one of whose top three metrics, is a labelled one; and how many have labels."""
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


def summary(results: list[Result]) -> dict[str, float]:
    """Means over recordings. Events, precision and recall are taken over all events together."""
    both, timely = total(r.events for r in results), total(r.in_time for r in results)
    raised = total(r.raised for r in results)
    explained = max(sum(r.explained for r in results), 1)
    return {
        "vus_pr": float(np.mean([r.vus_pr for r in results])), "auc_pr": float(np.mean([r.auc_pr for r in results])),
        "precision": both.precision, "recall": both.recall, "f1": both.f1, "f1_in_time": timely.f1,
        "f1_raised": raised.f1, "alarmed_share": float(np.mean([r.alarmed_share for r in results])),
        "median_delay": float(np.median(both.delays)) if both.delays else float("nan"),
        "alarms_a_day": float(np.mean([r.alarms_a_day for r in results])),
        "top1": sum(r.top1 for r in results) / explained, "top3": sum(r.top3 for r in results) / explained,
    }  # fmt: skip


def of_nab(folder: Path, judge: Judge) -> dict[str, float]:
    """NAB's standard score of a detector over the files of `folder`: by its scores, on all and on every second file,
    and by only those scores that raised an alarm.
    """
    files, raised = [], []
    for recording, places in _labelled(folder):
        probation = int(PROBATION * min(len(recording.ts), 5000))
        values, alarm, _ = judge(recording)
        files.append(NabFile(probation, places, values))
        raised.append(NabFile(probation, places, np.where(np.diff(alarm, prepend=0) == 1, values, 0.0)))
    return {
        "by_score": nab(files)[0], "even_files": nab(files[::2])[0], "odd_files": nab(files[1::2])[0],
        "by_alarm": nab(raised)[0],
    }  # fmt: skip


def shifts(folder: Path) -> dict[str, float]:
    """Counts the change points reported on the recordings of `folder`: those that overlap a labelled event between
    onset and report, and the others.
    """
    within = outside = 0
    for recording, places in _labelled(folder):
        batch = batch_of(Names(), recording.name, recording.metrics, recording.ts, recording.values)
        for anomaly in Detect().step([batch], 0):
            if anomaly.detector == "shift" and anomaly.state == "raised":
                first, last = np.searchsorted(recording.ts, (anomaly.onset, anomaly.ts)).tolist()
                touches = any(begin <= last and first <= end for begin, end in places)
                within, outside = within + touches, outside + (not touches)
    return {"within": within, "outside": outside}


def _labelled(folder: Path) -> Iterator[tuple[Recording, list[Segment]]]:
    """Recordings and the positions of their events, from files with labels or from NAB's."""
    for path in sorted(folder.glob("*.npz")):
        recording = load(path)
        assert recording.label is not None
        yield recording, segments(recording.label)
    if (listed := folder / "combined_windows.json").is_file():
        windows = msgspec.json.decode(listed.read_bytes(), type=dict[str, list[tuple[str, str]]])
        for path in sorted(folder.glob("*/*.csv.gz")):
            recording = load(path)
            spans = windows[f"{path.parent.name}/{path.name.removesuffix('.gz')}"]
            yield recording, [_place(recording, first, last) for first, last in spans]


def _place(recording: Recording, first: str, last: str) -> Segment:
    start, end = (dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000 for text in (first, last))
    return int(np.searchsorted(recording.ts, start)), int(np.searchsorted(recording.ts, end, "right")) - 1


def _bank(recording: Recording) -> tuple[Float64, Float64, Float64]:
    scored = score(recording)
    return scored.score, scored.alarm.astype(float), scored.attribution


def _confirmed(recording: Recording) -> tuple[Float64, Float64, Float64]:
    """The same scores with the alarms of `confirm = true`, which need a second view."""
    scored = score(recording, DetectionSettings((Pattern(confirm=True),)))
    return scored.score, scored.alarm.astype(float), scored.attribution


def _ewma(recording: Recording, rate: float = 0.01) -> tuple[Float64, Float64, Float64]:
    """|z| with an exponentially weighted mean and deviation."""
    z = np.zeros(recording.values.shape)
    mean, variance = recording.values[0].copy(), np.zeros(recording.values.shape[1])
    for sample, row in enumerate(recording.values):
        error = row - mean
        z[sample] = np.abs(error) / np.sqrt(variance + 1e-9)
        mean += rate * error
        variance = (1 - rate) * (variance + rate * error * error)
    return _peer(np.minimum(z, 100.0))


def _gaussian(recording: Recording, window: int = 200) -> tuple[Float64, Float64, Float64]:
    """-ln of the tail probability under a normal law over the last `window` samples, as NAB's windowed Gaussian."""
    from scipy.special import log_ndtr

    sums = np.cumsum(np.vstack((np.zeros_like(recording.values[:1]), recording.values)), axis=0)
    squares = np.cumsum(np.vstack((np.zeros_like(recording.values[:1]), recording.values**2)), axis=0)
    at = np.arange(len(recording.values))
    first = np.maximum(at - window, 0)
    count = np.maximum(at - first, 1)[:, None]
    mean = (sums[at] - sums[first]) / count
    spread = np.sqrt(np.maximum((squares[at] - squares[first]) / count - mean**2, 0.0) + 1e-9)
    z = np.where(at[:, None] > 10, np.abs(recording.values - mean) / spread, 0.0)
    return _peer(-log_ndtr(-np.minimum(z, 35.0)))


def _half_space_trees(recording: Recording) -> tuple[Float64, Float64, Float64]:
    """River's half-space trees, 25 of height 8, window 250, over values scaled to 0..1 by the range so far."""
    from river import anomaly

    trees = anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=1)
    low, high = recording.values[0].copy(), recording.values[0] + 1e-9
    scores = np.zeros(len(recording.values))
    for sample, row in enumerate(recording.values):
        low, high = np.minimum(low, row), np.maximum(high, row)
        x = dict(enumerate(((row - low) / (high - low)).tolist()))
        scores[sample] = trees.score_one(x)
        trees.learn_one(x)
    return scores, _own_boundary(scores), np.zeros(recording.values.shape)


def _peer(each: Float64) -> tuple[Float64, Float64, Float64]:
    top = np.sort(each, axis=1)[:, -5:].mean(axis=1)
    smooth = np.fromiter(_smoothed(top.tolist()), float, len(top))
    return smooth, _own_boundary(smooth), each


def _smoothed(values: list[float], rate: float = 0.2) -> Iterator[float]:
    level = 0.0
    for value in values:
        level += rate * (value - level)
        yield level


def _own_boundary(scores: Float64) -> Float64:
    """1 where a score exceeds the mean plus four deviations of the scores before it."""
    count = np.arange(1, len(scores) + 1)
    mean = np.cumsum(scores) / count
    spread = np.sqrt(np.maximum(np.cumsum(scores**2) / count - mean**2, 0.0))
    beyond = scores[1:] > (mean + 4 * spread)[:-1]
    return np.concatenate(([0.0], beyond & (count[1:] > 32))).astype(float)


DETECTORS: Final[dict[str, Judge]] = {
    "opsloop": _bank,
    "opsloop, confirmed": _confirmed,
    "river half-space trees": _half_space_trees,
    "ewma z": _ewma,
    "windowed gaussian": _gaussian,
}
