"""Patterns for what is noisy: from the alarms of the recommended budget, and kept when a backtest bears them out.

Nothing is suggested that the alarms do not show, and each suggestion says in words what they showed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from app.offline.tuning.backtest import Alarm, Backtest
from app.offline.tuning.figures import Figures, KnownFault, entity_ms, figures, is_false, noisiest, rate
from models.detection.settings import DetectionSettings, Pattern
from topics.spec import WEEK_MS

FEWEST: Final = 4  # alarms: fewer show nothing
MOST: Final = 0.5  # share of the alarms from which an entity or a metric is noisy
NEARLY_ALL: Final = 0.8
CLEARLY: Final = 0.25  # of what a subject made: a pattern that tells less than that fewer is not worth its lines
ONE_SIDED: Final = 0.9
SMALL: Final = 0.1  # of what was expected
OPPOSITE: Final = {"up": "down", "down": "up"}
SIDES: Final = {"up": "rises", "down": "falls"}
GLOB: Final = str.maketrans({letter: f"[{letter}]" for letter in "*?["})


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A pattern, what it is about, and what the alarms showed."""

    subject: str  # the entity, or the metric, that is noisy; empty for all
    pattern: Pattern
    why: str
    own: int  # alarms that the subject made
    sure: bool = True  # else only a person can know, and it stands in a comment


@dataclass(frozen=True, slots=True)
class Tried:
    """A suggestion with what it alone would have told."""

    suggestion: Suggestion
    row: Figures
    without: Figures

    @property
    def told(self) -> int:
        return self.row.told

    @property
    def before(self) -> int:
        return self.without.told

    @property
    def caught(self) -> int | None:
        """Of the known faults."""
        return self.row.counted.caught if self.row.counted else None

    @property
    def caught_before(self) -> int | None:
        return self.without.counted.caught if self.without.counted else None

    @property
    def useful(self) -> bool:
        """Whether clearly fewer are told, and no fault is missed that was caught."""
        return self.before - self.told >= max(1.0, CLEARLY * self.suggestion.own) and (self.caught or 0) >= (
            self.caught_before or 0
        )

    @property
    def enough(self) -> bool:
        """Whether that is half of what the subject made."""
        return self.before - self.told >= MOST * self.suggestion.own

    @property
    def effect(self) -> str:
        """Its effect in words."""
        text = f"tried: {self.told} alarms told instead of {self.before}"
        return text if self.caught is None else f"{text}, {self.caught} faults caught instead of {self.caught_before}"


def suggestions(
    told: Sequence[Alarm], backtest: Backtest, faults: Sequence[KnownFault], settings: DetectionSettings, asked: float
) -> list[Suggestion]:
    """What could be said of the noisy entities and metrics, the first for each subject before its alternatives.

    told: with `settings`, which have the recommended budget; asked: alarms a week and entity that are wanted at most,
    0 when no rate is to decide.
    """
    if len(told) < FEWEST:
        return []
    found: list[Suggestion] = []
    alone = len(backtest.spans) == 1
    for noise in noisiest(told, faults)[:1]:
        if noise.told >= FEWEST and noise.share > MOST and not alone:
            own = [alarm for alarm in told if alarm.entity == noise.name]
            if not faults or sum(is_false(alarm, faults) for alarm in own) > MOST * len(own):
                span = backtest.spans[noise.name]
                a_week = len(own) * WEEK_MS / max(1, span.last - span.first)
                budget = settings.of_entity("false_alarms_a_week", noise.name) or settings.false_alarms_a_week
                found += _of_entity(noise.name, own, len(told), (a_week, asked), budget)
    for noise in noisiest(told, faults, by_metric=True)[:1]:
        own = [alarm for alarm in told if alarm.metric == noise.name]
        if noise.told >= FEWEST and noise.share > MOST:
            of = sum(alarm.entity == noise.mostly for alarm in own)
            entity = noise.mostly if of >= ONE_SIDED * len(own) and not alone else "*"
            found += _of_metric(entity, noise.name, own, len(told), faults)
    found += _of_few(told, len(told) * WEEK_MS > asked * entity_ms(backtest), faults)
    return found


def _of_few(told: Sequence[Alarm], too_many: bool, faults: Sequence[KnownFault]) -> Iterator[Suggestion]:
    """A second view for all entities, where most alarms rest on a few series and too many are told."""
    own = [alarm for alarm in told if alarm.path == "narrow"]
    if faults:
        too_many = sum(is_false(alarm, faults) for alarm in own) > MOST * len(own)
    if too_many and len(own) >= FEWEST and len(own) > MOST * len(told):
        known = "" if faults else ", if a brief fault of a few series is nothing to you"
        why = f"{len(own)} of the {len(told)} alarms rest on a few series: wait for a second view{known}"
        yield Suggestion("", Pattern(confirm=True), why, len(own), sure=bool(faults))


