"""Proposals: the changes that agents or people ask for. Every action begins with one."""

from __future__ import annotations

import msgspec

from topics.spec import Count, Instant, Record, Topic, domain_of


class Option(msgspec.Struct, frozen=True):
    """One possible action, with its scores."""

    action: str
    target: str
    confidence: float  # 0..1 that it helps, as it has turned out for others like it
    score: float  # the weighted sum of its objectives
    parts: dict[str, float]  # rule, learned: of the confidence; performance, cost and the like: of the score
    rule: str
    cause: str
    parameters: dict[str, str] = {}
    raw: float = 0.0  # the confidence before it was calibrated
    propensity: float = 0.0  # how probable it was that this one would be chosen; 0: never
    efficient: bool = True  # no other option is as good in everything and better in something
    why_not: str = ""  # empty: this one was chosen


class Proposal(Record, frozen=True):
    """A change of one target that somebody asks for."""

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
    kind: str = ""  # of the eight kinds of decision, see models.decision.base
    options: tuple[Option, ...] = ()  # everything that was considered, the chosen one first
    context: dict[str, float] = msgspec.field(default_factory=dict)  # what they were scored under
    raw: float = 0.0  # the confidence before it was calibrated; 0: it was not
    propensity: float = 1.0  # how probable it was that this option would be chosen
    expects: str = ""  # a metric (glob) of the target that is to be ordinary again; empty: nothing was stated
    expires: Instant = 0  # not answered after this
    key: str = ""  # id of the requester's key; a worker's for Opsloop's own agents
    signature: bytes = b""  # Ed25519 over all other fields, see models.safety.signing


PROPOSALS = Topic(
    "opsloop.proposals", Proposal, key=lambda proposal: domain_of(proposal.target), what="changes that are wanted"
)
