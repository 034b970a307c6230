"""Offline: recorded data through the agents of the live path."""

from __future__ import annotations

from typing import Final

from app.system import CliCommand, System

SYSTEM: Final = System(
    "offline",
    commands=(
        CliCommand("score", "score", "Score recordings as the live detector would."),
        CliCommand("tune", "tune", "What each budget would have told on your own history, and the settings for it."),
        CliCommand("check", "check", "Try whether a detector, format or actuator keeps what its kind promises."),
        CliCommand("replay", "replay", "What the agents decide on recorded topics, in memory: nothing acts."),
    ),
)
