"""Wiring of security: the commands `keys` and `user`."""

from __future__ import annotations

from typing import Final

from app.system import CliCommand, System

SECURITY: Final = System(
    "security",
    commands=(
        CliCommand("keys", "user", "Make the keys that this host needs, and list whose keys are believed."),
        CliCommand("user", "user", "Who may do what here: principals, keys, passwords, tokens."),
    ),
)