def _of_entity(
    name: str, own: Sequence[Alarm], whole: int, rates: tuple[float, float], budget: float
) -> Iterator[Suggestion]:
    a_week, asked = rates
    share = f"{name} makes {len(own)} of the {whole} alarms"
    lower = max(0.01, _rounded(budget * asked / a_week)) if a_week > asked > 0.0 else budget
    often = f"{rate(a_week)} a week where {asked:g} would do"
    entities, fewer = _escaped(name), lower if lower < budget else None
    if fewer is not None:
        yield Suggestion(name, Pattern(entities, false_alarms_a_week=fewer), f"{share}, {often}", len(own))
    scores = sorted(alarm.score for alarm in own)
    median = math.ceil(10 * scores[len(scores) // 2]) / 10
    if 1.0 < median <= 8.0:
        weak = f"and half of them never were beyond {median:g} boundaries"
        yield Suggestion(name, Pattern(entities, opens_at=median), f"{share}, {weak}", len(own))
        if fewer is not None:
            both = Pattern(entities, opens_at=median, false_alarms_a_week=fewer)
            yield Suggestion(name, both, f"{share}, {often}, {weak}", len(own))


def _of_metric(
    entity: str, metric: str, own: Sequence[Alarm], whole: int, faults: Sequence[KnownFault]
) -> Iterator[Suggestion]:
    where = "" if entity == "*" else f" of {entity}"
    share = f"{metric}{where} is the first metric of {len(own)} of the {whole} alarms"
    entities, metrics = entity if entity == "*" else _escaped(entity), _escaped(metric)
    false = [alarm for alarm in own if is_false(alarm, faults)]
    right = [alarm for alarm in own if not is_false(alarm, faults)]
    if faults and len(false) <= MOST * len(own):
        return
    if faults and right:
        side = right[0].direction
        other = sum(alarm.direction != side for alarm in false)
        if side in OPPOSITE and all(alarm.direction == side for alarm in right) and other > MOST * len(false):
            why = f"{share}; {other} of its {len(false)} false ones were {SIDES[OPPOSITE[side]]}, and no fault was"
            yield Suggestion(metric, Pattern(entities, metrics, direction=side), why, len(own))  # type: ignore[arg-type]
        least = _up(max(alarm.deviation for alarm in false))
        if least < min(alarm.deviation for alarm in right):
            why = f"{share}; no false one was {least:g} off, and every one in a fault was farther"
            yield Suggestion(metric, Pattern(entities, metrics, least=least), why, len(own))
    small = sum(alarm.deviation < SMALL * abs(alarm.expected) for alarm in own)
    if small >= NEARLY_ALL * len(own):
        why = f"{share}; in {small} of them it was less than {SMALL:.0%} off what was expected"
        yield Suggestion(metric, Pattern(entities, metrics, least_ratio=SMALL), why, len(own))
    for side in ("up", "down"):
        one = sum(alarm.direction == side for alarm in own)
        if one >= ONE_SIDED * len(own) and not right:
            known = (
                "and none was in a known fault" if faults else "if they are nothing to you, take the other side only"
            )
            why = f"{share}; {one} of these are {SIDES[side]}, {known}"
            pattern = Pattern(entities, metrics, direction=OPPOSITE[side])  # type: ignore[arg-type]
            yield Suggestion(metric, pattern, why, len(own), sure=bool(faults))
    if faults and not right:
        least = _up(sorted(alarm.deviation for alarm in own)[len(own) // 2])
        why = f"{share}, none in a known fault; in half of them it was less than {least:g} off"
        yield Suggestion(metric, Pattern(entities, metrics, least=least), why, len(own))


def with_patterns(settings: DetectionSettings, budget: float, found: Sequence[Suggestion]) -> DetectionSettings:
    """Settings with a budget, and with the patterns of suggestions before those that there are."""
    patterns = (*(suggestion.pattern for suggestion in found), *settings.patterns)
    return msgspec.structs.replace(settings, false_alarms_a_week=budget, patterns=patterns)


def tried(found: Sequence[Suggestion], again: Backtest, without: Figures, faults: Sequence[KnownFault]) -> list[Tried]:
    """What each suggestion would have told. again: the backtest of each alone; without: of none."""
    rows = (figures(without.budget, alarms, again, faults) for alarms in again.alarms)
    return [Tried(suggestion, row, without) for suggestion, row in zip(found, rows, strict=True)]


def kept(results: Sequence[Tried]) -> list[Tried]:
    """Those that are borne out: for each subject the first that halves the alarms, else the one that lessens them most.

    What only a person can know is kept beside it.
    """
    best: dict[str, Tried] = {}
    unsure = []
    for each in results:
        if not each.useful:
            continue
        if not each.suggestion.sure:
            unsure.append(each)
            continue
        known = best.get(each.suggestion.subject)
        if known is None or (not known.enough and each.told < known.told):
            best[each.suggestion.subject] = each
    return [*best.values(), *unsure]


def _escaped(name: str) -> str:
    """A glob that fits this name alone."""
    return name.translate(GLOB)


def _rounded(value: float) -> float:
    """To one digit, downwards: 0.1667 becomes 0.1."""
    size = 10.0 ** math.floor(math.log10(value))
    return round(math.floor(value / size) * size, 12)


def _up(value: float) -> float:
    """To two digits, upwards."""
    if value <= 0.0:
        return 0.0
    size = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round((math.floor(value / size) + 1) * size, 12)
