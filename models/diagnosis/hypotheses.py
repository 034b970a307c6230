"""Ranked hypotheses: which cause explains the symptoms of one episode, and where to act on it.

Two rules decide most rankings. A service with symptoms of its own explains those of its callers, never the reverse, so
the deepest such service along the calls ranks first. A change shortly before the onset is a cause too; its score falls
with its age.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from models.diagnosis.current import Current
from models.knowledge.base import CauseRule, Change
from models.topology.calls import Calls, below
from topics.incidents import Hypothesis
from topics.signals import Symptom
from topics.spec import Instant, service_of
from topics.telemetry import Event

AFTER_CHANGE: Final = 0.6  # what a cause keeps of its score when a change explains the symptom better
LATE_MS: Final = 2_000  # a change that is told so much after the onset may still be behind it


def rank(
    symptoms: Iterable[Symptom], current: Current, calls: Calls, changes: Sequence[Event]
) -> tuple[Hypothesis, ...]:
    """Hypotheses for the confirmed symptoms of one episode, highest score first; ties are broken by name."""
    found = sorted(symptoms, key=lambda s: (s.entity, s.symptom))
    known = current.knowledge
    hurting = {service_of(s.entity) for s in found if known.symptom(s.symptom).own}
    reach = {service: below(service, calls) for service in {service_of(s.entity) for s in found}}
    best: dict[tuple[str, str], Hypothesis] = {}
    for symptom in found:
        service = service_of(symptom.entity)
        deeper = any(cause in reach[service] and service not in reach[cause] for cause in hurting)
        explained = deeper and known.symptom(symptom.symptom).felt
        for hypothesis in _of(symptom, current, changes):
            score = round(hypothesis.score * (0.5 if explained else 1.0), 4)
            key = (hypothesis.cause, hypothesis.target)
            if key not in best or best[key].score < score:
                best[key] = msgspec.structs.replace(hypothesis, score=score)
    return tuple(
        sorted(best.values(), key=lambda h: (-h.score, len(below(service_of(h.target), calls)), h.target, h.cause))
    )


def _of(s: Symptom, current: Current, changes: Sequence[Event]) -> Iterator[Hypothesis]:
    """The causes that one symptom alone suggests. A symptom that no pack knows suggests nothing."""
    service, knowledge = service_of(s.entity), current.knowledge
    shown = _told(s.entity, s.metric, s.value, s.expected)
    known = [one for one in knowledge.causes(s.symptom, s.metric) if one[0].covers(s.entity)]
    suspects = [_recent(service, s.onset, changes, cause.change) if cause.change else None for _, cause in known]
    for (pack, cause), suspect in zip(known, suspects, strict=True):
        if cause.change and suspect is None:
            continue
        if any(current.meets(s.entity, condition) for condition in cause.excluded_by):
            continue
        confirmed = [current.meets(s.entity, condition) for condition in cause.confirmed_by]
        if None in confirmed:
            continue
        reasons = [shown, *(_told(s.entity, c.metric, c.value, c.expected) for c in confirmed if c)]
        if suspect is not None:
            reasons.append(_blamed(service, suspect, s.onset))
        reasons += [cause.why] if cause.why else []
        target = s.entity if cause.target == "entity" else service
        score = _score(cause, s.onset, suspect, any(suspects))
        yield Hypothesis(cause.name, target, score, (*reasons, f"pack {pack.name}, knowledge {knowledge.hash}"))


def _score(cause: CauseRule, onset: Instant, suspect: Event | None, changed: bool) -> float:
    """The score of a cause. suspect: the change that it blames. changed: whether any cause blames a change."""
    if cause.change and suspect is not None:
        age = max(0, onset - suspect.ts)
        return round(max(0.0, cause.score - cause.change.fades * age / (cause.change.within_s * 1000)), 4)
    if changed:
        after = cause.score_after_change
        return round(cause.score * AFTER_CHANGE if after is None else after, 4)
    return round(cause.score, 4)


def _told(entity: str, metric: str, value: float, expected: float) -> str:
    return f"{metric} of {entity} is {value:.4g}, expected {expected:.4g}"


def _blamed(service: str, change: Event, onset: Instant) -> str:
    age = max(0, onset - change.ts)
    return f"{service} changed from {change.previous} to {change.revision} {age / 1000:.1f} s before"


def _recent(service: str, onset: Instant, changes: Sequence[Event], wanted: Change) -> Event | None:
    """The last change of a service that is young enough at the onset, if it was not itself a return to good."""
    ours = [e for e in changes if service_of(e.entity) == service and e.ts <= onset + LATE_MS]
    last = ours[-1] if ours else None
    if last is None or onset - last.ts > wanted.within_s * 1000 or not last.previous:
        return None
    return None if _returns(ours) else last


def _returns(changes: Sequence[Event]) -> bool:
    """Whether the last change of a service went back to a revision that ran before and was not given up itself.

    A return gives up every revision that has run since the one it returns to. Who rolls one of these out again takes
    back the return, not the fault.
    """
    ran: list[str] = []
    given_up: set[str] = set()
    returned = False
    for change in changes:
        if change.previous and change.previous not in ran[-1:]:
            ran.append(change.previous)
        returned = change.revision in ran and change.revision not in given_up
        if returned:
            begun = len(ran) - 1 - ran[::-1].index(change.revision)
            given_up.update(ran[begun + 1 :])
        ran.append(change.revision)
    return returned
