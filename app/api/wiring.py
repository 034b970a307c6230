"""Wiring of the HTTP interface: the command `serve`."""

from __future__ import annotations

from typing import Final

from app.system import CliCommand, System

API: Final = System(
    "api",
    commands=(CliCommand("serve", "serve", "Decisions, votes, incidents, the kill switch and the audit by HTTP."),),
)
