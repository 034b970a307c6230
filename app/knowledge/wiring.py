"""Wiring of knowledge: the topic of packs, and what people ask of it."""

from __future__ import annotations

from typing import Final

from app.system import CliCommand, System

KNOWLEDGE: Final = System(
    "knowledge",
    topics=("packs",),
    commands=(
        CliCommand("pack", "pack", "Packs: what signals mean. Try, register, list, compare, roll back."),
        CliCommand(
            "why",
            "why",
            "Tell what is known of an entity, and why it has no incident.",
        ),
    ),
)
