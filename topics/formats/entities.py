"""Whose a measurement is, by its labels: templates of settings, and what holds where none of them applies.

A template is text with labels in braces: `{host}`; the first of several that is there: `{pod|instance}`; and what
stands there without any, in quotes: `{service|'main'}`. A label without a text is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Final, NamedTuple

import msgspec

from topics.formats.names import HOSTS
from topics.telemetry import LONGEST

KIND: Final = r"^[a-z][a-z0-9_]{0,62}$"
_PARTS: Final = re.compile("/{2,}")
_PART: Final = re.compile(r"([^{}]+)|\{([^{}]*)\}")
_LABEL: Final = re.compile(r"[^\s{}|']+")

Relating = Annotated[str, msgspec.Meta(pattern="^(runs_on|part_of|calls|depends_on|reads|writes)$")]


class TemplateFault(ValueError):
    """A text that is no template, or one that can never apply."""

    def __init__(self, place: str, what: str, remedy: str) -> None:
        super().__init__(f"{place}: {what}")
        self.place, self.what, self.remedy = place, what, remedy


class Slot(NamedTuple):
    """The braces of a template."""

    labels: tuple[str, ...]  # the first that is there counts
    default: str | None  # what stands there without any; None: the template does not apply

    def found(self, labels: Mapping[str, str]) -> str:
        """The label that counts; empty when none is there."""
        return next((label for label in self.labels if labels.get(label)), "")


class Template(NamedTuple):
    """A template that was read."""

    parts: tuple[str | Slot, ...]

    @classmethod
    def read(cls, text: str) -> Template:
        """Raises ValueError, which says what is wrong."""
        parts: list[str | Slot] = []
        at = 0
        while at < len(text):
            part = _PART.match(text, at)
            if part is None:
                raise ValueError(f"{text!r}: a brace without its other half at character {at + 1}")
            parts.append(part[1] or _slot(text, part[2]))
            at = part.end()
        if not parts:
            raise ValueError("it is empty")
        if sum(len(p) if isinstance(p, str) else len(p.default or "") for p in parts) > LONGEST:
            raise ValueError(f"an entity has at most {LONGEST} characters")
        return cls(tuple(parts))

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Its braces."""
        return tuple(part for part in self.parts if isinstance(part, Slot))

    def fill(self, labels: Mapping[str, str]) -> str:
        """What it says of some labels, without empty parts; empty when it does not apply to them."""
        said = []
        for part in self.parts:
            if isinstance(part, str):
                said.append(part)
                continue
            text = labels[label] if (label := part.found(labels)) else part.default
            if text is None:
                return ""
            said.append(text)
        text = "".join(said)
        if not text.isprintable():
            return ""
        return _PARTS.sub("/", text).strip("/") if len(self.parts) > 1 else text

    def used(self, labels: Mapping[str, str]) -> set[str]:
        """The labels that it takes its texts from."""
        return {label for slot in self.slots if (label := slot.found(labels))}


def _slot(text: str, inside: str) -> Slot:
    *labels, last = inside.split("|")
    default = None
    if len(last) >= 2 and last[0] == last[-1] == "'":
        default = last[1:-1]
    else:
        labels.append(last)
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{text!r}: {label!r} is no label: write {{label}}, {{this|that}} or {{label|'text'}}")
    if not labels:
        raise ValueError(f"{text!r}: {{{inside}}} names no label")
    return Slot(tuple(labels), default)


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which measurements an entry is for; everything that it says must hold."""

    topic: str = "*"
    """Glob of the Kafka topic that they are read from. What comes over HTTP has none, and only `*` matches it."""
    metric: str = "*"
    """Glob of the metric's name as its sender gives it: of Telegraf and influx the measurement, of collectd the
    plugin."""
    labels: dict[str, str] = {}
    """Label → glob of its value."""

    def holds(self, metric: str, labels: Mapping[str, str]) -> bool:
        """Whether a measurement has these labels, and a metric of this name. The topic is held against it before."""
        return fnmatchcase(metric, self.metric) and all(
            name in labels and fnmatchcase(labels[name], glob) for name, glob in self.labels.items()
        )


class EntityRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[ingest.entities]]`: whose measurements are, by their labels. The first entry that applies counts."""

    entity: str
    """Template of the entity: `{k8s.namespace.name}/{k8s.pod.name}`. The entry applies where it can be filled."""
    kind: Annotated[str, msgspec.Meta(pattern=f"{KIND}|^$")] = ""
    """What kind of entity it is: `pod`, `host`. Empty: what its labels or the packs say."""
    when: When = When()
    """Which measurements it is for; without it, all."""
    series: tuple[str, ...] = ("*",)
    """Globs of the labels that tell series of the entity apart. Others are kept as attributes of the entity."""
    attributes: tuple[str, ...] = ()
    """Globs of the labels that are kept as attributes of the entity, and are in no series' name."""
    drop: tuple[str, ...] = ()
    """Globs of the labels that are thrown away."""
    relations: dict[Relating, str] = {}
    """Relation → template of the other entity: `{ runs_on = "{k8s.node.name}" }`."""


