"""Views of an entity: each alarm of it that is on, whoever raised it, with what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from models.knowledge.base import SymptomRule
from models.knowledge.knowledge import Knowledge, alert_series
from topics.signals import ABSENCE, ALERT, HEARTBEAT, RANGE, Anomaly, Contribution
from topics.spec import Instant
from topics.telemetry import Event

FIRST: Final = ""  # the name of the first view
WHOLE: Final = "*"  # metric of the absence of a whole entity
VIEWS_KEPT: Final = 20  # alarms of one entity; the first view is always among them
VIEWS: Final = frozenset({"first", "second"})  # of an anomaly, and ...
BEGINS: Final = "raised"
ON: Final = frozenset({BEGINS, "continuing"})
STATES: Final = ON | {"cleared"}  # ... states of its alarm; nothing follows from another word


class View(msgspec.Struct, frozen=True):
    """An alarm that is on, as it was last told."""

    name: str
    detector: str
    onset: Instant
    evidence: str
    first: Contribution
    attribution: tuple[Contribution, ...] = ()  # to which the conditions of packs apply
    symptom: str = ""  # what it is by itself, when it shows no other symptom
    narrow: bool = False

    @property
    def kind(self) -> str:
        """`first` or `second`."""
        return "second" if self.name else "first"


class Told(NamedTuple):
    """What is told of a view at a time."""

    entity: str
    ts: Instant
    view: View
    on: bool
    period_ms: int = 0
    begins: bool = False  # it may have ended another alarm of its view in this sample


class Found(NamedTuple):
    """Why a symptom shows: the contribution that meets the rule's first condition, and the views that meet any."""

    rule: SymptomRule | None  # None: a view is the symptom by itself
    contribution: Contribution
    by: View
    views: frozenset[str]


def of_anomaly(anomaly: Anomaly, knowledge: Knowledge) -> Told:
    """What an anomaly tells. Each range is a view of its own, and so is each detector."""
    detector, name = anomaly.detector, FIRST
    if anomaly.view != "first":
        name = f"{detector}/{anomaly.metric}" if detector == RANGE else detector
    first = Contribution(
        anomaly.metric, z=_z(anomaly), value=anomaly.value, expected=anomaly.expected
    )  # fmt: skip
    absent = anomaly.kind == ABSENCE  # its values are silences, not those of a metric
    view = View(
        name, detector, anomaly.onset, anomaly.evidence, first, () if absent else anomaly.attribution,
        _by_itself(anomaly, knowledge) if name else "", anomaly.path == "narrow",
    )  # fmt: skip
    return Told(anomaly.entity, anomaly.ts, view, anomaly.state in ON, anomaly.period_ms, anomaly.state == BEGINS)


def of_alert(event: Event, evidence: str, knowledge: Knowledge) -> Told:
    """What an alert from outside tells. It is a symptom where a pack names it."""
    shown = Contribution(alert_series(event.name), z=1.0, value=1.0, expected=0.0)
    symptom = knowledge.alert(event.name, event.entity)
    which = f"/{event.revision}" if event.revision else ""
    view = View(f"{ALERT}/{event.name}{which}", ALERT, event.ts, evidence, shown, (shown,), symptom)
    return Told(event.entity, event.ts, view, event.state == "firing")


def of_heartbeat(node: str, ts: Instant, silence: tuple[Instant, float, float], evidence: str, symptom: str) -> Told:
    """What the silence of a node tells. silence: its last beat (ms), seconds since, and between beats."""
    last, silent_s, period_s = silence
    shown = Contribution("heartbeat", z=-1.0, value=silent_s, expected=period_s)
    return Told(node, ts, View(HEARTBEAT, HEARTBEAT, last, evidence, shown, (), symptom), silent_s > 0)


def _z(anomaly: Anomaly) -> float:
    return next((c.z for c in anomaly.attribution if c.metric == anomaly.metric), 0.0)


def _by_itself(anomaly: Anomaly, knowledge: Knowledge) -> str:
    """The symptom that an alarm of the second view is by itself: none for a single series that is absent, and none
    for a range that a pack states, whose own symptom it is."""
    if anomaly.kind == ABSENCE and anomaly.metric != WHOLE:
        return ""
    if anomaly.detector == RANGE and knowledge.is_bound(anomaly.metric, anomaly.low, anomaly.high):
        return ""
    return knowledge.shown_by(anomaly.detector, anomaly.entity)


def shown(entity: str, views: Iterable[View], knowledge: Knowledge) -> Iterator[tuple[str, Found]]:
    """Each symptom that views show, with why. Rules are asked in their order, and of two views the earlier one."""
    met: dict[int, dict[int, tuple[Contribution, View]]] = {}  # by rule: what meets each of its conditions
    explained: set[int] = set()
    views = list(views)
    for view in views:
        for c in view.attribution:
            hits = knowledge.hits(c.metric)
            if c.z > 0:
                explained |= hits.unless
            for number, at in hits.conditions:
                if knowledge.rules[number].rule.when[at].holds(c.z, c.value, c.expected):
                    met.setdefault(number, {}).setdefault(at, (c, view))
    named: set[str] = set()
    showing: set[str] = set()  # views
    for number in sorted(met.keys() - explained):
        pack, rule = knowledge.rules[number]
        if len(met[number]) == len(rule.when) and pack.covers(entity):
            by = frozenset(view.name for _, view in met[number].values())
            showing |= by
            if rule.name not in named:
                named.add(rule.name)
                yield rule.name, Found(rule, *met[number][0], by)
    for view in views:
        if view.symptom and view.symptom not in named and (view.name not in showing or view.detector == ALERT):
            named.add(view.symptom)
            yield view.symptom, Found(None, view.first, view, frozenset({view.name}))


def together(views: Iterable[View]) -> tuple[Contribution, ...]:
    """What all views of an entity show, those of the first view first, a metric once."""
    found: dict[str, Contribution] = {}
    for view in sorted(views, key=lambda view: view.name != FIRST):
        for c in view.attribution:
            found.setdefault(c.metric, c)
    return tuple(found.values())[: 2 * VIEWS_KEPT]
