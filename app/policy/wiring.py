"""Wiring of policies: their topic and the command `policy`."""

from __future__ import annotations

from typing import Final

from app.system import CliCommand, System

POLICY: Final = System(
    "policy",
    topics=("policies",),
    commands=(CliCommand("policy", "policy", "Policies: try, register, list, compare, roll back."),),
)
