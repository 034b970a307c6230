"""No orphans: a process that this project starts ends with the one that started it."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

FOLLOW: Final = "OPSLOOP_PARENT"  # environment variable with the id of the process to end with
PERIOD_S: Final = 0.25


def follow() -> None:
    """End this process when the one named by OPSLOOP_PARENT is not its parent any more."""
    parent = os.environ.get(FOLLOW)

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(PERIOD_S)
        os._exit(1)

    if parent:
        threading.Thread(target=watch, name="parent", daemon=True).start()
