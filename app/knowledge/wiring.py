"""Wiring of knowledge: the topic of packs and the command `pack`."""

from __future__ import annotations

from typing import Final

from app.system import CliCommand, System

KNOWLEDGE: Final = System(
    "knowledge",
    topics=("packs",),
    commands=(CliCommand("pack", "pack", "Packs: what signals mean. Try, register, list, compare, roll back."),),
)
