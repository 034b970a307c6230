"""Builds the input document of policies from a proposal and the gate's state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from models.actions.catalogue import ACTIONS
from models.safety.modes import tier
from models.safety.promotion import GRANT
from topics.patterns import narrowest
from topics.policies import ActionFacts, Facts, ProposalFacts, SystemFacts, TargetFacts, TimeFacts
from topics.proposals import Proposal
from topics.spec import Instant, service_of, system_of

PRODUCTION: Final = "production"
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_KINDS: Final = ("host", "service", "instance")


def facts_of(
    proposal: Proposal, system: SystemFacts, priority: int, environments: Mapping[str, str], now: Instant
) -> Facts:
    """Return the input document for a proposal.

    environments: pattern → name. The narrowest that means the target counts; the default is production.
    """
    return Facts(
        action=action_facts(proposal.action), target=target_facts(proposal.target, environments),
        parameters=dict(proposal.parameters), time=time_facts(now), system=system,
        proposal=ProposalFacts(
            requester=proposal.requester, confidence=proposal.confidence, tier=tier(proposal.confidence),
            cause=proposal.cause, rule=proposal.rule, attempt=proposal.attempt, incident=bool(proposal.incident),
            priority=priority,
        ),
    )  # fmt: skip


def action_facts(name: str) -> ActionFacts:
    """Return the facts of an action from the catalogue."""
    if name == GRANT:  # it can be withdrawn, and needs a lead in any case
        return ActionFacts(name, True, False, "medium", 0.0, 1)
    action = ACTIONS.get(name)
    if action is None:
        return ActionFacts(name)
    return ActionFacts(name, True, action.irreversible, action.risk, action.cost, action.blast_radius)


def target_facts(target: str, environments: Mapping[str, str]) -> TargetFacts:
    """Return the facts of a target from its path `system/service/instance`."""
    parts = target.split("/")
    environment = min((environments[scope] for scope in narrowest(environments, target)), default=PRODUCTION)
    return TargetFacts(target, system_of(target), service_of(target), _KINDS[min(len(parts), 3) - 1], environment)


def time_facts(now: Instant) -> TimeFacts:
    """Return the facts of a time, in UTC."""
    at = datetime.fromtimestamp(now / 1000, UTC)
    return TimeFacts(now, at.date().isoformat(), at.hour, _DAYS[at.weekday()])
