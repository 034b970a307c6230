"""Signals that end a process: SIGTERM and SIGINT."""

from __future__ import annotations

import signal
from collections.abc import Callable


def on_stop(stop: Callable[[], object]) -> None:
    """Call `stop` at SIGTERM and at SIGINT, in the main thread. Raises ValueError in another thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
