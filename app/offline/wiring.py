"""Offline: recorded data through the agents of the live path."""

from __future__ import annotations

from typing import Final

from app.system import Command, System

SYSTEM: Final = System(
    "offline",
    commands=(
        Command("score", "score", "Score recordings as the live detector would."),
        Command("check", "check", "Try whether a detector, format or actuator keeps what its kind promises."),
        Command("replay", "replay", "What the agents decide on recorded topics, in memory: nothing acts."),
    ),
)
