"""What is known of entities, from their topic, and what a file says of them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker, read_all
from app.kafka.publisher import Publisher
from models.bounded import keep
from topics.codec import DecodeError, decode
from topics.entities import ENTITIES, Entity, Presence
from topics.spec import Instant, system_of
from topics.telemetry import ENTITY, MOST_FACTS, Event, Facts, Kind, Name, Relation, Text
from topics.telemetry import Entity as Id

MOST: Final = 1_000_000
CALLS: Final = "calls"
Others = Annotated[tuple[Id, ...], msgspec.Meta(max_length=MOST_FACTS)]


class Stated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[entities]]` of a file."""

    id: Id
    kind: Kind = ""
    attributes: Annotated[dict[Name, Text], msgspec.Meta(max_length=MOST_FACTS)] = {}
    runs_on: Others = ()
    part_of: Others = ()
    depends_on: Others = ()
    reads: Others = ()
    writes: Others = ()
    calls: tuple[Id, ...] | None = None  # none of its own: what a topology event says holds

    @property
    def relations(self) -> tuple[Relation, ...]:
        """All but its calls, which are those of its system."""
        kinds = ("runs_on", "part_of", "depends_on", "reads", "writes")
        return tuple(Relation(kind, to) for kind in kinds for to in getattr(self, kind))[:MOST_FACTS]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entities: tuple[Stated, ...]


def known(broker: Broker, wanted: str = "", *, gone: bool = False) -> list[Entity]:
    """The newest record of each entity that a glob means, by name; those that are gone only if asked for.

    Raises:
        UserError: the topic cannot be read.
    """
    found: dict[str, Entity] = {}
    for raw in read_all(broker, [ENTITIES.name]):
        try:
            record = decode(raw).record
        except DecodeError:
            continue
        if not isinstance(record, Entity):
            continue
        before = found.get(record.entity, record)
        if (record.ts, record.seq) >= (before.ts, before.seq):
            keep(found, record.entity, record, MOST)
    shown = (each for each in found.values() if not wanted or each.entity == wanted or fnmatchcase(each.entity, wanted))
    return sorted((e for e in shown if gone or e.state is not Presence.GONE), key=lambda each: each.entity)


def read(path: Path) -> list[Stated]:
    """What a file says. Raises UserError: it cannot be read, or says something else; with the place."""
    try:
        tree: Any = tomllib.loads(path.read_text())
        stated = msgspec.convert(tree, _File).entities
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", "Give a file as docs/entities.md has it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UserError(f"{path}: {error}", "See docs/entities.md for what stands there") from None
    ids = [each.id for each in stated]
    if twice := next((one for one in ids if ids.count(one) > 1), ""):
        raise UserError(f"{path}: {twice} stands there twice", "Put both together")
    return list(stated)


def events_of(stated: Iterable[Stated], source: str, before: Iterable[Entity], now: Instant) -> list[Event]:
    """What to tell so that a file holds: its entities, the end of those that it named before, and calls by system.

    before: what is known of entities.
    """
    facts = {each.id: Facts(source, 1.0, each.kind, dict(each.attributes), each.relations) for each in stated}
    facts |= {each.entity: Facts(source) for each in before if source in each.sources and each.entity not in facts}
    calls: dict[str, list[tuple[str, str]]] = {}
    for each in stated:
        if each.calls is not None:
            calls.setdefault(system_of(each.id), []).extend((each.id, to) for to in each.calls)
    return [
        *(Event(entity=entity, ts=now, kind=ENTITY, text=f"by {source}", facts=f) for entity, f in facts.items()),
        *(Event(entity=system, ts=now, kind="topology", text=f"by {source}", calls=tuple(pairs))
          for system, pairs in calls.items()),
    ]  # fmt: skip


def apply(broker: Broker, path: Path) -> Mapping[str, int]:
    """Tell what a file says: how many entities it names, and how many it does no more. Raises UserError."""
    stated = read(path)
    source = f"file:{path.name}"[:128]
    events = events_of(stated, source, known(broker), now_ms())
    with Publisher(broker) as publisher:
        for event in events:
            publisher.send(event)
    ended = sum(e.facts == Facts(source) and e.entity not in {each.id for each in stated} for e in events)
    return {"entities": len(stated), "ended": ended}
