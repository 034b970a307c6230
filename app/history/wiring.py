"""History: everything that was decided, refused and done is kept, signed and told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.system import CliCommand, Parts, System, Verb

if TYPE_CHECKING:
    from agents._agent import Agent


def _record(parts: Parts) -> Agent[Any]:
    from agents.record import AuditWriter
    from models.safety.masking import rules_with

    return AuditWriter(rules_with(parts.settings.safety.masks))


def _attest(parts: Parts) -> Agent[Any]:
    from agents.attest import Attest

    return Attest(parts.signer)


HISTORY: Final = System(
    "history",
    agents=(Verb("record", "loop", _record), Verb("attest", "loop", _attest)),
    topics=("audit",),
    commands=(
        CliCommand("audit", "audit", "The record of everything that was decided, refused and done."),
        CliCommand("history", "history", "The index of what happened: show, rebuild."),
    ),
)
