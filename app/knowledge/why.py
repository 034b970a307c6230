"""What is known of one entity, and why it has no incident."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from app.clock import now_ms
from app.errors import UserError
from app.history.queries import incidents
from app.kafka.broker import Broker, read_all
from app.knowledge.entities import known as known_entities
from app.knowledge.learned import LearnedEntity, learned
from models.detection.settings import DetectionSettings
from models.diagnosis.unmet import RuleAnswer, answers
from models.knowledge.knowledge import Knowledge
from topics.codec import DecodeError, decode
from topics.entities import Related
from topics.incidents import Incident
from topics.signals import ANOMALIES, Anomaly
from topics.spec import domain_of, service_of

LATELY_MS: Final = 3_600_000  # for so long anomalies are looked back at
YOUNG: Final = 17  # samples of an entity before which it raises no alarm
NEAR: Final = 3  # names that are proposed instead of an unknown one


class PossibleSymptom(msgspec.Struct, frozen=True):
    """A symptom that an entity can have by its series, with what would follow from it."""

    symptom: str
    pack: str
    series: tuple[str, ...]
    missing: tuple[str, ...]  # signals of the rule that the entity does not have: it can never show
    causes: tuple[str, ...]
    cures: tuple[str, ...]  # actions


class Why(msgspec.Struct, frozen=True):
    """What is known of an entity."""

    entity: str
    knowledge: str  # hash of the packs that hold
    kinds: tuple[str, ...]
    relations: tuple[Related, ...]  # its own, and those of its service
    learned: LearnedEntity
    symptoms: tuple[PossibleSymptom, ...]
    unnamed: tuple[str, ...]  # series that no pack names
    anomaly: Anomaly | None  # the last one on which incidents rest
    answers: tuple[RuleAnswer, ...]  # what the rules say of it
    incidents: tuple[Incident, ...]  # open, on this entity or with it among the affected
    because: str  # why there is no incident, or which one there is


def why(broker: Broker, knowledge: Knowledge, settings: DetectionSettings, entity: str) -> Why:
    """What is known of an entity.

    Raises:
        UserError: no lane has learned an entity of this name, or the broker does not answer.
    """
    found = learned(broker, settings, entity)
    if not found:
        raise UserError(f"no worker knows the entity {entity}", _others(broker, settings, entity), exit_code=1)
    known = found[0]
    names = [one.series for one in known.series]
    last = _last_anomaly(broker, entity)
    said = tuple(answers(last, knowledge)) if last is not None else ()
    opened = tuple(i for i in incidents(broker, open_only=True) if entity in (i.entity, *i.affected))
    symptoms = tuple(possible(knowledge, entity, names))
    return Why(
        entity, knowledge.hash, knowledge.kinds_of(names), _relations(broker, entity), known, symptoms,
        unnamed(knowledge, names), last, said, opened, because(known, symptoms, last, said, opened),
    )  # fmt: skip


def possible(knowledge: Knowledge, entity: str, series: Sequence[str]) -> Iterator[PossibleSymptom]:
    """The symptoms that an entity can have by its series, in the order of the packs."""
    shown: dict[int, dict[int, list[str]]] = {}  # rule → condition → series
    for one in series:
        for number, at in knowledge.hits(one).conditions:
            shown.setdefault(number, {}).setdefault(at, []).append(one)
    for number, by in sorted(shown.items()):
        head, rule = knowledge.rules[number]
        if not head.covers(entity):
            continue
        meant = tuple(dict.fromkeys(one for own in by.values() for one in own))
        causes = dict.fromkeys(cause.name for one in meant for _, cause in knowledge.causes(rule.name, one))
        cures = dict.fromkeys(cure.action for cause in causes for cure in knowledge.cures(cause))
        missing = tuple(c.signal for at, c in enumerate(rule.when) if at not in by)
        yield PossibleSymptom(rule.name, head.name, meant, missing, tuple(causes), tuple(cures))


def unnamed(knowledge: Knowledge, series: Iterable[str]) -> tuple[str, ...]:
    """The series that no rule and no derived signal of a pack names."""
    return tuple(one for one in series if not knowledge.names(one))


def because(
    known: LearnedEntity, symptoms: Sequence[PossibleSymptom], last: Anomaly | None, said: Sequence[RuleAnswer],
    opened: Sequence[Incident],
) -> str:  # fmt: skip
    """Why an entity has no incident, in a sentence; or which one it has."""
    if opened:
        return f"it has one: {opened[0].id}, {opened[0].symptom} of {opened[0].entity}"
    if known.samples < YOUNG:
        return f"it is being learned: {known.samples} of {YOUNG} samples have come"
    if all(one.missing for one in symptoms):
        return "no rule of a pack can be met by its series: see `opsloop pack coverage`, and docs/packs.md for your own"
    if last is None:
        return "nothing was unusual in the last hour"
    if last.state == "cleared":
        return "nothing is unusual now; what was in the last hour has ended"
    if last.suppressed != "none":
        return f"an alarm is on, but the budget of false alarms of the {last.suppressed} is spent"
    if not said:
        return f"an alarm is on, but no rule of a pack names {last.metric} or the other series that are off"
    if said[0].missing:
        return f"an alarm is on; the rule that is nearest ({said[0].symptom} of {said[0].pack}) misses: " + "; ".join(
            said[0].missing
        )
    return f"{said[0].symptom} shows, and is not confirmed yet"


def _relations(broker: Broker, entity: str) -> tuple[Related, ...]:
    """The relations of an entity and of its service; none where nobody has told any."""
    found = (each for name in dict.fromkeys((entity, service_of(entity))) for each in known_entities(broker, name))
    with contextlib.suppress(UserError):  # the topic is not there yet: `opsloop doctor` says so
        return tuple(relation for each in found for relation in each.relations)
    return ()


def _last_anomaly(broker: Broker, entity: str) -> Anomaly | None:
    """The newest anomaly of the last hour on which an incident can rest."""
    key, last = domain_of(entity).encode(), None
    for raw in read_all(broker, [ANOMALIES.name], key=key, since_ms=now_ms() - LATELY_MS):
        try:
            record = decode(raw).record
        except DecodeError:
            continue
        if isinstance(record, Anomaly) and record.entity == entity and record.view == "first":
            last = record
    return last


def _others(broker: Broker, settings: DetectionSettings, entity: str) -> str:
    """What to do about a name that nobody knows."""
    names = [one.entity for one in learned(broker, settings)]
    near = difflib.get_close_matches(entity, names, NEAR, 0.5) or names[:NEAR]
    return f"There are {', '.join(near)}" if near else "Nothing has come yet: see `opsloop doctor`, and docs/ingest.md"
