"""Conformance: whether a detector, format or actuator keeps the promises of its kind."""

from __future__ import annotations

from typing import Final

from app.system import Command, System

SYSTEM: Final = System(
    "conformance",
    commands=(Command("check", "check", "Try whether a detector, format or actuator keeps what its kind promises."),),
)
