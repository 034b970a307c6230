"""The bounds of the index: the oldest rows are dropped when it holds too many, too old or too large ones."""

from __future__ import annotations

import sqlite3
from typing import Final

from app.history.schema import KIND
from app.history.settings import HistorySettings
from topics.settings import INCIDENT, SETTINGS
from topics.spec import DAY_MS, Instant

# the newest value of a live setting stays whatever its age; what people said of incidents ends with them
_STANDING: Final = (
    "SELECT max(row) FROM records WHERE kind = :settings AND NOT (about >= :incident AND about < :beyond)"
    " GROUP BY about, part"
)
_OLD: Final = (
    f"DELETE FROM records WHERE arrived < :before AND row NOT IN ({_STANDING})",
    "DELETE FROM latest WHERE arrived < :before AND NOT EXISTS (SELECT 1 FROM records WHERE records.row = latest.row)",
    "DELETE FROM anomalies WHERE arrived < :before",
    "DELETE FROM audit WHERE arrived < :before",
    "DELETE FROM letters WHERE arrived < :before",
    "DELETE FROM entities WHERE seen < :before",
)
_SIZES: Final = (
    ("SELECT count(*) FROM records", "SELECT arrived FROM records ORDER BY arrived DESC LIMIT 1 OFFSET ?"),
    ("SELECT count(*) FROM anomalies", "SELECT arrived FROM anomalies ORDER BY arrived DESC LIMIT 1 OFFSET ?"),
    ("SELECT count(*) FROM audit", "SELECT arrived FROM audit ORDER BY arrived DESC LIMIT 1 OFFSET ?"),
    ("SELECT count(*) FROM letters", "SELECT arrived FROM letters ORDER BY arrived DESC LIMIT 1 OFFSET ?"),
)


def prune(database: sqlite3.Connection, settings: HistorySettings, now: Instant) -> None:
    """Drop the oldest rows until the index is within its bounds. Called inside a transaction."""
    before = now - int(settings.days * DAY_MS)
    for count, nth in _SIZES:
        if database.execute(count).fetchone()[0] > settings.rows:
            before = max(before, database.execute(nth, (settings.rows - 1,)).fetchone()[0])
    _drop(database, before)
    while used_bytes(database) > settings.megabytes * 1_000_000:
        low, high = _span(database)
        if high <= low:
            return
        _drop(database, low + max(1, (high - low) // 10))


def used_bytes(database: sqlite3.Connection) -> int:
    """The space that rows and their indexes take."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _span(database: sqlite3.Connection) -> tuple[Instant, Instant]:
    """When the oldest and the newest row arrived that may be dropped."""
    row = database.execute(
        "SELECT coalesce(min(low), 0), coalesce(max(high), 0) FROM ("
        " SELECT min(arrived) AS low, max(arrived) AS high FROM latest"
        " UNION ALL SELECT min(arrived), max(arrived) FROM records WHERE kind != ?"
        " UNION ALL SELECT min(arrived), max(arrived) FROM anomalies"
        " UNION ALL SELECT min(arrived), max(arrived) FROM audit"
        " UNION ALL SELECT min(arrived), max(arrived) FROM letters)",
        (KIND[SETTINGS.name],),
    ).fetchone()
    return int(row[0]), int(row[1])


def _drop(database: sqlite3.Connection, before: Instant) -> None:
    bound = {"before": before, "settings": KIND[SETTINGS.name], "incident": INCIDENT, "beyond": INCIDENT + "\U0010ffff"}
    for statement in _OLD:
        database.execute(statement, bound)
