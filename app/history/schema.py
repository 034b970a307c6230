"""The file of the index: its tables, its version, and how it is opened.

The index is derived from the topics: a file of another version, or one that is damaged, is thrown away and built again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.clock import now_ms
from app.errors import UserError
from topics.actions import COMMANDS, RESULTS
from topics.approvals import APPROVALS
from topics.decisions import DECISIONS
from topics.incidents import INCIDENTS
from topics.proposals import PROPOSALS
from topics.refusals import REFUSALS
from topics.settings import SETTINGS
from topics.spec import DAY_MS, Topic
from topics.verdicts import VERDICTS

VERSION: Final = 1  # of the tables and of the order of RECORDED: another one means that the index is built again
BUSY_S: Final = 60.0  # how long one process waits for another's transaction

# topics whose records are kept whole; `records.kind` is the position here
RECORDED: Final[tuple[Topic, ...]] = (
    INCIDENTS, PROPOSALS, DECISIONS, APPROVALS, COMMANDS, RESULTS, VERDICTS, REFUSALS, SETTINGS,
)  # fmt: skip
KIND: Final = {topic.name: number for number, topic in enumerate(RECORDED)}

_TABLES: Final = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('build', 1);
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    next INTEGER NOT NULL, topic_id TEXT NOT NULL DEFAULT '', UNIQUE (topic, partition)
);
CREATE TABLE records (
    row INTEGER PRIMARY KEY, kind INTEGER NOT NULL, part INTEGER NOT NULL, offset INTEGER NOT NULL,
    arrived INTEGER NOT NULL, id TEXT NOT NULL, other TEXT NOT NULL, thread TEXT NOT NULL, about TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX records_arrived ON records (arrived, kind);
CREATE INDEX records_id ON records (id) WHERE id != '';
CREATE INDEX records_other ON records (other) WHERE other != '';
CREATE INDEX records_thread ON records (thread) WHERE thread != '';
CREATE INDEX records_about ON records (about) WHERE about != '';
CREATE TABLE latest (
    kind INTEGER NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, arrived INTEGER NOT NULL,
    open INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX latest_at ON latest (kind, at DESC, id);
CREATE INDEX latest_open ON latest (kind, at DESC, id) WHERE open = 1;
CREATE TABLE entities (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seen INTEGER NOT NULL);
CREATE TABLE anomalies (
    row INTEGER PRIMARY KEY, entity INTEGER NOT NULL, ts INTEGER NOT NULL, part INTEGER NOT NULL,
    offset INTEGER NOT NULL, arrived INTEGER NOT NULL, cleared INTEGER NOT NULL, id TEXT NOT NULL,
    evidence TEXT NOT NULL
);
CREATE INDEX anomalies_entity ON anomalies (entity, ts);
CREATE INDEX anomalies_id ON anomalies (id);
CREATE INDEX anomalies_arrived ON anomalies (arrived);
CREATE TABLE audit (
    row INTEGER PRIMARY KEY, chain INTEGER NOT NULL, seq INTEGER NOT NULL, ts INTEGER NOT NULL,
    part INTEGER NOT NULL, offset INTEGER NOT NULL, arrived INTEGER NOT NULL, of_part INTEGER, of_offset INTEGER
);
CREATE INDEX audit_ts ON audit (ts, chain, seq);
CREATE INDEX audit_of ON audit (of_part, of_offset);
CREATE INDEX audit_arrived ON audit (arrived);
CREATE TABLE letters (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL, topic TEXT NOT NULL, cause TEXT NOT NULL, detail TEXT NOT NULL,
    origin TEXT NOT NULL, again TEXT NOT NULL, part INTEGER NOT NULL, offset INTEGER NOT NULL, arrived INTEGER NOT NULL
);
CREATE INDEX letters_id ON letters (id);
CREATE INDEX letters_arrived ON letters (arrived, id);
CREATE INDEX letters_place ON letters (part, offset);
"""
# `build` tells a process that reads the topics whether another one has begun anew meanwhile
CLEAR: Final = (
    "UPDATE counters SET value = value + 1 WHERE name = 'build'",
    "DELETE FROM counters WHERE name != 'build'",
    "DELETE FROM partitions", "DELETE FROM records", "DELETE FROM latest", "DELETE FROM entities",
    "DELETE FROM anomalies", "DELETE FROM audit", "DELETE FROM letters",
)  # fmt: skip


def file_of(home: Path, cluster: str) -> Path:
    """Where the index of a cluster is kept."""
    return home / "history" / f"{hashlib.blake2b(cluster.encode(), digest_size=8).hexdigest()}.db"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The index in `path`, for its owner's eyes only; made, or made anew, when there is none that can be used.

    Raises:
        UserError: the file cannot be made, read or written, here or in the body.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = _usable(path)
    except OSError as error:
        raise UserError(
            f"cannot keep the index of the history in {path} ({error.strerror})",
            "Set OPSLOOP_HOME to a folder that you may write",
        ) from None
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    try:
        yield database
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    finally:
        database.close()


def _unusable(path: Path, error: sqlite3.Error) -> UserError:
    return UserError(
        f"the index of the history in {path} cannot be used ({error})",
        "Make room on the disk, or run `opsloop history rebuild`",
    )


def _usable(path: Path) -> sqlite3.Connection:
    """The database, with our tables in it. One process at a time decides whether a file is thrown away."""
    with _locked(path):
        for attempt in (1, 2):
            database = _connect(path)
            try:
                if _prepared(database):
                    os.utime(path)  # indexes that nobody opens any more are removed by their age
                    return database
            except sqlite3.DatabaseError as error:
                if attempt == 2 or isinstance(
                    error, sqlite3.OperationalError
                ):  # busy, or no room: not the file's fault
                    database.close()
                    raise
            database.close()
            remove(path)
    raise AssertionError("a new file has no tables")


def _prepared(database: sqlite3.Connection) -> bool:
    """Whether the database has our tables, which an empty one is given; False: it is of another version."""
    database.executescript("PRAGMA page_size = 16384; PRAGMA cache_size = -32000; PRAGMA synchronous = NORMAL;")
    if database.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return True
    if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return False
    _make(database)
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection; SQLite gives its side files the mode of the file, which is made before it comes."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.fchmod(file, 0o600)
    os.close(file)
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)


def _make(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")


def begin_anew(path: Path) -> None:
    """Empty an index, for those who use it now too; a damaged one is deleted.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with opened(path) as database, transaction(database):
            for statement in CLEAR:
                database.execute(statement)
    except UserError as error:
        cause = error.__context__
        if not isinstance(cause, sqlite3.DatabaseError) or isinstance(cause, sqlite3.OperationalError):
            raise
        with _locked(path):
            remove(path)


def remove(path: Path) -> None:
    """Delete an index with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def remove_unused(folder: Path, but: Path, days: float) -> None:
    """Delete the indexes of other clusters that nobody has opened for `days`."""
    for path in folder.glob("*.db"):
        with contextlib.suppress(OSError):
            if path != but and path.stat().st_mtime * 1000 < now_ms() - days * DAY_MS:
                remove(path)
                path.with_suffix(".lock").unlink(missing_ok=True)


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, with nobody else writing from the first statement on."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.rollback()
        raise
    database.execute("COMMIT")
