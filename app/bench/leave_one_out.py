"""Figures that no machine chose for itself: leave-one-machine-out, with an interval by bootstrap over the machines.

A detector has one knob. For each machine it is set to what is best on all others together, and what the detector does
there counts. The intervals say how much of a figure is the choice of machines: machines are drawn with replacement,
the same ones for every detector.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.bench.detectors import EWMA_FIXED, EWMA_WARMED_UP, GRIDS, OPSLOOP
from app.bench.judged import Result, labelled, result
from app.bench.scoring import Float64, total

DRAWS: Final = 2_000
SEED: Final = 5
RANGE: Final = (5.0, 95.0)  # percentiles, for 90 %
RATIOS: Final = {"f1_to_ewma": EWMA_FIXED, "f1_to_ewma_warmed_up": EWMA_WARMED_UP}

Figures = dict[str, float | dict[str, int]]
ByKnob = Mapping[str, Result]


def of_machine(job: tuple[Path, str, str]) -> dict[str, Result]:
    """The results on the recording in a file of a family, by knob of the detector with a name."""
    path, family, detector = job
    of = labelled(path, family)
    return {knob: result(of, judged) for knob, judged in GRIDS[detector](of.recording).items()}


def figures(found: Mapping[str, Sequence[ByKnob]]) -> dict[str, Figures]:
    """What each detector does on machines that did not choose its knob. `found`: by detector, machine by machine.

    Each figure has its interval beside it as `_low` and `_high`; `knobs` has how many machines each knob was chosen
    for. One that cannot be told, as a ratio to nothing, is nan.
    """
    machines = len(next(iter(found.values())))
    chosen = {detector: held_out(by_machine) for detector, by_machine in found.items()}
    picks = np.random.default_rng(SEED).integers(0, machines, (DRAWS, machines))
    picks = np.vstack((np.arange(machines), picks))  # the first row is the figure itself
    drawn = {detector: _drawn([r for _, r in members], picks) for detector, members in chosen.items()}
    for name, other in RATIOS.items():
        if OPSLOOP in drawn and other in drawn:
            drawn[OPSLOOP][name] = _ratio(drawn[OPSLOOP]["f1"], drawn[other]["f1"])
    told: dict[str, Figures] = {}
    for detector, values in drawn.items():
        told[detector] = {}
        for name, each in values.items():
            told[detector] |= dict(zip((name, f"{name}_low", f"{name}_high"), _interval(each), strict=True))
        told[detector]["knobs"] = dict(Counter(knob for knob, _ in chosen[detector]))
    return told


def held_out(by_machine: Sequence[ByKnob]) -> list[tuple[str, Result]]:
    """For each machine the knob with the best F1 over the events of the others, the first of equals, and its result."""
    chosen = []
    for number, own in enumerate(by_machine):
        others = [*by_machine[:number], *by_machine[number + 1 :]]
        f1 = {knob: total(results[knob].events for results in others).f1 for knob in own}
        knob = max(f1, key=f1.__getitem__)
        chosen.append((knob, own[knob]))
    return chosen


def _drawn(results: Sequence[Result], picks: NDArray[np.int64]) -> dict[str, Float64]:
    """Each figure for each row of `picks`, which are numbers of results."""
    counts = np.array([(r.events.caught, r.events.missed, r.events.false) for r in results], float)
    caught, missed, false = counts[picks].sum(axis=1).T
    delays = [r.events.delays for r in results]
    late = [[delay for number in row for delay in delays[number]] for row in picks.tolist()]
    return {
        "f1": _share(2 * caught, missed + false), "precision": _share(caught, false), "recall": _share(caught, missed),
        "alarmed_share": _means([r.alarmed_share for r in results], picks),
        "alarms_a_day": _means([r.alarms_a_day for r in results], picks),
        "median_delay": np.array([np.median(each) if each else math.nan for each in late]),
        "vus_pr": _means([r.vus_pr for r in results], picks),
    }  # fmt: skip


def _share(part: Float64, rest: Float64) -> Float64:
    """The share of a part, 0 where there is none."""
    found: Float64 = np.divide(part, part + rest, out=np.zeros(len(part)), where=part > 0)
    return found


def _means(values: Sequence[float], picks: NDArray[np.int64]) -> Float64:
    """The mean of each row's values that there are."""
    held = np.array(values)[picks]
    there = ~np.isnan(held)
    return _ratio(np.where(there, held, 0.0).sum(axis=1), there.sum(axis=1).astype(float))


def _ratio(above: Float64, below: Float64) -> Float64:
    found: Float64 = np.divide(above, below, out=np.full(len(above), math.nan), where=below > 0)
    return found


def _interval(values: Float64) -> tuple[float, float, float]:
    """The first value, and between which ones nine in ten of the others lie that can be told."""
    drawn = values[1:][~np.isnan(values[1:])]
    low, high = np.percentile(drawn, RANGE).tolist() if len(drawn) else (math.nan, math.nan)
    return float(values[0]), low, high
