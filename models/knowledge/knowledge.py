"""All packs together: one immutable `Knowledge`, found by what a sample shows, with a hash of its content."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import msgspec

from models.bounded import keep
from models.decision.base import DecisionKind
from models.keyed import Given, KeyedState
from models.knowledge.base import CauseRule, Cure, DerivedSignal, Pack, PackHead, RuleFinding, SymptomRule
from models.knowledge.expression import ExpressionFault, operands, parse
from topics.selectors import matches, parts

DIGITS: Final = 13  # of the hash: it fits in the integers of every JSON reader
SERIES_KEPT: Final = 50_000  # series of which it is remembered what they match
NOBODY: Final = 3  # priority of a symptom that no pack knows


class SymptomFacts(msgspec.Struct, frozen=True):
    """What all packs together say of one symptom."""

    priority: int = NOBODY
    weight: float = 0.5
    own: bool = True
    felt: bool = False
    harmless: bool = False


UNKNOWN: Final = SymptomFacts(own=False)
PROPERTIES: Final = SymptomFacts.__struct_fields__


class Stated(NamedTuple):
    """A rule and the pack that states it."""

    pack: PackHead
    rule: SymptomRule


class Hits(NamedTuple):
    """What a series matches."""

    conditions: tuple[tuple[int, int], ...]  # numbers of a rule and of one of its conditions
    unless: frozenset[int]  # numbers of rules that do not apply while the series deviates upwards
    load: bool  # it says how much its entity has to do


class Knowledge(Given, frozen=True):
    """The packs that hold, by name. Equal content has an equal hash."""

    packs: tuple[Pack, ...] = ()
    stands_for: int | None = None  # in a trial: the revision whose ids are used, so that recorded votes count

    @classmethod
    def of(cls, packs: Iterable[Pack], stands_for: int | None = None) -> Knowledge:
        """The knowledge of these packs, in whatever order they come."""
        return cls(tuple(sorted(packs, key=lambda pack: pack.name)), stands_for)

    @functools.cached_property
    def hash(self) -> str:
        """The first 52 bits, in hexadecimal digits, of BLAKE2b over what the packs say."""
        text = msgspec.json.encode(self.packs, order="deterministic")
        return hashlib.blake2b(text).hexdigest()[:DIGITS]

    @property
    def revision(self) -> int:
        """The hash as a number: part of every id that rests on this knowledge."""
        return int(self.hash, 16) if self.stands_for is None else self.stands_for

    @functools.cached_property
    def rules(self) -> tuple[Stated, ...]:
        """The rules of symptoms, pack by pack, in their order."""
        return tuple(Stated(pack.head, rule) for pack in self.packs for rule in pack.symptoms)

    @functools.cached_property
    def symptoms(self) -> dict[str, SymptomFacts]:
        """What is known of each symptom, by its name."""
        found: dict[str, dict[str, Any]] = {}
        for _, rule in self.rules:
            stated = {name: value for name in PROPERTIES if (value := getattr(rule, name)) is not None}
            found[rule.name] = stated | found.get(rule.name, {})
        return {name: msgspec.convert(stated, SymptomFacts) for name, stated in found.items()}

    def symptom(self, name: str) -> SymptomFacts:
        """What is known of a symptom; of one that no pack names: that nobody knows it."""
        return self.symptoms.get(name, UNKNOWN)

    def hits(self, series: str) -> Hits:
        """What a series matches by its name."""
        known = self._hits.get(series)
        if known is None:
            known = Hits(
                tuple(
                    (n, i) for n, (_, rule) in enumerate(self.rules) for i, c in enumerate(rule.when)
                    if matches(c.signal, series)
                ),
                frozenset(n for n, (_, rule) in enumerate(self.rules) if any(matches(p, series) for p in rule.unless)),
                any(matches(pattern, series) for pack in self.packs for pattern in pack.head.load),
            )  # fmt: skip
            keep(self._hits, series, known, SERIES_KEPT)
        return known

    @functools.cached_property
    def _hits(self) -> dict[str, Hits]:
        return {}

    def alert(self, name: str, entity: str) -> str:
        """The symptom that an alert from outside is of an entity; empty: no pack says."""
        return next((r.name for pack, r in self.rules if _is_alert(r, name) and pack.covers(entity)), "")

    def shown_by(self, detector: str, entity: str) -> str:
        """The symptom that an alarm of a detector is when it shows no other one; empty: no pack says."""
        return next((r.name for pack, r in self.rules if detector in r.shown_by and pack.covers(entity)), "")

    def is_bound(self, series: str, low: float, high: float) -> bool:
        """Whether a range of a series is one that a pack states."""
        return any(
            rule.when[at].above == high or rule.when[at].below == low
            for number, at in self.hits(series).conditions for rule in (self.rules[number].rule,)
        )  # fmt: skip

    def names(self, series: str) -> bool:
        """Whether any pack names a series: in a symptom, a cause, a derived signal, an objective or as load."""
        return any(matches(pattern, series) for pattern in self._patterns)

    @functools.cached_property
    def _patterns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pattern for pack in self.packs for _, pattern in patterns(pack)))

    def causes(self, symptom: str, series: str) -> tuple[tuple[PackHead, CauseRule], ...]:
        """What may be behind a symptom that a series shows, with the pack that says so.

        A pack with conditions of its own for the symptom speaks only where a rule of it means the series or the alert;
        a pack without such conditions speaks of the symptom wherever it shows.
        """
        known = self._causes.get((symptom, series))
        if known is None:
            known = tuple(self._found(symptom, series).values())
            keep(self._causes, (symptom, series), known, SERIES_KEPT)
        return known

    def _found(self, symptom: str, series: str) -> dict[str, tuple[PackHead, CauseRule]]:
        shown, alert = {n for n, _ in self.hits(series).conditions}, alert_of(series)
        meant = {
            pack.name for n, (pack, rule) in enumerate(self.rules)
            if rule.name == symptom and (n in shown or (alert and _is_alert(rule, alert)))
        }  # fmt: skip
        others = {
            pack.name for pack in self.packs if not any(rule.when and rule.name == symptom for rule in pack.symptoms)
        }
        return _first(
            (repr((pack.head.entities, _without(cause))), (pack.head, cause))
            for pack in self.packs if pack.name in meant | others
            for cause in pack.causes if symptom in cause.explains
        )  # fmt: skip

    @functools.cached_property
    def _causes(self) -> dict[tuple[str, str], tuple[tuple[PackHead, CauseRule], ...]]:
        return {}

    @functools.cached_property
    def decisions(self) -> dict[str, DecisionKind]:
        """The kind of decision that a cause asks for, by its name."""
        return {cause.name: cause.decision for pack in self.packs for cause in pack.causes}

    def cures(self, cause: str) -> tuple[Cure, ...]:
        """What may be done about a cause."""
        return self._cures.get(cause, ())

    @functools.cached_property
    def _cures(self) -> dict[str, tuple[Cure, ...]]:
        cures = _first((repr(cure), cure) for pack in self.packs for cure in pack.cures).values()
        return {name: tuple(c for c in cures if c.cause == name) for name in dict.fromkeys(c.cause for c in cures)}

    @functools.cached_property
    def findings(self) -> tuple[RuleFinding, ...]:
        """What facts of a question indicate."""
        return tuple(_first((repr(f), f) for pack in self.packs for f in pack.findings).values())

    @functools.cached_property
    def derived(self) -> tuple[DerivedSignal, ...]:
        """The derived signals, each after those that it needs. Those that need themselves are left out."""
        left = {signal.name: signal for pack in self.packs for signal in pack.signals}
        wanted, found = needs(left.values()), list[DerivedSignal]()
        while ready := [name for name in left if not wanted[name] & left.keys()]:
            found += [left.pop(name) for name in ready]
        return tuple(found)

    def kinds_of(self, series: Iterable[str]) -> tuple[str, ...]:
        """The kinds of entity whose packs name one of these series, by themselves or in a derived signal."""
        shown = list(series)
        return tuple(sorted({
            pack.head.kind for pack in self.packs
            if any(matches(pattern, one) for pattern in {p for _, p in patterns(pack)} for one in shown)
        }))  # fmt: skip

    def kind_of(self, series: Iterable[str]) -> str:
        """The kind of entity whose packs name most of these series; empty: none does."""
        many: dict[str, int] = {}
        for one in series:
            for kind in self._kinds_of(one):
                many[kind] = many.get(kind, 0) + 1
        return min(many, key=lambda kind: (-many[kind], kind), default="")

    def _kinds_of(self, series: str) -> tuple[str, ...]:
        known = self._kinds.get(series)
        if known is None:
            known = self.kinds_of([series])
            keep(self._kinds, series, known, SERIES_KEPT)
        return known

    @functools.cached_property
    def _kinds(self) -> dict[str, tuple[str, ...]]:
        return {}

    @functools.cached_property
    def lifetimes(self) -> dict[str, float]:
        """Seconds without a sample after which an entity of a kind is gone, by kind, where a pack says it."""
        said: dict[str, float] = {}
        for pack in self.packs:
            if pack.head.ttl_s is not None:
                said[pack.head.kind] = max(pack.head.ttl_s, said.get(pack.head.kind, 0.0))
        return said


NOTHING: Final = Knowledge()


class KnowingState(KeyedState, kw_only=True):
    """A state whose steps rest on knowledge. It is given and not kept: an agent gives it anew after each change."""

    knowledge: Knowledge = NOTHING

    def __post_init__(self) -> None:
        self.know(self.knowledge)

    def know(self, knowledge: Knowledge) -> None:
        """Rest on this knowledge from here on, the states within this one included."""
        self.knowledge = knowledge
        for name in self.__struct_fields__:
            if isinstance(part := getattr(self, name), KnowingState):
                part.know(knowledge)


def needs(signals: Iterable[DerivedSignal]) -> dict[str, set[str]]:
    """Which signals each derived signal needs, by name. Those whose expression cannot be read need nothing."""
    found = {}
    for signal in signals:
        try:
            found[signal.name] = {operand.name for operand in operands(parse(signal.expression))}
        except ExpressionFault:
            found[signal.name] = set()
    return found


def patterns(pack: Pack) -> Iterator[tuple[str, str]]:
    """Every pattern of a pack that means a series, each after its place in the pack."""
    derived = {signal.name for signal in pack.signals}
    for signal in pack.signals:
        for name in sorted(needs([signal])[signal.name] - derived):
            yield f"signals {signal.name}", name
    for rule in pack.symptoms:
        for one in (*(c.signal for c in rule.when), *rule.unless):
            yield f"symptoms {rule.name}", one
    for cause in pack.causes:
        for condition in (*cause.confirmed_by, *cause.excluded_by):
            yield f"causes {cause.name}", condition.signal
    for slo in pack.slos:
        yield f"slos {slo.name}", slo.signal
    for relation in pack.relations:
        yield f"relations {relation.relation} {relation.to}", relation.signal
    for pattern in pack.head.load:
        yield "pack load", pattern


def alert_series(name: str) -> str:
    """The series as which an alert from outside is shown, as Prometheus calls it."""
    return f'ALERTS{{alertname="{name.translate(_PLAIN)}"}}'


def alert_of(series: str) -> str:
    """The alert that a series stands for; empty: none."""
    found = parts(series)
    return dict(found.attributes).get("alertname", "") if found.name == "ALERTS" else ""


_PLAIN: Final = str.maketrans({'"': "'", "\\": "/"})


def _is_alert(rule: SymptomRule, name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in rule.alerts)


def _first(named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The first of each name, in order."""
    found: dict[str, Any] = {}
    for name, one in named:
        found.setdefault(name, one)
    return found


def _without(cause: CauseRule) -> CauseRule:
    """A cause as it is compared for one symptom."""
    return msgspec.structs.replace(cause, explains=())
