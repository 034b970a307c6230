"""Telling a person how far the index is, when that takes longer than they would wait without a word."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

QUIET_S: Final = 0.5  # nothing is shown before
TERMINAL_S: Final = 0.2  # between two updates of the line on a terminal
LOG_S: Final = 5.0  # between two lines in a file


class ProgressLine:
    """One line on a terminal that is kept up to date and wiped at the end; in a file, a line every five seconds."""

    def __init__(self, stream: TextIO, quiet_s: float, now: Callable[[], float]) -> None:
        self._stream, self._quiet_s, self._now = stream, quiet_s, now
        self._terminal = stream.isatty()
        self._began = self._last = now()
        self._written = False

    def __call__(self, done: int, whole: int) -> None:
        """Tell that `done` of `whole` messages were read."""
        if done >= whole:
            self._end(done, whole)
        elif self._is_due():
            self._write(f"\r\x1b[K{self._line(done, whole)}" if self._terminal else f"{self._line(done, whole)}\n")

    def _is_due(self) -> bool:
        now = self._now()
        if now - self._began < self._quiet_s:
            return False
        return not self._written or now - self._last >= (TERMINAL_S if self._terminal else LOG_S)

    def _line(self, done: int, whole: int) -> str:
        rate = done / max(self._now() - self._began, 1e-3)
        return f"indexing the history: {done:,} of {whole:,} messages ({done / whole:.0%}), {rate:,.0f} a second"

    def _end(self, done: int, whole: int) -> None:
        if self._written:
            self._write("\r\x1b[K" if self._terminal else f"{self._line(done, whole)}\n")
            self._written = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
        self._written, self._last = True, self._now()


def shown() -> Callable[[int, int], None]:
    """Progress on standard error: after half a second, and only when that is a terminal."""
    return ProgressLine(sys.stderr, QUIET_S, time.monotonic) if sys.stderr.isatty() else lambda _done, _whole: None


def shown_always() -> Callable[[int, int], None]:
    """Progress on standard error from the beginning on, also into a file: for a command that only indexes."""
    return ProgressLine(sys.stderr, 0.0, time.monotonic)
