"""Entities: what is known of each thing that is watched, and their topic."""

from __future__ import annotations

from typing import Annotated

import msgspec

from topics.spec import Count, Instant, Open, Record, Topic
from topics.telemetry import Entity as Id
from topics.telemetry import Kind, Name, Text


class Presence(Open):
    """Whether an entity is there."""

    PRESENT = "present"
    SILENT = "silent"  # its samples stay away
    GONE = "gone"  # for longer than its time to live, or nobody says anything of it any more


class Related(msgspec.Struct, frozen=True):
    """A relation to another entity."""

    kind: str  # runs_on, part_of, calls, depends_on, reads, writes
    to: Id
    source: Name
    confidence: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
    since: Instant  # when it was first said


class Entity(Record, frozen=True):
    """What is known of an entity from `ts` on. Of the records of one entity, the one with the highest `seq` holds."""

    entity: Id
    ts: Instant
    seq: Count
    state: Presence
    kind: Kind  # empty: nobody says
    attributes: dict[Name, Text]
    relations: tuple[Related, ...]
    sources: tuple[Name, ...]  # who says something of it
    first: Instant  # when it was first heard of
    last: Instant  # of its last sample, as far as that is known: while it is present, there are later ones
    template: Text = ""  # of the settings, that named it


ENTITIES = Topic(
    "opsloop.entities", Entity, key=lambda entity: entity.entity, compact=True,
    what="entities: their kind, attributes, relations, and whether they are there",
)  # fmt: skip
