"""Scores options: the expected effect of an action by objective, and the weighted sum.

Each objective is about -1 (bad) to 1 (good). Users set the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from models.actions.catalogue import ACTIONS
from models.decision.base import Context, DecisionSettings

UNKNOWN: Final = (0.0, 0.5)  # gain and disruption of an action that the catalogue does not know
RISK: Final[Mapping[str, float]] = {"low": 0.1, "medium": 0.3, "high": 1.0}
WEIGHTS: Final[Mapping[str, float]] = {"reliability": 1.0, "performance": 0.1, "cost": 0.05, "compliance": 0.5}
MOST_REPLICAS: Final = 3  # added by one action at most: the unit of cost


def objectives(
    action: str, parameters: Mapping[str, str], confidence: float, context: Context, settings: DecisionSettings
) -> dict[str, float]:
    """Return the expected value of an action by objective, each about -1..1."""
    known = ACTIONS.get(action)
    gain, lost = (known.gain, known.disruption) if known else UNKNOWN
    risk = RISK[known.risk] if known else RISK["high"]
    replicas = float(parameters.get("replicas", "1")) * (known.cost if known else 0.0)
    disruption = lost * (1.0 + context.busy) / 2.0 * context.load
    return {
        "performance": confidence * gain - disruption,
        "cost": -replicas / MOST_REPLICAS * context.cost,
        "reliability": confidence - (1.0 - confidence) * risk,
        "compliance": -context.compliance * risk,
    } | {name: values.get(action, 0.0) for name, values in settings.own.items()}


def score(values: Mapping[str, float], context: Context, settings: DecisionSettings) -> float:
    """Return the weighted sum. A smaller error budget raises the weight of reliability and lowers that of cost."""
    weights = {**WEIGHTS, **dict.fromkeys(settings.own, 1.0), **settings.weights}
    bent = {"reliability": 2.0 - context.budget, "cost": context.budget}
    return sum(weights[name] * bent.get(name, 1.0) * value for name, value in values.items())


def efficient(values: Sequence[Mapping[str, float]]) -> list[bool]:
    """Return for each option whether it is Pareto-efficient: no other is as good in all and better in one."""
    return [not any(_beats(other, one) for other in values) for one in values]


def _beats(other: Mapping[str, float], one: Mapping[str, float]) -> bool:
    return all(other[k] >= one[k] for k in one) and any(other[k] > one[k] for k in one)
