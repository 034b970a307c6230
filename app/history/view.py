"""One view of what happened: the index in SQLite that `incidents`, `decisions`, `explain`, `audit` and the API read.

It is built from the topics, brought up to date before it answers, and may be deleted at any time.
Nothing decides by it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.history.bounds import used_bytes
from app.history.indexer import Progress, silent, update
from app.history.schema import KIND, RECORDED, begin_anew, file_of, opened, remove_unused
from app.kafka.broker import Broker
from app.kafka.places import cluster_of, existing
from app.settings import home, load
from topics.audit import AUDIT
from topics.catalog import ALL
from topics.codec import decode_value
from topics.signals import ANOMALIES
from topics.spec import Instant, Origin, Read, Record, Topic
from topics.state import LANE_STATE, LOOP_STATE

INDEXED: Final = tuple(topic.name for topic in (*RECORDED, ANOMALIES, AUDIT))
BURIED: Final = tuple(topic for topic in ALL if topic not in (LANE_STATE, LOOP_STATE))  # those with dead letters
LATE_MS: Final = 1_000  # an anomaly may be that much older than the onset of the incident that it belongs to
LOOKED_AT: Final = 10_000  # anomalies of an entity among which the one named as evidence is looked for
_BEYOND: Final = "\U0010ffff"  # comes after every character: `id >= x and id < x + this` is "begins with x"


@dataclass(frozen=True, slots=True)
class LetterRow:
    """What the index knows of one dead letter; the message itself is on its topic, at `place`."""

    id: str
    dlq: str
    cause: str
    detail: str
    origin: str
    again: str
    place: Origin
    arrived: Instant


@dataclass(frozen=True, slots=True)
class Kept:
    """What an index holds."""

    records: int
    anomalies: int
    audit: int
    dead_letters: int
    entities: int
    unreadable: int  # messages that did not decode
    bytes: int


@contextlib.contextmanager
def current(broker: Broker, topics: Iterable[str] = INDEXED, progress: Progress = silent) -> Iterator[View]:
    """The view of a cluster, with everything in it that `topics` hold now.

    Raises:
        UserError: the broker does not answer, a topic is missing, or the index cannot be kept in the home.
    """
    settings, path = load().history, file_of(home(), cluster_of(broker))
    with opened(path) as database:
        remove_unused(path.parent, path, settings.days)
        update(database, broker, topics, settings, progress)
        yield View(database)


def rebuild(broker: Broker, progress: Progress = silent) -> tuple[int, Kept]:
    """Build the index anew from all topics that there are: how many messages were read, and what it holds.

    Raises:
        UserError: the broker does not answer, or the index cannot be kept in the home.
    """
    settings, path = load().history, file_of(home(), cluster_of(broker))
    begin_anew(path)
    names = existing(broker, (*INDEXED, *(topic.dlq for topic in BURIED)))
    with opened(path) as database:
        read = update(database, broker, names, settings, progress)
        return read, View(database).kept()


class View:
    """Questions to the index. Each is answered from indexed columns, whatever the size of the history."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def newest(
        self, topic: Topic, *, since: Instant = 0, limit: int = 0, open_only: bool = False
    ) -> list[Record]:  # fmt: skip
        """The latest state of incidents or decisions, newest first: at most `limit` (0: all) that arrived from `since`.

        open_only: only incidents that are not over, or decisions that wait for people.
        """
        statement = _NEWEST_OPEN if open_only else _NEWEST
        rows = self._database.execute(statement, (KIND[topic.name], since, limit or -1))
        return [decode_value(topic, body) for (body,) in rows]

    def count(self, topic: Topic, *, since: Instant = 0, open_only: bool = False) -> int:
        """How many incidents or decisions there are, see `newest`."""
        statement = "SELECT count(*) FROM latest WHERE kind = ? AND arrived >= ? AND open >= ?"
        return int(self._database.execute(statement, (KIND[topic.name], since, open_only)).fetchone()[0])

    def beginning(self, topic: Topic, start: str, most: int = 2) -> list[Record]:
        """The latest state of at most `most` incidents or decisions whose id begins with `start`."""
        rows = self._database.execute(_BEGINNING, (KIND[topic.name], *_range(start), most))
        return [decode_value(topic, body) for (body,) in rows]

    def threads(self, start: str) -> list[str]:
        """At most two incidents (or decisions without one) that have records whose id begins with `start`."""
        low, high = _range(start)
        return [thread for (thread,) in self._database.execute(_THREADS, {"low": low, "high": high})]

    def thread(self, identity: str) -> list[Read[Record]]:
        """All records that belong to an incident, or to a decision without one, and refusals of these."""
        found = list(self._database.execute(_THREAD, {"thread": identity}))
        origins = json.dumps([f"{topic}-{part}-{offset}" for _, topic, part, offset, *_ in found])
        refused = self._database.execute(_REFUSED, {"origins": origins})
        return _reads([*found, *(row for row in refused if row not in found)])

    def recorded(self, topics: Sequence[Topic], start: Instant = 0, end: Instant = 2**62) -> Iterator[Read[Record]]:
        """The records of `topics` that arrived from `start` on and before `end`, in the order of their arrival."""
        kinds = json.dumps([KIND[topic.name] for topic in topics])
        for row in self._database.execute(_RECORDED, {"kinds": kinds, "start": start, "end": end}):
            yield from _reads([row])

    def anomaly(self, entity: str, onset: Instant, evidence: Iterable[str]) -> Origin | None:
        """Where the anomaly stands by which an entity became part of an incident that began at `onset`.

        It is the one whose sample is named as evidence, else the first that is not older than the incident.
        """
        asked = {"entity": entity, "from": onset - LATE_MS, "most": LOOKED_AT}
        named = self._database.execute(_NAMED, asked | {"evidence": json.dumps(list(evidence))}).fetchone()
        first = named or self._database.execute(_FIRST, asked | {"most": 1}).fetchone()
        return None if first is None else Origin(*first)

    def audit_of(self, places: Iterable[Origin]) -> list[Origin]:
        """Where the audit entries stand that keep the records at `places`."""
        asked = json.dumps([[place.topic, place.partition, place.offset] for place in places])
        return [Origin(*row) for row in self._database.execute(_AUDIT_OF, (asked,))]

    def audit_last(self, limit: int, start: int = 0) -> list[Origin]:
        """Where the last `limit` (0: all) audit entries stand from number `start` of each chain on, oldest first."""
        rows = self._database.execute(_AUDIT_LAST, (start, limit or -1))
        return [Origin(*row) for row in rows][::-1]

    def audit_between(self, chain: int, first: int, last: int) -> list[Origin]:
        """Where entries `first` to `last` of a chain stand."""
        return [Origin(*row) for row in self._database.execute(_AUDIT_BETWEEN, (chain, first, last))]

    def letters(self, dlqs: Iterable[str], *, cause: str = "", start: str = "") -> list[LetterRow]:
        """Dead letters on the topics `dlqs` with `cause` (empty: any) whose id begins with `start`, oldest first.

        One that was refused several times is told once, as it was refused first.
        """
        low, high = _range(start)
        asked = {"dlqs": json.dumps(list(dlqs)), "cause": _text(cause), "low": low, "high": high}
        found: dict[str, LetterRow] = {}
        for identity, *told, topic, partition, offset, arrived in self._database.execute(_LETTERS, asked):
            place = Origin(topic, partition, offset)
            found.setdefault(identity, LetterRow(identity, *told, place, arrived))  # type: ignore[call-arg]
        return list(found.values())

    def next_offsets(self, topics: Iterable[str]) -> dict[tuple[str, int], int]:
        """The offset after the last message that is in the index, of every partition of `topics`."""
        statement = "SELECT topic, partition, next FROM partitions WHERE topic IN (SELECT value FROM json_each(?))"
        rows = self._database.execute(statement, (json.dumps(list(topics)),))
        return {(topic, partition): following for topic, partition, following in rows}

    def entities(self) -> dict[str, Instant]:
        """When each entity was last told of by an anomaly or an incident."""
        return dict(self._database.execute("SELECT name, seen FROM entities ORDER BY name"))

    def kept(self) -> Kept:
        """What the index holds."""
        records, anomalies, audit, letters, entities, unreadable = self._database.execute(_KEPT).fetchone()
        return Kept(records, anomalies, audit, letters, entities, unreadable, used_bytes(self._database))


