"""The people of the demo: one for each role, besides the person who runs it."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.security.keys import WORKER, Keys, enrol
from models.safety.modes import TIERS
from models.safety.roles import Role, may

PEOPLE: Final = {"olga": Role.OPERATOR, "paula": Role.APPROVER, "leo": Role.LEAD}
FOLDER: Final = "demo"  # the demo's home, within the user's
MARK: Final = "this-is-a-demo"  # a file in the demo's home: a demo that is started with that home makes no other within


def demo_home(home: Path) -> Path:
    """The home in which the demo keeps its people and keys, so that only the demo accepts their signatures."""
    return home if (home / MARK).exists() else home / FOLDER


@contextlib.contextmanager
def at_home() -> Iterator[Path]:
    """Use the demo's home in this process and its children. At the end the former home is restored."""
    from app.settings import home

    before, ours = os.environ.get("OPSLOOP_HOME"), demo_home(home())
    ours.mkdir(mode=0o700, parents=True, exist_ok=True)
    (ours / MARK).touch()
    os.environ["OPSLOOP_HOME"] = str(ours)
    try:
        yield ours
    finally:
        if before is None:
            del os.environ["OPSLOOP_HOME"]
        else:
            os.environ["OPSLOOP_HOME"] = before


def left_behind(home: Path) -> list[str]:
    """People of an earlier demo whose keys are still accepted in a home that is not the demo's."""
    if (home / MARK).exists():
        return []
    return [e.name for e in Keys(home).entries() if not e.revoked and e.roles == (PEOPLE.get(e.name),)]


def invite(home: Path) -> Keys:
    """The keys of a home. The demo's people are added, unless the home has people of its own."""
    keys = enrol(home)
    if {entry.name for entry in keys.entries()} <= {WORKER, getpass.getuser()}:
        for name, role in PEOPLE.items():
            keys.add(name, (role,))
    return keys


def introduce(keys: Keys) -> Iterator[str]:
    """Lines that name each person and what they may approve."""
    (sure, _), (fair, _) = TIERS
    for entry in keys.entries():
        if entry.revoked or entry.name == WORKER:
            continue
        said = f"{entry.name} ({', '.join(entry.roles)})"
        if may(entry.roles, "vote_as_lead"):
            yield f"{said} says yes or no to everything"
        elif may(entry.roles, "vote"):
            yield f"{said} says yes or no at a confidence below {fair:.2f} or from {sure:.2f}; between takes a lead"
        elif may(entry.roles, "propose"):
            yield f"{said} asks for changes, and has no vote"
        else:
            yield f"{said} looks"
    yield "nobody's vote counts for what they have asked for themselves"
