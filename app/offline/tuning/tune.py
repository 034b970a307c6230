"""A history through the live detector with each budget, then with the patterns that its alarms suggest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from app.offline.tuning.backtest import Backtest, run_backtest
from app.offline.tuning.figures import (
    SHORT_WEEKS,
    WANTED,
    Figures,
    KnownFault,
    Noise,
    figures,
    noisiest,
    recommended,
    seen,
    told_of,
    weeks,
)
from app.offline.tuning.histories import History, Progress
from app.offline.tuning.suggestions import Suggestion, Tried, kept, suggestions, tried, with_patterns
from app.offline.tuning.toml import section
from models.detection.settings import DetectionSettings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is tried, and what decides."""

    budgets: tuple[float, ...]  # that of the settings is tried as well
    settings: DetectionSettings
    alarms_a_week: float | None = None  # of an entity, at most, when somebody said; known faults count more
    faults: tuple[KnownFault, ...] = ()


@dataclass(frozen=True, slots=True)
class Tuning:
    """What each budget and each pattern would have told."""

    backtest: Backtest  # its alarms are those of the budgets
    faults: list[KnownFault]  # those that could be caught
    unseen: int  # the others
    rows: list[Figures]  # of the budgets
    best: int  # which of them to take
    own: float  # the budget of the settings
    why: str
    entities: list[Noise]  # with that budget
    metrics: list[Noise]
    suggestions: list[Tried]
    together: Figures | None  # with all suggestions that are sure
    toml: str

    @property
    def recommended(self) -> Figures:
        return self.rows[self.best]


def tune(history: History, wanted: Wanted, progress: Callable[[str], Progress]) -> Tuning:
    """Try everything. The history is read once for all budgets, and again for the patterns if there are any.

    progress: given what a reading is for, tells how far it is.

    Raises:
        UserError: nothing was measured, or the history cannot be read.
    """
    own = wanted.settings.false_alarms_a_week
    budgets = sorted({*wanted.budgets, own})
    candidates = [msgspec.structs.replace(wanted.settings, false_alarms_a_week=budget) for budget in budgets]
    backtest = run_backtest(history, candidates, progress("budgets"))
    faults = seen(wanted.faults, backtest.spans)
    rows = [figures(b, alarms, backtest, faults) for b, alarms in zip(budgets, backtest.alarms, strict=True)]
    short = weeks(backtest) < SHORT_WEEKS
    best, why = recommended(rows, own, wanted.alarms_a_week, short=short)
    told, asked = told_of(backtest.alarms[best]), WANTED if wanted.alarms_a_week is None else wanted.alarms_a_week
    found = suggestions(told, backtest, faults, candidates[best], 0.0 if short else asked)
    results, together = _try(history, wanted, (found, rows[best], faults), progress)
    return Tuning(
        backtest, faults, len(wanted.faults) - len(faults), rows, best, own, why, noisiest(told, faults),
        noisiest(told, faults, by_metric=True), results, together,
        section(candidates[best], f"false_alarms_a_week: {why}", results),
    )  # fmt: skip


def _try(
    history: History, wanted: Wanted, about: tuple[Sequence[Suggestion], Figures, list[KnownFault]],
    progress: Callable[[str], Progress],
) -> tuple[list[Tried], Figures | None]:  # fmt: skip
    """The suggestions that are borne out, and what all that are sure would have told together."""
    found, before, faults = about
    if not found:
        return [], None
    alone = [with_patterns(wanted.settings, before.budget, [suggestion]) for suggestion in found]
    again = run_backtest(history, alone, progress("patterns"))
    results = kept(tried(found, again, before, faults))
    sure = [each.suggestion for each in results if each.suggestion.sure]
    if not sure:
        return results, None
    if len(sure) == 1:
        return results, next(each.row for each in results if each.suggestion.sure)
    last = run_backtest(
        history, [with_patterns(wanted.settings, before.budget, sure)], progress("all patterns together")
    )
    return results, figures(before.budget, last.alarms[0], last, faults)