def _reads(rows: Iterable[Sequence[object]]) -> list[Read[Record]]:
    """Records with their places from rows of (kind, topic, partition, offset, arrived, body)."""
    return [
        Read(decode_value(RECORDED[kind], body), Origin(topic, partition, offset), arrived)  # type: ignore[call-overload, arg-type]
        for kind, topic, partition, offset, arrived, body in rows
    ]


def _text(text: str) -> str:
    """What somebody typed, as SQLite takes it: bytes that are no UTF-8 become question marks, which nothing has."""
    return text.encode(errors="replace").decode()


def _range(start: str) -> tuple[str, str]:
    return _text(start), _text(start) + _BEYOND


_NEWEST: Final = (
    "SELECT body FROM latest JOIN records USING (row) WHERE latest.kind = ? AND latest.arrived >= ?"
    " ORDER BY at DESC, latest.id LIMIT ?"
)
_NEWEST_OPEN: Final = (
    "SELECT body FROM latest JOIN records USING (row) WHERE latest.kind = ? AND latest.arrived >= ? AND open = 1"
    " ORDER BY at DESC, latest.id LIMIT ?"
)
_BEGINNING: Final = (
    "SELECT body FROM latest JOIN records USING (row) WHERE latest.kind = ? AND latest.id >= ? AND latest.id < ?"
    " ORDER BY latest.id LIMIT ?"
)
_THREADS: Final = (
    "SELECT thread FROM records WHERE id != '' AND id >= :low AND id < :high AND thread != ''"
    " UNION SELECT thread FROM records WHERE other != '' AND other >= :low AND other < :high AND thread != '' LIMIT 2"
)
_PLACED: Final = (
    "SELECT kind, topic, partition, offset, arrived, body FROM records JOIN partitions ON partitions.id = records.part"
)
# votes name only the decision, so what has an id of the thread belongs to it too
_THREAD: Final = (
    "WITH ours (id) AS ("
    " SELECT :thread UNION SELECT id FROM records WHERE thread = :thread AND thread != '' AND id != ''"
    " UNION SELECT other FROM records WHERE thread = :thread AND thread != '' AND other != '')"
    f" {_PLACED} WHERE row IN ("
    " SELECT row FROM records WHERE thread = :thread AND thread != ''"
    " UNION SELECT row FROM records WHERE id != '' AND id IN ours"
    " UNION SELECT row FROM records WHERE other != '' AND other IN ours)"
    " ORDER BY row"
)
_REFUSED: Final = f"{_PLACED} WHERE about != '' AND about IN (SELECT value FROM json_each(:origins)) ORDER BY row"
_RECORDED: Final = (
    f"{_PLACED} WHERE arrived >= :start AND arrived < :end AND kind IN (SELECT value FROM json_each(:kinds))"
    " ORDER BY arrived, kind, row"
)
_LOOKS: Final = (
    "SELECT topic, partition, offset, evidence FROM anomalies JOIN partitions ON partitions.id = anomalies.part"
    " WHERE entity = (SELECT id FROM entities WHERE name = :entity) AND ts >= :from AND NOT cleared"
    " ORDER BY ts, row LIMIT :most"
)
_FIRST: Final = f"SELECT topic, partition, offset FROM ({_LOOKS})"
_NAMED: Final = f"{_FIRST} WHERE evidence IN (SELECT value FROM json_each(:evidence)) LIMIT 1"
_AUDIT_PLACED: Final = (
    "SELECT at.topic, at.partition, audit.offset FROM audit JOIN partitions AS at ON at.id = audit.part"
)
_AUDIT_OF: Final = (
    "SELECT at.topic, at.partition, audit.offset FROM json_each(?) AS asked"
    " JOIN partitions AS place ON place.topic = asked.value ->> 0 AND place.partition = asked.value ->> 1"
    " JOIN audit ON audit.of_part = place.id AND audit.of_offset = asked.value ->> 2"
    " JOIN partitions AS at ON at.id = audit.part ORDER BY audit.ts, chain, seq"
)
_AUDIT_LAST: Final = f"{_AUDIT_PLACED} WHERE seq >= ? ORDER BY ts DESC, chain DESC, seq DESC LIMIT ?"
_AUDIT_BETWEEN: Final = f"{_AUDIT_PLACED} WHERE chain = ? AND seq BETWEEN ? AND ? ORDER BY seq"
_LETTERS: Final = (
    "SELECT letters.id, letters.topic, cause, detail, origin, again, partitions.topic, partition, offset, arrived"
    " FROM letters JOIN partitions ON partitions.id = letters.part"
    " WHERE letters.topic IN (SELECT value FROM json_each(:dlqs)) AND (:cause = '' OR cause = :cause)"
    " AND letters.id >= :low AND letters.id < :high ORDER BY arrived, letters.id, letters.row"
)
_KEPT: Final = (
    "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM anomalies), (SELECT count(*) FROM audit),"
    " (SELECT count(*) FROM letters), (SELECT count(*) FROM entities),"
    " coalesce((SELECT value FROM counters WHERE name = 'unreadable'), 0)"
)
