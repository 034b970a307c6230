"""Wiring of the drills: the command group `drill`."""

from __future__ import annotations

from typing import Final

from app.system import CliCommand, System

SYSTEM: Final = System(
    "drills", commands=(CliCommand("drill", "drill", "Break real workers on purpose, and see what still holds."),)
)
