"""Small files that several processes share: replaced atomically, and changed under a lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def replace(path: Path, content: Any) -> None:
    """Replace the file by `content` as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content if isinstance(content, bytes) else msgspec.json.encode(content))
    draft.replace(path)


def read(path: Path, kind: type[T]) -> T:
    """Read the file as a `kind`."""
    return msgspec.json.decode(path.read_bytes(), type=kind)


def append(path: Path, record: Any) -> None:
    """Append one JSON line in one write, so that lines of several processes do not mix."""
    line = msgspec.json.encode(record) + b"\n"
    target = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(target, line)
    finally:
        os.close(target)


def lines(path: Path, kind: type[T]) -> list[T]:
    """The records of a file of JSON lines, without an incomplete last line."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [msgspec.json.decode(line, type=kind) for line in whole.splitlines()]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on the file. The kernel releases it when the process ends."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Watched:
    """Notices when a file was replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = (0, 0)

    def changed(self) -> bool:
        """Whether the file was replaced since the last call."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return False
        now = (stat.st_mtime_ns, stat.st_ino)
        seen, self._seen = self._seen, now
        return now != seen
