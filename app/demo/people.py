"""The people of the demo: one for each thing that a person may be trusted with, beside whoever runs it."""

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
FOLDER: Final = "demo"  # the demo's home within the user's
MARK: Final = "this-is-a-demo"  # a file in it: a demo that is started with it as home makes none within


def demo_home(home: Path) -> Path:
    """Where the demo keeps its people and their keys, so that nobody else believes them."""
    return home if (home / MARK).exists() else home / FOLDER


@contextlib.contextmanager
def at_home() -> Iterator[Path]:
    """Make the demo's home that of this process and those that it starts; at the end it is as before."""
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
    """People of an earlier demo who are still believed in a home that is not the demo's."""
    if (home / MARK).exists():
        return []
    return [e.name for e in Keys(home).entries() if not e.revoked and e.roles == (PEOPLE.get(e.name),)]


def invite(home: Path) -> Keys:
    """The keys of a home, with the demo's people in it unless it has people of its own."""
    keys = enrol(home)
    if {entry.name for entry in keys.entries()} <= {WORKER, getpass.getuser()}:
        for name, role in PEOPLE.items():
            keys.add(name, (role,))
    return keys


def introduce(keys: Keys) -> Iterator[str]:
    """Who may say yes to what here, a line each."""
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
