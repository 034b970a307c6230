"""Proposals: what any part of the system wants to change, and why. Nothing acts without one."""

from __future__ import annotations

from topics.spec import Count, Instant, Record, Topic, system_of


class Proposal(Record, frozen=True):
    """One wish to change one target."""

    id: str  # H(incident, rule, attempt) or H(requester, request)
    ts: Instant
    action: str  # a name of the action catalogue
    target: str
    parameters: dict[str, str]
    requester: str  # the agent or person that wants it
    confidence: float  # 0..1 that it will help
    cause: str  # the hypothesis it rests on
    reasons: tuple[str, ...]
    alternatives: tuple[str, ...] = ()  # other actions considered, each with why not
    rule: str = ""
    rule_revision: Count = 1
    incident: str = ""
    attempt: Count = 0
    evidence: tuple[str, ...] = ()


PROPOSALS = Topic(
    "opsloop.proposals", Proposal, key=lambda proposal: system_of(proposal.target), what="changes that are wanted"
)