# what kind of entity a label names, and what labels of common names say of each other
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "container": ("k8s.container.name", "container.name", "container.id", "container"),
    "deployment": ("k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "deployment"),
    "host": ("k8s.node.name", "host.name", "node", "host", "hostname"),
    "instance": ("service.instance.id",),
    "pod": ("k8s.pod.name", "pod"),
    "service": ("service.name",),
}
_KIND_OF: Final = {label: kind for kind, labels in _KINDS.items() for label in labels}
_RELATED: Final = (
    ("instance", "part_of", ("service",)), ("instance", "runs_on", ("container", "pod", "host")),
    ("service", "runs_on", ("pod", "host")), ("container", "runs_on", ("pod", "host")),
    ("pod", "runs_on", ("host",)), ("pod", "part_of", ("deployment",)),
)  # fmt: skip

BUILT_IN: Final = EntityRule(f"{{{'|'.join(HOSTS)}}}")  # holds where no entry of the settings applies


class Stated(NamedTuple):
    """A relation that labels say."""

    entity: str
    kind: str
    relation: str
    to: str


class Rule:
    """An entry that was read, ready to be applied."""

    def __init__(self, rule: EntityRule, place: str = "") -> None:
        """Raises TemplateFault: one of its templates is none."""
        self.rule, self.place = rule, place
        self.template = _read(rule.entity, f"{place} entity")
        self.relations = {kind: _read(text, f"{place} relations {kind}") for kind, text in rule.relations.items()}

    def kind_of(self, labels: Mapping[str, str]) -> str:
        """What kind of entity it names: as the entry says, else as the last of its labels does."""
        if self.rule.kind:
            return self.rule.kind
        named = [label for slot in self.template.slots if (label := slot.found(labels))]
        return _KIND_OF.get(named[-1], "") if named else ""

    def related(self, entity: str, labels: Mapping[str, str]) -> Iterator[Stated]:
        """The relations that labels say, those of the entity itself and those of others that they name."""
        for relation, template in self.relations.items():
            if (to := template.fill(labels)) and to != entity:
                yield Stated(entity, self.kind_of(labels), relation, to)
        used, own = self.template.used(labels), self.kind_of(labels)
        named = {kind: next((name for name in names if labels.get(name)), "") for kind, names in _KINDS.items()}
        ids = {kind: entity if label in used else labels[label] for kind, label in named.items() if label}
        ids |= {own: entity} if own in _KINDS else {}
        for kind, relation, others in _RELATED:
            to = next((ids[other] for other in others if other in ids), "")
            if kind in ids and to and to != ids[kind] and not (self.relations and ids[kind] == entity):
                yield Stated(ids[kind], kind, relation, to)

    def parted(
        self, labels: Mapping[str, str], made: frozenset[str] = frozenset()
    ) -> tuple[dict[str, str], dict[str, str]]:  # fmt: skip
        """The labels that are part of series' names, and those that are attributes of the entity.

        made: labels that say how something is made, not which one it is; they are attributes.
        """
        rule, used = self.rule, self.template.used(labels)
        series: dict[str, str] = {}
        attributes: dict[str, str] = {}
        for name, text in labels.items():
            if name in used or _any(rule.drop, name):
                continue
            kept = name in made or _any(rule.attributes, name) or not _any(rule.series, name)
            (attributes if kept else series)[name] = text
        return series, attributes


def _any(globs: Iterable[str], name: str) -> bool:
    return any(glob == "*" or fnmatchcase(name, glob) for glob in globs)


def _read(text: str, place: str) -> Template:
    try:
        return Template.read(text)
    except ValueError as error:
        raise TemplateFault(place, str(error), "See docs/entities.md for what stands there") from None


def rules_of(entries: Iterable[EntityRule]) -> tuple[Rule, ...]:
    """Entries of the settings, read and held against each other.

    Raises:
        TemplateFault: one is no template, or can never apply, because one before it takes all that it is for.
    """
    found: list[Rule] = []
    for number, entry in enumerate(entries, 1):
        rule = Rule(entry, f"[[ingest.entities]] {number}")
        for label in (name for name, glob in entry.when.labels.items() if not glob):
            raise TemplateFault(f"{rule.place} when", f"a label without a text is not there: {label}",
                                "Write a glob of its value, * for any")  # fmt: skip
        for before in found:
            if _takes_all(before, rule):
                raise TemplateFault(
                    rule.place, f"it can never apply: {before.place} ({before.rule.entity}) takes all that it is for",
                    "Put it before that one, or narrow that one by `when`",
                )  # fmt: skip
        found.append(rule)
    return tuple(found)


def _takes_all(first: Rule, later: Rule) -> bool:
    """Whether an entry applies wherever a later one would."""
    one, other = first.rule.when, later.rule.when
    there = {slot.labels[0] for slot in later.template.slots if slot.default is None and len(slot.labels) == 1}
    return (
        one.topic in ("*", other.topic) and one.metric in ("*", other.metric)
        and all(other.labels.get(name) == glob for name, glob in one.labels.items())
        and all(slot.default is not None or there.intersection(slot.labels) for slot in first.template.slots)
    )  # fmt: skip
