"""Why an anomaly is no symptom: what each rule about its series says of it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from models.knowledge.knowledge import Knowledge, Stated
from topics.selectors import matches
from topics.signals import Anomaly


class RuleAnswer(msgspec.Struct, frozen=True):
    """One rule about series that are off."""

    pack: str
    symptom: str
    missing: tuple[str, ...]  # what it would take besides; empty: the sample shows the symptom


def answers(anomaly: Anomaly, knowledge: Knowledge) -> list[RuleAnswer]:
    """The rules that name a series of an anomaly, those that miss least first."""
    concerned = {n for c in anomaly.attribution for n, _ in knowledge.hits(c.metric).conditions}
    found = [_answer(anomaly, knowledge, number) for number in sorted(concerned)]
    return sorted(found, key=lambda answer: len(answer.missing))


def _answer(anomaly: Anomaly, knowledge: Knowledge, number: int) -> RuleAnswer:
    stated = knowledge.rules[number]
    return RuleAnswer(
        stated.pack.name, stated.rule.name, (*_conditions(anomaly, stated), *_exceptions(anomaly, knowledge, number))
    )


def _conditions(anomaly: Anomaly, stated: Stated) -> Iterator[str]:
    for condition in stated.rule.when:
        objections = {
            c.metric: condition.objection(c.z, c.value, c.expected)
            for c in anomaly.attribution if matches(condition.signal, c.metric)
        }  # fmt: skip
        if not objections:
            yield f"{condition.signal} is not off"
        elif all(objections.values()):
            yield "; ".join(f"{metric}: {objection}" for metric, objection in objections.items())


def _exceptions(anomaly: Anomaly, knowledge: Knowledge, number: int) -> Iterator[str]:
    stated = knowledge.rules[number]
    for c in anomaly.attribution:
        if c.z > 0 and number in knowledge.hits(c.metric).unless:
            yield f"{c.metric} rises, which explains it"
    if not stated.pack.covers(anomaly.entity):
        yield f"the pack is for {', '.join(stated.pack.entities)}"
