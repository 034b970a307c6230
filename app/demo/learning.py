"""Whether the demo still learns what is ordinary: a file at its site, for whoever breaks something from elsewhere.

A fault that comes before detection has seen enough passes for ordinary, and is never found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.demo import files
from app.errors import UserError

NAME: Final = "learning"
LIMIT_S: Final = 120.0
ASK_S: Final = 0.1


def begin(site: Path, seconds: float) -> None:
    """Write down in how many seconds detection will be ready."""
    files.replace(site / NAME, seconds)


def end(site: Path) -> None:
    """Detection is ready."""
    (site / NAME).unlink(missing_ok=True)


def left_s(site: Path) -> float:
    """Seconds until detection is ready, as the demo has written down; 0: it is, or nobody says that it is not."""
    try:
        return files.read(site / NAME, float)
    except FileNotFoundError:
        return 0.0


def wait(site: Path, say: Callable[[str], None]) -> None:
    """Return when detection is ready; `say` is told once how long that takes.

    Raises:
        UserError: it is not ready after two minutes.
    """
    if left := left_s(site):
        say(f"the demo still learns what is ordinary: the fault comes in about {left:.0f} s")
    end_at = time.monotonic() + LIMIT_S
    while left_s(site):
        if time.monotonic() > end_at:
            remedy = "Look at what `opsloop demo` says, or start it with --folder and read its logs"
            raise UserError("the demo does not get ready, so the fault would not be found", remedy, exit_code=1)
        time.sleep(ASK_S)
