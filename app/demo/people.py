"""The people of the demo: one for each thing that a person may be trusted with, beside whoever runs it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.security.keys import WORKER, Keys, enrol
from models.safety.modes import TIERS
from models.safety.roles import Role, may

PEOPLE: Final = {"olga": Role.OPERATOR, "paula": Role.APPROVER, "leo": Role.LEAD}


def invite(home: Path) -> Keys:
    """The keys of a home, with the demo's people in it unless it has people of its own."""
    keys = enrol(home)
    if {entry.name for entry in keys.entries()} <= {WORKER, getpass.getuser()}:
        for name, role in PEOPLE.items():
            keys.add(name, (role,))
    return keys


def introduced(keys: Keys) -> Iterator[str]:
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
