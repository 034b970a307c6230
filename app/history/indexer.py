"""Bringing the index up to date: what is new on the topics becomes rows, in one transaction a batch with its offsets.

Two processes may do so at once. Each reads the topics for itself; inside its transaction it finds how far the other has
come, and leaves out what is there already.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE

from app.clock import now_ms
from app.history.bounds import prune
from app.history.rows import DLQ, Rows
from app.history.schema import transaction
from app.history.settings import HistorySettings
from app.kafka.broker import Broker
from app.kafka.places import Extent, Partition, extents, read_on
from topics.settings import SETTINGS
from topics.spec import DAY_MS, Instant

Progress = Callable[[int, int], None]  # messages read, messages to be read

PRUNE_ROWS: Final = 200_000  # so many rows are written before the bounds are looked at again
PRUNE_MS: Final = 3_600_000  # or so long has passed
BATCH_ROWS: Final = 5_000  # messages of one transaction
BATCH_BYTES: Final = 16_000_000  # or as many bytes


class Superseded(Exception):
    """Another process has begun the index anew, or a partition of it, since the offsets were read."""


def silent(_done: int, _whole: int) -> None:
    """Progress that nobody wants to see."""


def update(
    database: sqlite3.Connection, broker: Broker, topics: Iterable[str], settings: HistorySettings,
    progress: Progress = silent,
) -> int:  # fmt: skip
    """Take in what `topics` hold beyond the offsets in the index; how many messages that were.

    Raises:
        UserError: a topic does not exist or may not be read, or the broker does not answer.
    """
    names = list(topics)
    while True:
        try:
            return _Update(database, broker, settings).run(extents(broker, names), progress)
        except Superseded:
            continue


class _Update:
    """One pass over the topics from the offsets that the index has to the ends that they have now."""

    def __init__(self, database: sqlite3.Connection, broker: Broker, settings: HistorySettings) -> None:
        self._database, self._broker, self._settings = database, broker, settings
        self._build = 0
        self._parts: dict[Partition, int] = {}

    def run(self, ends: Mapping[Partition, Extent], progress: Progress) -> int:
        starts = self._starts(ends)
        whole = sum(ends[place].high - start for place, start in starts.items())
        done = 0
        for messages, reached in _gathered(read_on(self._broker, starts, ends)):
            done += len(messages)
            with transaction(self._database):
                self._write(messages, reached)
            progress(min(done, whole), whole)
        return done

    def _starts(self, ends: Mapping[Partition, Extent]) -> dict[Partition, int]:
        """Where to read on, for partitions that have something new; those that were made anew are begun anew."""
        known = self._known()
        if any(_is_new(known.get(place), extent) for place, extent in ends.items()):
            with transaction(self._database):
                known = self._known()
                for place, extent in ends.items():
                    if _is_new(known.get(place), extent):
                        self._begin(place, extent, anew=place in known)
            known = self._known()
        self._forget_purged({known[place][0]: extent.low for place, extent in ends.items() if place[0].endswith(DLQ)})
        following = {place: max(known[place][1], extent.low) for place, extent in ends.items()}
        return {place: start for place, start in following.items() if start < ends[place].high}

    def _known(self) -> dict[Partition, tuple[int, int, str]]:
        """Of each partition its id, the next offset and the id of its topic, all of one build."""
        self._build = self._now_at("build")  # first: when another process begins anew in between, it is noticed later
        rows = self._database.execute("SELECT topic, partition, id, next, topic_id FROM partitions").fetchall()
        known = {(topic, number): (part, following, topic_id) for topic, number, part, following, topic_id in rows}
        self._parts = {place: part for place, (part, *_) in known.items()}
        return known

    def _now_at(self, counter: str) -> int:
        row = self._database.execute("SELECT value FROM counters WHERE name = ?", (counter,)).fetchone()
        return int(row[0]) if row else 0

    def _count(self, counter: str, more: int) -> None:
        self._database.execute(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (counter, more),
        )

    def _begin(self, place: Partition, extent: Extent, *, anew: bool) -> None:
        """Index a partition from its first message on; `anew`: drop what is known of one of the same name."""
        part = self._part_of(*place)
        if anew and self._database.execute("SELECT next FROM partitions WHERE id = ?", (part,)).fetchone()[0]:
            for statement in _FORGET:
                self._database.execute(statement, (part,))
            self._count("build", 1)
        self._database.execute(
            "UPDATE partitions SET next = ?, topic_id = ? WHERE id = ?", (extent.low, extent.topic_id, part)
        )

    def _forget_purged(self, lows: Mapping[int, int]) -> None:
        """Drop dead letters that are no more on their topics, given the first offset of each partition."""
        found = self._database.execute(
            "SELECT 1 FROM letters JOIN json_each(?) AS lows ON part = lows.key + 0 WHERE offset < lows.value LIMIT 1",
            (json.dumps(lows),),
        ).fetchone()
        if found:
            with transaction(self._database):
                self._database.executemany(
                    "DELETE FROM letters WHERE part = ? AND offset < ?", [(part, low) for part, low in lows.items()]
                )

    def _part_of(self, topic: str, number: int) -> int:
        """The id of a partition, which it is given when it is met first."""
        part = self._parts.get((topic, number))
        if part is None:
            insert = "INSERT OR IGNORE INTO partitions (topic, partition, next) VALUES (?, ?, 0)"
            self._database.execute(insert, (topic, number))
            select = "SELECT id FROM partitions WHERE topic = ? AND partition = ?"
            part = self._parts[topic, number] = int(self._database.execute(select, (topic, number)).fetchone()[0])
        return part

    def _write(self, messages: Iterable[Any], reached: Mapping[Partition, int]) -> None:
        """Add messages that the index does not have yet. Raises Superseded: they are of an index that is no more."""
        if self._now_at("build") != self._build:
            raise Superseded
        following = dict(self._database.execute("SELECT id, next FROM partitions"))
        last = self._database.execute("SELECT coalesce(max(row), 0) FROM records").fetchone()[0]
        rows, now = Rows(self._part_of, last), now_ms()
        oldest = now - int(self._settings.days * DAY_MS)
        for message in messages:
            part, offset = self._parts[message.topic(), message.partition()], message.offset()
            if offset < following[part]:
                continue  # another process was first
            following[part] = offset + 1
            arrived = _arrival(message, now)
            if arrived >= oldest or message.topic() == SETTINGS.name:
                rows.add(message, part, arrived)
        for place, end in reached.items():
            following[self._parts[place]] = max(end, following[self._parts[place]])
        self._insert(rows)
        moved = [(following[part], part) for part in self._parts.values() if part in following]
        self._database.executemany("UPDATE partitions SET next = ?1 WHERE id = ?2 AND next != ?1", moved)
        self._bound(len(rows.records) + len(rows.anomalies) + len(rows.audit) + len(rows.letters))

    def _insert(self, rows: Rows) -> None:
        for statement, values in (
            (_RECORD, rows.records), (_LATEST, rows.latest), (_ENTITY, rows.seen.items()),
            (_ANOMALY, rows.anomalies), (_AUDIT, rows.audit), (_LETTER, rows.letters),
        ):  # fmt: skip
            self._database.executemany(statement, values)
        if rows.unreadable:
            self._count("unreadable", rows.unreadable)

    def _bound(self, written: int) -> None:
        """Drop old rows when so many were written, or so much time has passed, that it is worth looking."""
        now = now_ms()
        self._count("written", written)
        if self._now_at("written") < PRUNE_ROWS and now - self._now_at("pruned") < PRUNE_MS:
            return
        prune(self._database, self._settings, now)
        self._database.execute("INSERT OR REPLACE INTO counters VALUES ('written', 0), ('pruned', ?)", (now,))


def _arrival(message: Any, now: Instant) -> Instant:
    """When a message reached the broker: a producer may write any time it likes, or none."""
    kind, stamp = message.timestamp()
    return min(max(0, stamp), now + DAY_MS) if kind != TIMESTAMP_NOT_AVAILABLE else now


def _is_new(known: tuple[int, int, str] | None, extent: Extent) -> bool:
    """Whether a partition is not in the index, or is another one of the same name: its offsets went back."""
    if known is None:
        return True
    _, following, topic_id = known
    return following > extent.high or (topic_id != extent.topic_id and bool(extent.topic_id))


def _gathered(
    batches: Iterable[tuple[list[Any], dict[Partition, int]]],
) -> Iterator[tuple[list[Any], dict[Partition, int]]]:
    """Batches put together until one is worth a transaction."""
    messages: list[Any] = []
    reached: dict[Partition, int] = {}
    size = 0
    for some, ends in batches:
        messages += some
        reached |= ends
        size += sum(map(len, some))
        if len(messages) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield messages, reached
            messages, reached, size = [], {}, 0
    if messages or reached:
        yield messages, reached


_RECORD: Final = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LATEST: Final = (
    "INSERT INTO latest (kind, id, seq, at, arrived, open, row) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (kind, id)"
    " DO UPDATE SET seq = excluded.seq, at = excluded.at, arrived = excluded.arrived, open = excluded.open,"
    " row = excluded.row WHERE excluded.seq >= seq"
)
_ENTITY: Final = (
    "INSERT INTO entities (name, seen) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET seen = max(seen, excluded.seen)"
)  # fmt: skip
_ANOMALY: Final = (
    "INSERT INTO anomalies (entity, ts, part, offset, arrived, cleared, id, evidence)"
    " VALUES ((SELECT id FROM entities WHERE name = ?), ?, ?, ?, ?, ?, ?, ?)"
)
_AUDIT: Final = (
    "INSERT INTO audit (chain, seq, ts, part, offset, arrived, of_part, of_offset) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_LETTER: Final = (
    "INSERT INTO letters (id, topic, cause, detail, origin, again, part, offset, arrived)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FORGET: Final = (  # everything of one partition
    "DELETE FROM latest WHERE row IN (SELECT row FROM records WHERE part = ?)",
    "DELETE FROM records WHERE part = ?", "DELETE FROM anomalies WHERE part = ?",
    "DELETE FROM audit WHERE part = ?", "DELETE FROM letters WHERE part = ?",
)  # fmt: skip
