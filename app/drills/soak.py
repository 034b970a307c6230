"""A long run with kills. The memory and handles of the worker that is never killed must not grow."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Final

import psutil
from scipy.stats import theilslopes

from app.drills.catalogue import KILLS_A_MINUTE
from app.drills.loop import AUTONOMOUS
from app.drills.processes import WorkerProcess, start_workers
from app.drills.report import Report
from app.drills.testbed import LaneTestbed, open_testbed

SAMPLE_S: Final = 1.0
WARM_SHARE: Final = 0.25  # share of the run in which caches and heaps fill, and which is not judged
# limits an hour for the lower end of a slope's interval; above it there is growth despite noise
MOST: Final = {"memory_mb": 24.0, "descriptors": 6.0, "lag": 60.0}

Series = dict[str, list[tuple[float, float]]]  # measure → (seconds since the start, value)


def soak(folder: Path, report: Report, trials: int) -> None:
    """Kill one of two workers of the lane, or of the loop, every half minute, and watch the others for growth."""
    with open_testbed(folder, report) as field:
        loops = start_workers("loop", field.broker, folder, AUTONOMOUS, 2)
        try:
            seen = _run(field, loops, report, trials)
        finally:
            for worker in loops:
                worker.stop()
        for what, points in seen.items():
            judge(what, points, report)


def _run(field: LaneTestbed, loops: list[WorkerProcess], report: Report, trials: int) -> Series:
    seen: Series = defaultdict(list)
    kept = {"lane": psutil.Process(field.workers[0].process.pid), "loop": psutil.Process(loops[0].process.pid)}
    began = time.monotonic()
    for number in range(trials):
        while time.monotonic() < began + (number + 1) * 60 / KILLS_A_MINUTE:
            at = time.monotonic() - began
            for role, process in kept.items():
                memory = process.memory_info()  # without pages of files, which the kernel drops at will
                seen[f"{role}_memory_mb"].append((at, (memory.rss - memory.shared) / 2**20))
                seen[f"{role}_descriptors"].append((at, process.num_fds()))
            seen["lag"].append((at, field.lag()))
            time.sleep(SAMPLE_S)
        moment = time.monotonic()
        if number % 2:
            loops[1].kill()
            (loops[1],) = start_workers("loop", field.broker, field.folder, AUTONOMOUS)
        else:
            field.workers[1].kill()
            (field.workers[1],) = field.start_workers(1)
            field.await_recovery()
            report.recoveries.append(field.stall(moment))
        report.trials += 1
    return seen


def judge(what: str, points: list[tuple[float, float]], report: Report) -> None:
    """Check I13: the slope an hour of a series after its warm-up, with a 95 % interval (Theil 1950, Sen 1968)."""
    warm = [point for point in points if point[0] >= WARM_SHARE * points[-1][0]]
    slope, _, low, high = theilslopes([value for _, value in warm], [at / 3600 for at, _ in warm], 0.95)
    for name, value in (("", slope), ("_low", low), ("_high", high)):
        report.figures[f"{what}_per_h{name}"] = round(float(value), 2)
    report.figures[f"{what}_last"] = round(warm[-1][1], 2)
    most = next(limit for name, limit in MOST.items() if what.endswith(name))
    report.check(low <= most, f"{what} grows by {slope:.1f} an hour ({low:.1f} to {high:.1f})")
