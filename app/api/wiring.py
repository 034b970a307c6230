"""Wiring of the HTTP interface: the command `serve`."""

from __future__ import annotations

from typing import Final

from app.system import Command, System

API: Final = System(
    "api", commands=(Command("serve", "serve", "Decisions, votes, incidents, the kill switch and the audit by HTTP."),)
)
