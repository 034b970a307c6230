"""Wiring of knowledge: packs, and what is known of entities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.system import CliCommand, Parts, System, Verb

if TYPE_CHECKING:
    from agents._agent import Agent


def _describe(parts: Parts) -> Agent[Any]:
    from agents.describe import Describe

    return Describe(parts.packs, parts.keyring, parts.settings.entities)


KNOWLEDGE: Final = System(
    "knowledge",
    agents=(Verb("describe", "loop", _describe),),
    topics=("packs", "entities"),
    commands=(
        CliCommand("pack", "pack", "Packs: what signals mean. Try, register, list, compare, roll back."),
        CliCommand("entities", "entities", "List entities with their kind, last sample and relations."),
        CliCommand("why", "why", "Tell what is known of an entity, and why it has no incident."),
    ),
)
