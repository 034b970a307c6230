"""Incidents: anomalies become symptoms, these become incidents, results become verdicts, and both teach detection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.system import CliCommand, Parts, System, Verb

if TYPE_CHECKING:
    from agents._agent import Agent


def _diagnose(parts: Parts) -> Agent[Any]:
    from agents.diagnose import Diagnose, DiagnoseSamples

    return (Diagnose if parts.heartbeats else DiagnoseSamples)(parts.packs, parts.keyring)


def _respond(parts: Parts) -> Agent[Any]:
    from agents.respond import Respond

    return Respond(parts.packs, parts.keyring, parts.settings.incidents, parts.settings.entities)


def _verify(parts: Parts) -> Agent[Any]:
    from agents.verify import Verify

    return Verify(parts.packs, parts.keyring, parts.settings.verification)


def _label(_: Parts) -> Agent[Any]:
    from agents.label import Labeller

    return Labeller()


INCIDENTS: Final = System(
    "incidents",
    agents=(Verb("diagnose", "loop", _diagnose), Verb("respond", "loop", _respond)),
    topics=("incidents",),
    commands=(
        CliCommand("incidents", "incidents", "List incidents with their state, cause and age, newest first."),
        CliCommand("explain", "incidents", "Explain what belongs to an id: from the first sample to the verdict."),
        CliCommand("acknowledge", "incidents", "Say that you have an incident in hand. Opsloop goes on with it."),
        CliCommand("resolve", "incidents", "Close an incident by hand: nothing more is tried for it."),
    ),
)

VERIFICATION: Final = System(
    "verification",
    agents=(Verb("verify", "loop", _verify), Verb("label", "loop", _label)),
    topics=("verdicts", "learning"),
    commands=(CliCommand("label", "label", "Say what an open incident was: detection learns it, or never does."),),
)
