"""Wiring of policies: their topic and the command `policy`."""

from __future__ import annotations

from typing import Final

from app.system import Command, System

POLICY: Final = System(
    "policy",
    topics=("policies",),
    commands=(Command("policy", "policy", "Policies: try, register, list, compare, roll back."),),
)
