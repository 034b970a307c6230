"""Policies: signed versions of Rego files, the facts that they are asked about, and their results."""

from __future__ import annotations

import msgspec

from topics.spec import Count, Instant, Topic
from topics.versions import Version, key_of


class Policy(Version, frozen=True):
    """What an admin says of one version of a policy; `source` is its Rego file."""


POLICIES = Topic(
    "opsloop.policies", Policy, key=key_of, what="signed versions of policies", compact=True, broadcast=True
)


class ActionFacts(msgspec.Struct, frozen=True):
    """What the catalogue says of the proposed action. An unknown action is treated as the riskiest."""

    name: str
    known: bool = False
    irreversible: bool = True
    risk: str = "high"  # low, medium, high
    cost: float = 0.0  # running cost that it adds, in replicas
    blast_radius: Count = 1


class TargetFacts(msgspec.Struct, frozen=True):
    """The target of the proposed action."""

    id: str
    system: str
    service: str
    kind: str  # host, service, instance
    environment: str = "production"


class ProposalFacts(msgspec.Struct, frozen=True):
    """Who proposes it, why, and with which confidence."""

    requester: str
    confidence: float
    tier: str
    cause: str
    rule: str
    attempt: Count
    incident: bool  # whether it answers an open incident
    priority: Count  # of the incident: 0 (most urgent) to 4


class TimeFacts(msgspec.Struct, frozen=True):
    """The moment of the question, in UTC."""

    ms: Instant
    date: str  # 2026-11-21
    hour: Count
    weekday: str  # monday …


class SystemFacts(msgspec.Struct, frozen=True):
    """The state of the target's safety scope, which is its system unless settings say otherwise."""

    mode: str  # how far the system may go by itself at the target, see models.safety.modes
    storm: bool = False
    stale: bool = False  # whether its telemetry is too old to act on alone
    incidents: Count = 0  # open ones
    services: Count = 0  # and hosts that are known, from topologies and alarms
    unwell: Count = 0  # of those
    actions: Count = 0  # in the scope within the gate's window
    target_actions: Count = 0  # on the target
    failures: Count = 0  # actions in a row that did not help the service


class Facts(msgspec.Struct, frozen=True):
    """The input document of every policy: `input.action.name` and so on, nothing else."""

    action: ActionFacts
    target: TargetFacts
    parameters: dict[str, str]
    proposal: ProposalFacts
    time: TimeFacts
    system: SystemFacts


class PolicyResult(msgspec.Struct, frozen=True):
    """What one policy answered."""

    policy: str
    version: Count  # 0: shipped with Opsloop
    kind: str  # access, quota, security, compliance, cost, quality, operational
    effect: str  # allow, deny, require_approval, degrade, fault
    enforced: bool  # False: written down only
    reasons: tuple[str, ...] = ()  # of the rules that matched
    enforcement: str = ""  # strict, gradual, advisory, monitor; empty: its text cannot be read
