"""Measures the calibration of confidence under drift, and how soon a tier that breaks its promise is demoted."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.printing import print_json, print_table
from models.decision.calibration import Platt
from models.safety.trust import ALPHA, PROMISES, Standing

Floats = npt.NDArray[np.float64]
OUTCOMES: Final = 10_000
BAD: Final = 0.5  # share of actions of a broken tier that help
GOOD: Final = 200  # outcomes that keep the promise before the tier breaks


def run(runs: int, json: bool) -> None:
    """Simulate outcomes: five drifting streams, and for each tier `runs` that keep and 300 that break its promise."""
    errors = [drifting(seed) for seed in range(5)]
    result: dict[str, Any] = {
        "kind": "bench_calibration", "ece_raw": round(min(raw for raw, _ in errors), 4),
        "ece": round(max(calibrated for _, calibrated in errors), 4), "alpha": ALPHA, "runs": runs,
    }  # fmt: skip
    for name, promised in PROMISES.items():
        rng = np.random.default_rng(1)
        kept = sum(broken_after(rng, promised, promised, 1_000) > 0 for _ in range(runs))
        result |= {f"{name}_false_demotions": kept, **_delays(rng, name, promised)}
    if json:
        print_json(result)
    else:
        print_table("Calibration and trust", ("figure", "value"), result.items())


def _delays(rng: np.random.Generator, name: str, promised: float) -> dict[str, int]:
    found = {}
    for past, good in (("", 0), ("_after_good", GOOD)):
        delays = [broken_after(rng, promised, BAD, 5_000, good) for _ in range(300)]
        known = [delay for delay in delays if delay > 0]
        found[f"{name}{past}_demoted_p50"] = int(np.percentile(known, 50))
        found[f"{name}{past}_demoted_p95"] = int(np.percentile(known, 95))
    return found


def broken_after(rng: np.random.Generator, promised: float, rate: float, most: int, good: int = 0) -> int:
    """The number of outcomes at `rate` until a tier is demoted, after `good` outcomes above its promise; 0: never.

    Negative: it is demoted before the rate falls.
    """
    standing = Standing()
    for number in range(1, good + most + 1):
        right = min(1.0, promised + 0.04) if number <= good else rate
        standing = standing.taken(bool(rng.random() < right), promised, number)
        if standing.broken:
            return number - good if number > good else -number
    return 0


def drifting(seed: int) -> tuple[float, float]:
    """(raw, calibrated) expected calibration error of a stream where success rate and bias of confidences drift."""
    rng, platt = np.random.default_rng(seed), Platt()
    raw, calibrated, helped = np.zeros(OUTCOMES), np.zeros(OUTCOMES), np.zeros(OUTCOMES)
    for t in range(OUTCOMES):
        raw[t] = np.clip(rng.beta(6, 1.5), 0.01, 0.99)
        odds, shift = math.log(raw[t] / (1 - raw[t])), -0.6 - 1.2 * math.sin(2 * math.pi * t / OUTCOMES) ** 2
        calibrated[t] = platt(float(raw[t]))
        helped[t] = rng.random() < 1 / (1 + math.exp(-((1 - 0.5 * t / OUTCOMES) * odds + shift)))
        platt.learn(float(raw[t]), bool(helped[t]))
    return ece(raw, helped), ece(calibrated, helped)


def ece(confidences: Floats, helped: Floats) -> float:
    """Expected calibration error over ten bins of equal width (Naeini 2015)."""
    bins = np.minimum((confidences * 10).astype(int), 9)
    found = ((bins == b) for b in range(10) if (bins == b).any())
    return float(sum(abs(confidences[b].mean() - helped[b].mean()) * b.mean() for b in found))
