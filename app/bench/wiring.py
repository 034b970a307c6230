"""Wiring of the benches: the command group `bench`."""

from __future__ import annotations

from typing import Final

from app.system import CliCommand, System

SYSTEM: Final = System("bench", commands=(CliCommand("bench", "bench", "Measure this machine."),))
