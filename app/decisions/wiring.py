"""Wiring of decisions: incidents become proposals, proposals become decisions, decisions become commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.system import CliCommand, Parts, System, Verb

if TYPE_CHECKING:
    from agents._agent import Agent


def _decide(parts: Parts) -> Agent[Any]:
    from agents.decide import Decide
    from app.decisions.bounds import bounds

    return Decide(parts.packs, bounds(parts.settings), parts.signer, parts.keyring)


def _gate(parts: Parts) -> Agent[Any]:
    from agents.gate import Gate
    from app.policy.shipped import policies

    return Gate(parts.settings.safety, parts.signer, parts.keyring, policies(parts.settings.policy))


def _approve(parts: Parts) -> Agent[Any]:
    from agents.approve import Approve

    return Approve(parts.settings.safety, parts.signer, parts.keyring)


DECISIONS: Final = System(
    "decisions",
    agents=(Verb("decide", "loop", _decide),),
    topics=("proposals",),
    commands=(
        CliCommand("decide", "decide", "Show the options for a situation, each with its score by part."),
        CliCommand("propose", "decide", "Ask for an action. It always needs somebody else's yes."),
    ),
)

SAFETY: Final = System(
    "safety",
    agents=(Verb("gate", "loop", _gate), Verb("approve", "loop", _approve)),
    topics=("decisions", "approvals", "settings", "refusals"),
    commands=(
        CliCommand("decisions", "incidents", "List decisions with their state, action and reasons, newest first."),
        CliCommand("approve", "approvals", "Say yes to a waiting decision."),
        CliCommand("reject", "approvals", "Say no to a waiting decision."),
        CliCommand("kill-switch", "approvals", "Stop all acting, or allow it again."),
        CliCommand("maintenance", "approvals", "Nothing is changed within a scope while people work on it."),
        CliCommand("autonomy", "autonomy", "What acts alone, and what it was trusted with."),
    ),
)
