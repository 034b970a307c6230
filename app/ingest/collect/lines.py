"""Follows a file that grows by lines, across truncation and replacement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class NewLines:
    """Yields each complete line once, from the start of the file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._inode = 0
        self._position = 0
        self._number = 0

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines since the last call with their numbers from 1; nothing while the file does not exist."""
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            return
        if stat.st_ino != self._inode or stat.st_size < self._position:
            self._inode, self._position, self._number = stat.st_ino, 0, 0
        if stat.st_size == self._position:
            return
        with self._file.open("rb") as stream:
            stream.seek(self._position)
            for line in stream:
                if not line.endswith(b"\n"):
                    return  # the line is not complete yet
                self._position += len(line)
                self._number += 1
                if line.strip():
                    yield self._number, line
