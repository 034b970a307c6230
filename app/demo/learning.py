"""A file at the site says until when detection learns what is normal, for `opsloop demo break` in other terminals.

A fault that comes before that is learned as normal and is never detected.
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
    """Record that detection will be ready in `seconds`."""
    files.replace(site / NAME, seconds)


def end(site: Path) -> None:
    """Record that detection is ready."""
    (site / NAME).unlink(missing_ok=True)


def left_s(site: Path) -> float:
    """Seconds until detection is ready, as recorded; 0 when it is ready, or when nothing is recorded."""
    try:
        return files.read(site / NAME, float)
    except FileNotFoundError:
        return 0.0


def wait(site: Path, say: Callable[[str], None]) -> None:
    """Wait until detection is ready. `say` is called once with the expected time.

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
