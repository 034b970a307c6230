"""Ends a process when the process that started it has ended."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

FOLLOW: Final = "OPSLOOP_PARENT"  # environment variable: process id of the parent to watch
PERIOD_S: Final = 0.25


def follow() -> None:
    """Start a thread that exits this process with code 1 when its parent is no longer the one in OPSLOOP_PARENT."""
    parent = os.environ.get(FOLLOW)

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(PERIOD_S)
        os._exit(1)

    if parent:
        threading.Thread(target=watch, name="parent", daemon=True).start()
