"""The records of a pack: what is known of one kind of entity.

A pack is a TOML file. Each record here is one of its tables; see docs/packs.md for a page about writing one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

import msgspec

from models.decision.base import DecisionKind
from topics.formats.entities import Relating
from topics.spec import Count, Word

NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"
Name = Annotated[str, msgspec.Meta(pattern=NAME)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
NonNegative = Annotated[float, msgspec.Meta(ge=0.0)]


class PackFault(Exception):
    """A text that is no pack: what is wrong, with the place, and what to do about it."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail, self.remedy = detail, remedy


class PackHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[pack]`: whose knowledge this is."""

    name: Name
    kind: Name  # of entity
    what: str = ""
    entities: tuple[Text, ...] = ()  # globs over entities to which the pack applies; empty: all that show its signals
    load: tuple[Text, ...] = ()  # signals that say how much an entity has to do
    ttl_s: Annotated[float, msgspec.Meta(gt=0.0)] | None = None  # without a sample for so long, such an entity is gone

    def covers(self, entity: str) -> bool:
        """Whether the symptoms and causes of the pack apply to an entity."""
        return not self.entities or any(fnmatchcase(entity, glob) for glob in self.entities)


class DerivedSignal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"expression": "is"}):
    """`[[signals]]`: a signal that is computed from others. See `models.knowledge.expression`."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_.]{0,126}$")]
    expression: Text
    like: Annotated[str, msgspec.Meta(max_length=126)] = ""  # a name known to all of what measures the same


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one signal of an entity must show. Everything that is stated must hold."""

    signal: Text  # pattern, see `topics.patterns`
    off: Literal["up", "down", "any", ""] = ""  # it deviates from what is ordinary for it, in this direction
    least: NonNegative = 0.0  # smallest deviation, in the unit of the signal
    ratio: NonNegative = 0.0  # smallest deviation, as a share of the expected value
    z: NonNegative = 6.0  # smallest deviation, in standard deviations
    above: float | None = None  # end of the allowed range: more than this is wrong, whatever is ordinary
    below: float | None = None
    periods: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1  # samples that show it before it counts
    lasts_ms: Count = 0  # and for how long, for entities that are sampled several times a second

    def holds(self, z: float, value: float, expected: float) -> bool:
        """Whether a deviation of the signal meets the condition."""
        if (self.above is not None and not value > self.above) or (self.below is not None and not value < self.below):
            return False
        if not self.off:
            return True
        by = value - expected
        by = abs(by) if self.off == "any" else by if self.off == "up" else -by
        return abs(z) >= self.z and by >= self.least and by >= self.ratio * abs(expected) and by > 0

    def objection(self, z: float, value: float, expected: float) -> str:
        """Why a deviation of the signal does not meet the condition; empty: it does."""
        if self.above is not None and not value > self.above:
            return f"{value:g} is not above {self.above:g}"
        if self.below is not None and not value < self.below:
            return f"{value:g} is not below {self.below:g}"
        if self.holds(z, value, expected):
            return ""
        by = abs(value - expected)
        way = "up" if value > expected else "down"
        if self.off != "any" and way != self.off:
            return f"it went {way}, and {self.off} is wanted"
        if abs(z) < self.z:
            return f"it is off by {abs(z):.1f} standard deviations, and {self.z:g} are wanted"
        if by < self.least:
            return f"it is off by {by:g}, and {self.least:g} are wanted"
        return f"it is off by {by:g}, and {self.ratio * abs(expected):g} are wanted, {self.ratio:g} of what is expected"


class SymptomRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[symptoms]]`: how a symptom shows. Several of one name are alternatives.

    What is left out of `what` and the fields after it is as another rule of the same symptom says, else the default.
    """

    name: Word
    when: tuple[Condition, ...] = ()  # all of them, in one sample
    unless: tuple[Text, ...] = ()  # not while one of these signals deviates upwards
    alerts: tuple[Text, ...] = ()  # names of alerts from outside that are this symptom
    shown_by: tuple[Word, ...] = ()  # detectors whose alarms are this symptom where they show no other one
    what: str | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=4)] | None = None  # of an incident with it; default 3
    weight: Share | None = None  # share of an entity's health that it takes; default 0.5
    own: bool | None = None  # an entity has it by itself, so that it explains those that call it; default true
    felt: bool | None = None  # an entity can have it because of one that it calls; default false
    harmless: bool | None = None  # nobody is hurt: the entity counts as well; default false

    @property
    def periods(self) -> int:
        """Samples that show it before it counts."""
        return max((c.periods for c in self.when), default=1)

    @property
    def lasts_ms(self) -> int:
        """How long samples must show it before it counts."""
        return max((c.lasts_ms for c in self.when), default=0)


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deploy or a change of configuration of the service, shortly before the symptom."""

    within_s: Annotated[float, msgspec.Meta(gt=0.0, le=86_400.0)] = 180.0
    fades: Share = 0.15  # how much of the score is gone at the end of that time


class CauseRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[causes]]`: what may be behind symptoms. Several of one name are alternatives; the best score counts."""

    name: Name
    explains: tuple[Word, ...]  # symptoms
    score: Share  # how likely it is when one of them shows
    why: str = ""
    target: Literal["entity", "service"] = "entity"  # where to act
    change: Change | None = None  # only after such a change
    confirmed_by: tuple[Condition, ...] = ()  # only while the last sample of the entity shows all of these
    excluded_by: tuple[Condition, ...] = ()  # not while it shows one of these
    score_after_change: Share | None = None  # when a change explains the symptom too; default 0.6 × score
    decision: DecisionKind = DecisionKind.INCIDENT_RESPONSE  # kind of the decision that cures it


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on one fact of a question."""

    fact: Name
    compare: Literal[">=", "<=", "="]
    bound: float


class RuleFinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[findings]]`: facts of a question that together indicate a cause."""

    kind: DecisionKind
    cause: Name
    score: Share
    when: tuple[When, ...]


class Cure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[cures]]`: one action for one cause."""

    cause: Name
    action: Name
    confidence: Share  # probability that it cures, given the cause
    target: Literal["cause", "service"] = "cause"  # where the cause is, or the whole service
    parameters: Mapping[str, str] = {}  # `{name}` is filled from the case; the cure does not apply without it


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[slos]]`: in which share of the time a signal must be within its bounds."""

    name: Name
    signal: Text
    objective: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
    above: float | None = None  # good while it is above
    below: float | None = None  # good while it is below
    window_days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 30


class PackRelation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"entity": "from"}):
    """`[[relations]]`: what the attributes of a signal say of entities. Templates as in docs/entities.md.

    `{entity}` in them is the entity that the signal is of.
    """

    signal: Text  # pattern, see `models.knowledge.patterns`
    relation: Relating
    to: Text
    entity: Text = "{entity}"
    kind: Name | None = None  # of `from`; without it, that of the pack


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"head": "pack"}):
    """One pack, as its file has it."""

    head: PackHead
    signals: tuple[DerivedSignal, ...] = ()
    symptoms: tuple[SymptomRule, ...] = ()
    causes: tuple[CauseRule, ...] = ()
    findings: tuple[RuleFinding, ...] = ()
    cures: tuple[Cure, ...] = ()
    slos: tuple[Slo, ...] = ()
    relations: tuple[PackRelation, ...] = ()

    @property
    def name(self) -> str:
        """Its name."""
        return self.head.name


def read(text: str) -> Pack:
    """The pack that a TOML text holds.

    Raises:
        PackFault: it is no TOML, or it holds something else than a pack; the detail names the place.
    """
    try:
        tree: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PackFault(f"it is not valid TOML: {error}", "Mend that line") from None
    try:
        return msgspec.convert(tree, Pack)
    except msgspec.ValidationError as error:
        raise PackFault(str(error).replace("`$", "`"), "See docs/packs.md for what stands there") from None
