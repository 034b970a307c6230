"""From labels to an entity and the names of its series: the one place where all formats do so.

What a set of labels says is kept, so that a set that comes again costs a look-up. Series whose labels are partly thrown
away, or kept as attributes, may come to have one name: then one of them has it while it goes on, of two in a message
the first and else the one that came later, and the other one is refused with its cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from topics.codec import Cause, DecodeError
from topics.formats.entities import BUILT_IN, Rule
from topics.formats.names import metric, text_of
from topics.formats.prometheus import named
from topics.spec import Instant
from topics.telemetry import ENTITY, LONGEST, Event, Facts, Relation

MOST_SETS: Final = 50_000  # of labels that are remembered
MOST_SERIES: Final = 400_000  # whose holders are
MOST_TOLD: Final = 100_000  # entities of which is known what was told
MOST_TOPICS: Final = 1_000
OVER_MS: Final = 300_000  # without a value for so long, a series has given up its name
HOUR_MS: Final = 3_600_000
NEVER: Final = -1
HOST: Final = "host"
CONFIDENCE: Final = 0.8  # in what labels say
LABELS: Final = "labels"  # the source of what they say
NONE: Final = frozenset[str]()

_NO_MESSAGE: Final = (0, 0)


class _Named:
    """A metric of one set of labels."""

    __slots__ = ("at", "claim", "factor", "outdone", "series", "whose")

    def __init__(self, whose: Whose, series: str, factor: float, claim: _Claim) -> None:
        self.whose, self.series, self.factor, self.claim = whose, series, factor, claim
        self.at = _NO_MESSAGE  # the message that it came in last
        self.outdone = False  # another set of labels has taken its name


class _Claim:
    """Which set of labels has a name."""

    __slots__ = ("holder",)

    def __init__(self) -> None:
        self.holder: _Named | None = None


class Whose:
    """What a set of labels says: the entity, and the labels that its series have."""

    __slots__ = ("_named", "_naming", "attributes", "entity", "kept", "labels", "rule", "told")

    def __init__(
        self, naming: Naming, labels: Mapping[str, str], made: frozenset[str], found: tuple[Rule, str]
    ) -> None:
        self._naming, self.labels = naming, labels
        self.rule, self.entity = found
        self.kept, self.attributes = self.rule.parted(labels, made)
        self.told = NEVER  # the hour in which others that it names were told of
        self._named: dict[str | tuple[str, str], _Named] = {}  # by name, of Prometheus' series with the type

    @property
    def which(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """What tells it from others: its labels but those that name the entity, and what these say."""
        used, slots = self.rule.template.used(self.labels), self.rule.template.slots
        rest = {name: text for name, text in self.labels.items() if name not in used}
        return rest, tuple(self.labels.get(slot.found(self.labels), "") for slot in slots)

    def named(self, name: str, prometheus: str | None = None) -> tuple[str, float] | None:
        """The canonical name of a metric with its labels, and its unit's factor; None: another series has the name.

        prometheus: the type of a series of Prometheus, empty where it is not known; None: it is no such series.
        """
        naming = self._naming
        one = self._named.get(name if prometheus is None else (name, prometheus)) or self._new(name, prometheus)
        if one.claim.holder is not one and not naming.takes(one):
            return None
        one.at = naming.message
        return one.series, one.factor

    def metrics(self, pairs: Iterable[tuple[str, float]], prometheus: str | None = None) -> dict[str, float]:
        """Values by the canonical names of their metrics, in the units of these, without those that are refused."""
        found = {}
        for name, value in pairs:
            if (one := self.named(name, prometheus)) is not None:
                found[one[0]] = value * one[1]
        return found

    def forget(self) -> None:
        """Forget its names."""
        self._named.clear()

    def _new(self, name: str, prometheus: str | None) -> _Named:
        if prometheus is None:
            one = self._naming.claimed(self, *metric(name, 1.0, self.kept))
            self._named[name] = one
        else:
            one = self._naming.claimed(self, named(name, self.kept, prometheus), 1.0, name)
            self._named[name, prometheus] = one
        return one


class Naming:
    """What labels say under some entries of the settings.

    rules: those entries, first to last; what is built in follows them. Not for several threads at a time.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = (*rules, Rule(BUILT_IN))
        self._by_metric = any(rule.rule.when.metric != "*" for rule in self._rules)
        self._topics: dict[str, tuple[Rule, ...]] = {}  # by topic, the entries that are for it
        self._sets: dict[tuple[Rule, ...], dict[tuple[Any, ...], Whose]] = {}  # by these, and by labels
        self._count = 0  # of sets
        self._claims: dict[tuple[str, str, str], _Claim] = {}
        self._known: dict[str, Facts] = {}
        self._fresh: dict[str, Facts] = {}
        self.message = _NO_MESSAGE  # its number and arrival, ms
        self.clashes: list[DecodeError] = []  # of it
        self._turn("")

    def begin(self, arrived: Instant, topic: str = "") -> None:
        """Read another message, which arrived at `arrived` (ms) on a topic; empty: on none."""
        self.message = self.message[0] + 1, arrived
        self._turn(topic)
        self.clashes = []

    def of(self, labels: Mapping[str, Any], metric: str = "", made: frozenset[str] = NONE) -> Whose:
        """Whose a measurement with these labels is.

        metric: its name as its sender gives it. made: labels that say how the entity is made, not which one it is.
        """
        try:
            "".join(labels.values())
        except TypeError:  # not all of them are texts
            labels = {name: text_of(value) for name, value in labels.items() if value is not None}
        key = (metric if self._by_metric else "", made, *labels.items())
        whose = self._here.get(key) or self._find(key, labels, metric)
        if whose.told != self.message[1] // HOUR_MS:
            self._tell(whose)
        return whose

    def _find(self, key: tuple[Any, ...], labels: Mapping[str, str], metric: str) -> Whose:
        for rule in self._rules_here:
            if rule.rule.when.holds(metric, labels) and (entity := rule.template.fill(labels)):
                break
        else:
            rule, entity = self._rules[-1], ""
        if self._count >= MOST_SETS:
            self._clear()
        self._count += 1
        whose = self._here[key] = Whose(self, dict(labels), key[1], (rule, entity))
        return whose

    def _clear(self) -> None:
        """Forget all sets of labels and names: they are learned again."""
        self._count = 0
        self._claims.clear()
        for book in self._sets.values():
            book.clear()

    def take_clashes(self) -> list[DecodeError]:
        """What is refused of the message so far, and was not taken yet."""
        clashes, self.clashes = self.clashes, []
        return clashes

    def _turn(self, topic: str) -> None:
        found = self._topics.get(topic)
        if found is None:
            found = tuple(rule for rule in self._rules if fnmatchcase(topic, rule.rule.when.topic))
            if len(self._topics) >= MOST_TOPICS:
                self._topics.clear()
            self._topics[topic] = found
        self._rules_here, self._here = found, self._sets.setdefault(found, {})

    def entity_of(self, labels: Mapping[str, Any]) -> str:
        """The entity that labels name, of what has no series; empty: they name none."""
        texts = {name: text_of(value) for name, value in labels.items()}
        rules = (rule for rule in self._rules_here if rule.rule.when.holds("", texts))
        return next((entity for rule in rules if (entity := rule.template.fill(texts))), "")

    # --- names that two sets of labels would have ---------------------------------------------------------------------

    def claimed(self, whose: Whose, series: str, factor: float, sent: str = "") -> _Named:
        """A metric of a set of labels, which has its name if nobody else has it.

        sent: its name as Prometheus has it: the count of a histogram is its last bucket, and both are sent.
        """
        if len(self._claims) >= MOST_SERIES:
            self._clear()
            whose.forget()
        claim = self._claims.setdefault((whose.entity, series, sent), _Claim())
        one = _Named(whose, series, factor, claim)
        if claim.holder is None:
            claim.holder = one
        elif claim.holder.whose.which == whose.which:
            return claim.holder  # the same, in another order or under another name of the entity's label
        return one

    def takes(self, one: _Named) -> bool:
        """Whether a series may have a name that another one had. If not, this is told as a clash."""
        holder = one.claim.holder
        assert holder is not None
        live = self.message[1] - holder.at[1] <= OVER_MS
        if holder.at is self.message or (one.outdone and live):
            self.clashes.append(DecodeError(Cause.SAME_NAME, _clash(one, holder)))
            return False
        holder.outdone, one.outdone, one.claim.holder = True, False, one
        return True

    # --- what is told of entities -------------------------------------------------------------------------------------

    def _tell(self, whose: Whose) -> None:
        """Note what labels say of their entity, if that is new, and once an hour what they say of others."""
        again = whose.told != NEVER
        whose.told = self.message[1] // HOUR_MS
        if not whose.entity:
            return
        template = whose.rule.rule.entity if whose.rule.place else ""
        stated = list(whose.rule.related(whose.entity, whose.labels))
        own = tuple(Relation(each.relation, each.to) for each in stated if each.entity == whose.entity)
        self._note(whose.entity, Facts(LABELS, CONFIDENCE, whose.rule.kind_of(whose.labels), whose.attributes, own,
                                       template))  # fmt: skip
        for each in stated:
            if each.entity != whose.entity:
                facts = Facts(LABELS, CONFIDENCE, each.kind, {}, (Relation(each.relation, each.to),), via=whose.entity)
                self._note(each.entity, facts, again=again)

    def _note(self, entity: str, said: Facts, *, again: bool = False) -> None:
        before = self._known.get(entity)
        facts = said if before is None else before.with_(said)
        if facts.kind in ("", HOST) and not (facts.attributes or facts.relations or facts.template):
            return  # that it is a host is what its series say, too
        if facts == before and not again:
            return
        if len(self._known) >= MOST_TOLD:
            self._known.clear()
        self._known[entity] = self._fresh[entity] = facts

    def told(self) -> list[Event]:
        """What is new of entities since the last call, as events of when the message arrived."""
        if not self._fresh:
            return []
        fresh, self._fresh = self._fresh, {}
        return [
            Event(entity=entity, ts=max(0, self.message[1]), kind=ENTITY, text="", facts=facts)
            for entity, facts in fresh.items() if 0 < len(entity) <= LONGEST
        ]  # fmt: skip


def _clash(one: _Named, holder: _Named) -> str:
    """Why a series is refused, and what to do."""
    mine, theirs = one.whose.labels, holder.whose.labels
    differs = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    shown = ", ".join(f"{name} is {mine.get(name, '')!r} and {theirs.get(name, '')!r}" for name in differs[:3])
    return (
        f"two series of {one.whose.entity} would be one, {one.series[:80]}: {shown[:160]}. "
        f"Put {differs[0] if differs else 'a label'} into `entity` or `series` of [[ingest.entities]]"
    )
