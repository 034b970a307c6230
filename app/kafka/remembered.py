"""The address of the Kafka that `opsloop kafka up` started last: the default broker of all commands.

It is a file in the user's home with one line, the bootstrap servers. `--broker` and OPSLOOP_BROKER come before it.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

from app.settings import home

NAME: Final = "broker"
ADDRESSES: Final = re.compile(r"[\w.\-\[\]:]+:\d+(,[\w.\-\[\]:]+:\d+)*")


def remember(bootstrap: str) -> Path:
    """Store the address. Returns the file that holds it."""
    file = home() / NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(bootstrap + "\n")
    return file


def remembered() -> str:
    """The stored address; empty when there is none, or when the file holds no address."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = (home() / NAME).read_text().strip()
        return found if ADDRESSES.fullmatch(found) else ""
    return ""


def forget(bootstrap: str) -> None:
    """Remove the stored address if it is this one."""
    if remembered() == bootstrap:
        with contextlib.suppress(OSError):
            (home() / NAME).unlink()
