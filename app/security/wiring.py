"""Wiring of security: the commands `keys` and `user`."""

from __future__ import annotations

from typing import Final

from app.system import Command, System

SECURITY: Final = System(
    "security",
    commands=(
        Command("keys", "user", "Make the keys that this host needs, and list whose keys are believed."),
        Command("user", "user", "Who may do what here: principals, keys, passwords, tokens."),
    ),
)
