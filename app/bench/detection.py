"""Measures the accuracy of the detector on labelled recordings and on noise, beside plain detectors in the same run.

The detector's constants were searched on machine-1-6, machine-3-4, omi-1, omi-3 and omi-5 while the others were
watched, and set in the middle of a plateau of both; the univariate ones in the middle of a plateau on all series of NAB
and on halves of them. So the results are not blind; data that is in no folder is the better test. `--protocol loo`
chooses each detector's knob on the other machines instead (`leave_one_out.py`). What is compared is in `detectors.py`.

`f1` counts an event as caught when an alarm is on during it. The stricter `f1_raised` requires that one is raised
during it, and counts every alarm raised outside of events as false. `alarmed_share` exposes a detector that is always
on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from agents.detect import Detect
from app.bench import leave_one_out
from app.bench.detectors import DETECTORS, GRIDS, OPSLOOP
from app.bench.judged import Result, labelled, paths, result, summary
from app.bench.noise import brief, noise
from app.bench.pool import each, pool
from app.bench.scoring import NabFile, Segment, nab, segments
from app.errors import UserError
from app.offline.score import Recording, batch_of, load
from app.printing import print_json, print_table
from topics.batch import Names

CHOSEN_ON: Final = frozenset({"machine-1-6", "machine-3-4", "omi-1", "omi-3", "omi-5"})
PROBATION: Final = 0.15  # share of a NAB file, of at most its first 5,000 points
RECORDED: Final = ("smd", "asd", "nab", "kpi")  # parts that need a folder of their name
PARTS: Final = (*RECORDED, "noise", "brief")

Protocol = Literal["fixed", "loo"]
Measured = dict[str, Mapping[str, Any]]  # by part and detector, or by noise, family and detector: figures


def run(data: Path, json: bool, protocol: Protocol = "fixed", only: Sequence[str] = (), processes: int = 2) -> None:
    """Measure each detector on the parts in `only`, or on all that there is data for. Print tables; `json`: one object.

    data: folder with smd, asd, nab and kpi; protocol: knobs as they are, or each chosen on the other machines.

    Raises:
        UserError: a part is unknown, or there are no recordings for it.
    """
    parts = _parts(data, only)
    found: Measured = {}
    with pool(processes) as executor:
        for part in parts:
            if part == "nab":
                done = each(executor, partial(of_nab, data / part), [*DETECTORS], part)
                found[part] = dict(zip(DETECTORS, done, strict=True))
            elif part in RECORDED:
                found |= (_left_out if protocol == "loo" else _fixed)(executor, data / part)
        if protocol == "fixed" and (shifting := [part for part in parts if part in RECORDED and part != "kpi"]):
            counts = each(executor, shifts, [data / part for part in shifting], "shifts")
            found["shifts"] = dict(zip(shifting, counts, strict=True))
        for part, measure in (("noise", noise), ("brief", brief)):
            if part in parts:
                found[part] = measure(executor)
    if json:
        print_json(found)
        return
    for part, by_detector in found.items():
        (_print_families if part in ("noise", "brief") else _print_figures)(part, by_detector)


def _parts(data: Path, only: Sequence[str]) -> list[str]:
    """The parts to measure, in order."""
    if unknown := [part for part in only if part not in PARTS]:
        raise UserError(f"there is no part {unknown[0]!r}", f"Parts are {', '.join(PARTS)}: --only smd,noise")
    there = [part for part in RECORDED if (data / part).is_dir()]
    missing = [part for part in RECORDED if part in only and part not in there]
    if missing or not (there or only):
        raise UserError(
            f"there is no folder {data / missing[0]}" if missing else f"there is no smd, asd, nab or kpi in {data}",
            "Name the folder with smd, asd, nab and kpi: --data DIR",
        )
    return [part for part in PARTS if (part in only if only else part in there or part not in RECORDED)]


def _fixed(executor: Executor | None, folder: Path) -> Measured:
    """The figures of each detector as it is, on the recordings of a family, and on those that chose and the others."""
    jobs = [(path, folder.name, detector) for path, detector in product(_found(folder), DETECTORS)]
    done = each(executor, judged, jobs, folder.name)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for detector in DETECTORS:
        results = [made for made, job in zip(done, jobs, strict=True) if job[2] == detector]
        for part, chosen in (("chosen", True), ("reported", False)) if folder.name != "kpi" else ():
            members = [r for r in results if (r.name in CHOSEN_ON) is chosen]
            found.setdefault(f"{folder.name} {part}", {})[detector] = summary(members)
        found.setdefault(folder.name, {})[detector] = summary(results)
    return {**found}


def _left_out(executor: Executor | None, folder: Path) -> Measured:
    """The figures of each detector on the recordings of a family, each held out when its knob is chosen."""
    jobs = [(path, folder.name, detector) for path, detector in product(_found(folder), GRIDS)]
    done = each(executor, leave_one_out.of_machine, jobs, folder.name)
    by_detector = {name: [made for made, job in zip(done, jobs, strict=True) if job[2] == name] for name in GRIDS}
    return {folder.name: leave_one_out.figures(by_detector)}


def _found(folder: Path) -> list[Path]:
    if not (found := paths(folder)):
        raise UserError(f"there is no recording in {folder}", "Put .npz or .csv files with labels there")
    return found


def judged(job: tuple[Path, str, str]) -> Result:
    """The result on the recording in a file of a family, of the detector with a name."""
    path, family, detector = job
    of = labelled(path, family)
    return result(of, DETECTORS[detector](of.recording))


def of_nab(folder: Path, detector: str) -> dict[str, float]:
    """NAB's standard score of a detector over the files of `folder`: by its scores, on all and on every second file,
    and by only those scores that raised an alarm.
    """
    files, raised = [], []
    for recording, places in _labelled(folder):
        probation = int(PROBATION * min(len(recording.ts), 5000))
        values, alarm, _ = DETECTORS[detector](recording)
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
    if (listed := folder / "combined_windows.json").is_file():
        windows = msgspec.json.decode(listed.read_bytes(), type=dict[str, list[tuple[str, str]]])
        for path in sorted(folder.glob("*/*.csv.gz")):
            recording = load(path)
            spans = windows[f"{path.parent.name}/{path.name.removesuffix('.gz')}"]
            yield recording, [_place(recording, first, last) for first, last in spans]
        return
    for path in paths(folder):
        of = labelled(path, folder.name)
        yield of.recording, segments(of.label)


def _place(recording: Recording, first: str, last: str) -> Segment:
    start, end = (dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000 for text in (first, last))
    return int(np.searchsorted(recording.ts, start)), int(np.searchsorted(recording.ts, end, "right")) - 1


def _print_figures(part: str, by_detector: Mapping[str, Mapping[str, Any]]) -> None:
    """A table with a row for each detector; an interval stands behind its figure."""
    shown = {name: _shown(figures) for name, figures in by_detector.items()}
    columns = [*dict.fromkeys(column for cells in shown.values() for column in cells)]
    rows = ([name, *(cells.get(column, "") for column in columns)] for name, cells in shown.items())
    print_table(part, ["set" if part == "shifts" else "detector", *columns], rows)


def _shown(figures: Mapping[str, Any]) -> dict[str, str]:
    cells = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            cells[name] = ", ".join(f"{knob} x{count}" for knob, count in value.items())
        elif f"{name}_low" in figures:
            cells[name] = f"{value:.3f} ({figures[f'{name}_low']:.3f}-{figures[f'{name}_high']:.3f})"
        elif not name.endswith(("_low", "_high")):
            cells[name] = f"{value:.3f}"
    return cells


def _print_families(part: str, by_family: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """A table for each figure, with a row for each family and a column for each detector."""
    for figure in next(iter(by_family.values()))[OPSLOOP]:
        columns = ["family", *next(iter(by_family.values()))]
        rows = ([name, *(f"{figures[figure]:.3f}" for figures in each.values())] for name, each in by_family.items())
        print_table(f"{part}: {figure}", columns, rows)
