"""The actuators' ledger on disk: an intent before each command runs, its result afterwards, so that none runs twice.

All actuators of a site share one folder, in any number of processes. An actuator holds a file lock from an intent to
its result; the kernel releases it when the process dies. An intent without a result, under a free lock, is an orphan.

    entries.jsonl   {"sum": CRC-32 of the entry, "entry": {...}}, one line each, only ever appended to
    lock
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from agents.act import Begin, Intent
from app.errors import UserError
from topics.actions import Command, Result
from topics.spec import DAY_MS, Instant

WAIT_S: Final = 5.0
COMPACT_BYTES: Final = 1_000_000


class _Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    ts: Instant
    intent: Command | None = None
    result: Result | None = None


class _Line(msgspec.Struct, frozen=True):
    sum: int
    entry: msgspec.Raw


class Ledger:
    """Records which commands began and how they ended. See `agents.act.Ledger` for the promise.

    keep_ms: how long an ended command is kept; longer than a command can be delivered again before it expires.
    wait_s: how long `begin` and `finish` wait for another actuator's lock. compact_bytes: size at which old entries are
    dropped. Every method raises UserError when a line before the last is damaged; a torn last line is cut off.
    """

    def __init__(
        self, folder: Path, *, keep_ms: int = DAY_MS, wait_s: float = WAIT_S, compact_bytes: int = COMPACT_BYTES
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "entries.jsonl"
        self._lock_path = folder / "lock"
        self._keep_ms, self._wait_s, self._compact_bytes = keep_ms, wait_s, compact_bytes
        self._lock: int | None = None
        self._forget()
        self._catch_up()

    # the promise of agents.act.Ledger

    def find(self, command: str) -> Result | None:
        self._catch_up()
        return self._results.get(command)

    def begin(self, command: Command, now: Instant) -> Begin:
        if not self._acquire(self._wait_s):
            return Begin.BUSY
        self._catch_up()
        if command.id in self._open or command.id in self._results:
            self._release()
            return Begin.KNOWN
        self._compact(now)
        self._append(_Entry(now, intent=command))
        return Begin.BEGUN

    def finish(self, result: Result) -> None:
        if not self._acquire(self._wait_s):
            raise UserError("another actuator holds the ledger and does not end", "Look for one that was stopped")
        self._catch_up()
        if result.command not in self._results:
            self._append(_Entry(result.ts, result=result))
        if not self._open:
            self._release()

    def past(self) -> Sequence[Intent]:
        self._catch_up()
        return tuple(self._past.values())

    def orphans(self) -> Sequence[Intent]:
        self._catch_up()
        if not self._open or not self._acquire(0.0):
            return ()
        self._catch_up()
        if not self._open:
            self._release()
        return tuple(self._open.values())

    def close(self) -> None:
        """Release the lock."""
        self._release()

    # the lock

    def _acquire(self, wait_s: float) -> bool:
        if self._lock is not None:
            return True
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(lock)
                    return False
                time.sleep(0.02)
            else:
                self._lock = lock
                return True

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # the file

    def _forget(self) -> None:
        self._offset = self._lines = self._inode = 0
        self._open: dict[str, Intent] = {}
        self._past: dict[str, Intent] = {}
        self._results: dict[str, Result] = {}

    def _catch_up(self) -> None:
        """Read the lines that any process has appended since the last call. Under the lock, cut off a torn end."""
        try:
            with self._path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:
                    self._forget()
                    self._inode = inode
                file.seek(self._offset)
                tail = file.read()
        except FileNotFoundError:
            return
        lines = tail.split(b"\n")
        for number, line in enumerate(lines[:-1]):
            entry = _parse(line)
            if entry is None:
                if any(lines[number + 1 :]):
                    raise self._damaged()
                break  # a torn end that happens to have its line's end
            self._take(entry)
            self._offset += len(line) + 1
            self._lines += 1
        if self._lock is not None and self._path.stat().st_size > self._offset:
            os.truncate(self._path, self._offset)

    def _take(self, entry: _Entry) -> None:
        if entry.intent is not None:
            intent = Intent(entry.intent, entry.ts)
            self._open[entry.intent.id] = self._past[entry.intent.id] = intent
        if entry.result is not None:
            self._open.pop(entry.result.command, None)
            self._results[entry.result.command] = entry.result

    def _append(self, entry: _Entry) -> None:
        """Append a line and wait until it is on disk."""
        new = not self._path.exists()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write(file, _line(entry))
        finally:
            os.close(file)
        if new:
            _sync_folder(self._path.parent)
        self._catch_up()

    def _compact(self, now: Instant) -> None:
        """Rewrite a large file without the commands that ended more than `keep_ms` ago."""
        if self._offset < self._compact_bytes:
            return
        past = [i for i in self._past.values() if i.command.id in self._open or now - i.ts < self._keep_ms]
        kept = [_Entry(i.ts, intent=i.command) for i in past]
        kept += [_Entry(r.ts, result=r) for r in self._results.values() if now - r.ts < self._keep_ms]
        draft = self._path.with_suffix(".draft")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write(file, b"".join(map(_line, kept)))
        finally:
            os.close(file)
        draft.replace(self._path)
        _sync_folder(self._path.parent)
        self._catch_up()

    def _damaged(self) -> UserError:
        return UserError(
            f"line {self._lines + 1} of the actuator's ledger {self._path} is damaged",
            "Nothing acts on it: look at what its last commands did, then move the file away.",
        )


def _line(entry: _Entry) -> bytes:
    body = msgspec.json.encode(entry)
    return msgspec.json.encode(_Line(zlib.crc32(body), msgspec.Raw(body))) + b"\n"


def _parse(line: bytes) -> _Entry | None:
    """The entry of a line; None when the line is torn or its checksum is wrong."""
    try:
        outer = msgspec.json.decode(line, type=_Line)
        return msgspec.json.decode(outer.entry, type=_Entry) if zlib.crc32(outer.entry) == outer.sum else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]
    os.fdatasync(file)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
