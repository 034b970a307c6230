"""Patterns for what is noisy: proposed from the alarms of the recommended budget, and kept when a trial bears them out.

Nothing is proposed that the alarms do not show, and each proposal says in words what they showed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from app.offline.tuning.figures import WEEK_MS, Fault, Figures, is_false, judge, noisiest, told_of
from app.offline.tuning.trial import Alarm, Trial
from models.detection.settings import DetectionSettings, Pattern

FEWEST: Final = 4  # alarms: fewer show nothing
MOST: Final = 0.5  # share of the alarms from which an entity or a metric is noisy
NEARLY_ALL: Final = 0.8
ONE_SIDED: Final = 0.9
SMALL: Final = 0.1  # of what was expected
OPPOSITE: Final = {"up": "down", "down": "up"}
SIDES: Final = {"up": "rises", "down": "falls"}
GLOB: Final = str.maketrans({letter: f"[{letter}]" for letter in "*?["})


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pattern, what it is about, and what the alarms showed."""

    subject: str  # the entity, or the metric, that is noisy
    pattern: Pattern
    why: str
    own: int  # alarms that the subject made
    sure: bool = True  # else only a person can know, and it stands in a comment


@dataclass(frozen=True, slots=True)
class Tried:
    """A proposal with what it would have told alone."""

    proposal: Proposal
    told: int
    before: int
    caught: int | None = None  # of the known faults
    caught_before: int | None = None

    @property
    def useful(self) -> bool:
        """Whether fewer are told, and no fault is missed that was caught."""
        return self.told < self.before and (self.caught or 0) >= (self.caught_before or 0)

    @property
    def enough(self) -> bool:
        """Whether that is half of what the subject made."""
        return self.before - self.told >= MOST * self.proposal.own

    @property
    def effect(self) -> str:
        """Its effect in words."""
        text = f"tried: {self.told} alarms told instead of {self.before}"
        return text if self.caught is None else f"{text}, {self.caught} faults caught instead of {self.caught_before}"


def proposals(
    told: Sequence[Alarm], trial: Trial, faults: Sequence[Fault], budget: float, asked: float
) -> list[Proposal]:
    """What could be said of the noisy entities and metrics, the first for each subject before its alternatives.

    told: with the recommended budget; asked: alarms a week and entity that are wanted at most.
    """
    if len(told) < FEWEST:
        return []
    found: list[Proposal] = []
    alone = len(trial.spans) == 1
    for noise in noisiest(told, faults)[:1]:
        if noise.told >= FEWEST and noise.share > MOST and not alone:
            own = [alarm for alarm in told if alarm.entity == noise.name]
            if not faults or sum(is_false(alarm, faults) for alarm in own) > MOST * len(own):
                span = trial.spans[noise.name]
                rate = len(own) * WEEK_MS / max(1, span.last - span.first)
                found += _of_entity(noise.name, own, len(told), (rate, asked), budget)
    for noise in noisiest(told, faults, by_metric=True)[:1]:
        own = [alarm for alarm in told if alarm.metric == noise.name]
        if noise.told >= FEWEST and noise.share > MOST:
            of = sum(alarm.entity == noise.mostly for alarm in own)
            entity = noise.mostly if of >= ONE_SIDED * len(own) and not alone else "*"
            found += _of_metric(entity, noise.name, own, len(told), faults)
    return found


def _of_entity(
    name: str, own: Sequence[Alarm], whole: int, rates: tuple[float, float], budget: float
) -> Iterator[Proposal]:
    rate, asked = rates
    share = f"{name} makes {len(own)} of the {whole} alarms"
    if rate > asked:
        lower = max(0.01, _rounded(budget * asked / rate))
        if lower < budget:
            why = f"{share}, {rate:.2g} a week where {asked:g} was asked for"
            yield Proposal(name, Pattern(entities=_escaped(name), false_alarms_a_week=lower), why, len(own))
    scores = sorted(alarm.score for alarm in own)
    median = math.ceil(10 * scores[len(scores) // 2]) / 10
    if 1.0 < median <= 8.0:
        why = f"{share}, and half of them never were beyond {median:g} boundaries"
        yield Proposal(name, Pattern(entities=_escaped(name), opens_at=median), why, len(own))


def _of_metric(
    entity: str, metric: str, own: Sequence[Alarm], whole: int, faults: Sequence[Fault]
) -> Iterator[Proposal]:
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
            yield Proposal(metric, Pattern(entities, metrics, direction=side), why, len(own))  # type: ignore[arg-type]
        least = _up(max(alarm.deviation for alarm in false))
        if least < min(alarm.deviation for alarm in right):
            why = f"{share}; no false one was {least:g} off, and every one in a fault was farther"
            yield Proposal(metric, Pattern(entities, metrics, least=least), why, len(own))
    small = sum(alarm.deviation < SMALL * abs(alarm.expected) for alarm in own)
    if small >= NEARLY_ALL * len(own):
        why = f"{share}; in {small} of them it was less than {SMALL:.0%} off what was expected"
        yield Proposal(metric, Pattern(entities, metrics, least_ratio=SMALL), why, len(own))
    for side in ("up", "down"):
        one = sum(alarm.direction == side for alarm in own)
        if one >= ONE_SIDED * len(own) and not right:
            known = (
                "and none was in a known fault" if faults else "if they are nothing to you, take the other side only"
            )
            why = f"{share}; {one} of these are {SIDES[side]}, {known}"
            pattern = Pattern(entities, metrics, direction=OPPOSITE[side])  # type: ignore[arg-type]
            yield Proposal(metric, pattern, why, len(own), sure=bool(faults))
    if faults and not right:
        least = _up(sorted(alarm.deviation for alarm in own)[len(own) // 2])
        why = f"{share}, none in a known fault; in half of them it was less than {least:g} off"
        yield Proposal(metric, Pattern(entities, metrics, least=least), why, len(own))


def with_patterns(settings: DetectionSettings, budget: float, found: Sequence[Proposal]) -> DetectionSettings:
    """Settings with a budget, and with the patterns of proposals before those that there are."""
    patterns = (*(proposal.pattern for proposal in found), *settings.patterns)
    return msgspec.structs.replace(settings, false_alarms_a_week=budget, patterns=patterns)


def tried(
    found: Sequence[Proposal], alarms: Sequence[Sequence[Alarm]], before: Figures, faults: Sequence[Fault]
) -> list[Tried]:
    """What each proposal would have told. alarms: of each, tried alone."""
    caught_before = before.verdict.caught if before.verdict else None
    results = []
    for proposal, own in zip(found, alarms, strict=True):
        told = told_of(own)
        caught = judge(told, faults).caught if faults else None
        results.append(Tried(proposal, len(told), before.told, caught, caught_before))
    return results


def kept(results: Sequence[Tried]) -> list[Tried]:
    """Those that are borne out: for each subject the first that halves the alarms, else the one that lessens them most.

    What only a person can know is kept beside it.
    """
    best: dict[str, Tried] = {}
    unsure = []
    for each in results:
        if not each.useful:
            continue
        if not each.proposal.sure:
            unsure.append(each)
            continue
        known = best.get(each.proposal.subject)
        if known is None or (not known.enough and each.told < known.told):
            best[each.proposal.subject] = each
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
