"""Ranked hypotheses: which cause explains the symptoms of one episode, and where to act on it.

Two rules decide most rankings. A service with symptoms of its own explains those of its callers, never the reverse, so
the deepest such service along the calls ranks first. A change shortly before the onset is a cause too; its score falls
with its age.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from models.diagnosis.symptoms import Symptom, Tracker
from models.topology.calls import Calls, below
from topics.incidents import Hypothesis, SymptomKind
from topics.spec import Instant, service_of
from topics.telemetry import Event

CHANGE_WINDOW_MS: Final = 180_000  # a change older than this at the onset is no suspect
OWN: Final = frozenset(SymptomKind) - {SymptomKind.DEPENDENCY}  # symptoms that a service can only have by itself


class CauseRule(msgspec.Struct, frozen=True):
    """The cause that a symptom suggests when nothing explains it better."""

    name: str
    score: float
    instance: bool  # act on the instance, else on its service
    why: str


BY_SYMPTOM: Final[Mapping[SymptomKind, CauseRule]] = {
    SymptomKind.DOWN: CauseRule("process_gone", 0.98, True, "nothing listens any more: the connection is refused"),
    SymptomKind.UNRESPONSIVE: CauseRule("process_hung", 0.95, True, "the process accepts and does not answer"),
    SymptomKind.MEMORY: CauseRule("memory_leak", 0.93, True, "memory grows far beyond its ordinary range"),
    SymptomKind.ERRORS: CauseRule("faulty_state", 0.92, True, "it fails by itself and nothing was changed"),
    SymptomKind.SATURATION: CauseRule("overload", 0.90, False, "it is busy all the time"),
    SymptomKind.LATENCY: CauseRule("slowness", 0.55, False, "it is slow, and neither a change nor load explains it"),
    SymptomKind.DEPENDENCY: CauseRule(
        "failing_dependency", 0.40, False, "its calls fail, and the callee shows nothing"
    ),
    SymptomKind.SURPLUS: CauseRule(
        "idle_capacity", 0.80, False, "replicas were added and the load that needed them is gone"
    ),
}
CHANGED: Final = frozenset(
    {SymptomKind.LATENCY, SymptomKind.ERRORS, SymptomKind.SATURATION}
)  # symptoms that a bad change can have
FELT: Final = frozenset(  # symptoms that a service can have because of one that it calls
    {SymptomKind.DEPENDENCY, SymptomKind.LATENCY, SymptomKind.SATURATION}
)


def rank(
    symptoms: Iterable[Symptom], tracker: Tracker, calls: Calls, changes: Sequence[Event]
) -> tuple[Hypothesis, ...]:
    """Hypotheses for the confirmed symptoms of one episode, highest score first; ties are broken by name."""
    found = sorted(symptoms, key=lambda s: (s.entity, s.symptom))
    hurting = {service_of(s.entity) for s in found if s.symptom in OWN}
    reach = {service: below(service, calls) for service in {service_of(s.entity) for s in found}}
    best: dict[tuple[str, str], Hypothesis] = {}
    for symptom in found:
        service = service_of(symptom.entity)
        deeper = any(cause in reach[service] and service not in reach[cause] for cause in hurting)
        explained = deeper and symptom.symptom in FELT
        for hypothesis in _of(symptom, tracker, changes):
            score = round(hypothesis.score * (0.5 if explained else 1.0), 4)
            key = (hypothesis.cause, hypothesis.target)
            if key not in best or best[key].score < score:
                best[key] = msgspec.structs.replace(hypothesis, score=score)
    return tuple(
        sorted(best.values(), key=lambda h: (-h.score, len(below(service_of(h.target), calls)), h.target, h.cause))
    )


def _of(s: Symptom, tracker: Tracker, changes: Sequence[Event]) -> Iterable[Hypothesis]:
    """The causes that one symptom alone suggests."""
    service, shown = service_of(s.entity), f"{s.metric} of {s.entity} is {s.value:.4g}, expected {s.expected:.4g}"
    load = tracker.deviates(s.entity, "http.server.request_rate")
    cause = BY_SYMPTOM.get(s.symptom)
    if cause is None:
        return  # a symptom that this version does not know suggests nothing
    suspect = _recent(service, s.onset, changes) if s.symptom in CHANGED else None
    if suspect is not None:
        age = max(0, s.onset - suspect.ts)
        weight = 0.97 - 0.15 * age / CHANGE_WINDOW_MS
        text = f"{service} changed from {suspect.previous} to {suspect.revision} {age / 1000:.1f} s before"
        yield Hypothesis("bad_configuration", service, round(weight, 4), (shown, text))
        cause = msgspec.structs.replace(cause, score=cause.score * 0.6)  # the change explains it better
    if (
        load is not None
        and s.symptom in (SymptomKind.LATENCY, SymptomKind.SATURATION)
        and load.value > 1.5 * load.expected
    ):
        text = f"{s.entity} gets {load.value:.3g} requests/s instead of {load.expected:.3g}"
        yield Hypothesis("overload", service, 0.94 if suspect is None else 0.7, (shown, text))
    yield Hypothesis(cause.name, s.entity if cause.instance else service, round(cause.score, 4), (shown, cause.why))


def _recent(service: str, onset: Instant, changes: Sequence[Event]) -> Event | None:
    """The last change of a service that is young enough at the onset, if it was not itself a return to good."""
    ours = [e for e in changes if service_of(e.entity) == service and e.ts <= onset + 2_000]
    last = ours[-1] if ours else None
    if last is None or onset - last.ts > CHANGE_WINDOW_MS or not last.previous:
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
