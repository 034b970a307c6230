"""Permissions: one table for topics and one for operations. What has no row is allowed to nobody.

A topic's row says which roles may write it and which may read it. Where a signature carries the right (proposals,
votes, commands, live settings, audit checkpoints), every reader enforces the row, with or without ACLs of the broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec


class Role(StrEnum):
    """A role. A person may have several; no role includes another."""

    VIEWER = "viewer"  # reads
    OPERATOR = "operator"  # stops all actions, proposes changes
    APPROVER = "approver"  # votes on pending decisions
    LEAD = "lead"  # votes on decisions that need a lead
    ADMIN = "admin"  # manages users, policies and packs, ends a stop
    AGENT = "agent"  # a program that reads and proposes changes, as a person would
    NODE = "node"  # a monitored machine
    WORKER = "worker"  # Opsloop itself


class RoleRow(msgspec.Struct, frozen=True):
    """The roles that may write and read a topic."""

    write: frozenset[Role]
    read: frozenset[Role]


_PEOPLE: Final = frozenset({Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN})
_READERS: Final = _PEOPLE | {Role.AGENT, Role.WORKER}
_OURS: Final = frozenset({Role.WORKER})
_VOTERS: Final = frozenset({Role.APPROVER, Role.LEAD})


def _row(write: Iterable[Role], read: Iterable[Role] = _READERS) -> RoleRow:
    return RoleRow(frozenset(write), frozenset(read))


TOPICS: Final[Mapping[str, RoleRow]] = {
    "opsloop.telemetry.metrics": _row({Role.NODE, Role.WORKER, Role.AGENT}),
    "opsloop.telemetry.events": _row({Role.NODE, Role.WORKER, Role.AGENT, Role.OPERATOR}),
    "opsloop.telemetry.heartbeats": _row({Role.NODE, Role.WORKER}),
    "opsloop.entities": _row(_OURS),
    "opsloop.signals.anomalies": _row(_OURS),
    "opsloop.signals.symptoms": _row(_OURS),
    "opsloop.incidents": _row(_OURS),
    "opsloop.proposals": _row({Role.WORKER, Role.AGENT, Role.OPERATOR, Role.LEAD}),
    "opsloop.decisions": _row(_OURS),
    "opsloop.approvals": _row(_VOTERS),
    "opsloop.actions.commands": _row(_OURS),
    "opsloop.actions.results": _row(_OURS),
    "opsloop.verdicts": _row(_OURS),
    "opsloop.labels": _row({Role.OPERATOR, Role.LEAD, Role.ADMIN}),
    "opsloop.refusals": _row(_OURS),
    "opsloop.policies": _row({Role.ADMIN}),
    "opsloop.packs": _row({Role.ADMIN}),
    "opsloop.settings": _row(
        {Role.OPERATOR, Role.LEAD, Role.ADMIN, Role.WORKER}
    ),  # workers write grants that leads voted for
    "opsloop.audit": _row(_OURS, {Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN, Role.WORKER}),
    "opsloop.audit.checkpoints": _row(_OURS),
    "opsloop.state.lane": _row(_OURS, _OURS),
    "opsloop.state.loop": _row(_OURS, _OURS),
}

# operations of the command line and the HTTP API
OPERATIONS: Final[Mapping[str, frozenset[Role]]] = {
    "read": _READERS,
    "audit": TOPICS["opsloop.audit"].read,
    "propose": TOPICS["opsloop.proposals"].write,
    "vote": _VOTERS,
    "vote_as_lead": frozenset({Role.LEAD}),
    "stop": frozenset({Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN}),
    "resume": frozenset({Role.ADMIN}),
    "users": frozenset({Role.ADMIN}),
    "policies": frozenset({Role.ADMIN}),
    "packs": frozenset({Role.ADMIN}),
    "maintain": frozenset({Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN}),
    "respond": frozenset({Role.OPERATOR, Role.APPROVER, Role.LEAD}),
    "ratify": frozenset({Role.LEAD, Role.ADMIN}),
    "label": frozenset({Role.OPERATOR, Role.APPROVER, Role.LEAD}),
    "command": _OURS,
    "checkpoint": _OURS,
}


def may(roles: Iterable[str], operation: str) -> bool:
    """Whether one of the roles may do the operation. An operation without a row is allowed to nobody."""
    return not OPERATIONS.get(operation, frozenset()).isdisjoint(roles)


def may_write(roles: Iterable[str], topic: str) -> bool:
    """Whether one of the roles may write the topic."""
    return topic in TOPICS and not TOPICS[topic].write.isdisjoint(roles)


def may_read(roles: Iterable[str], topic: str) -> bool:
    """Whether one of the roles may read the topic."""
    return topic in TOPICS and not TOPICS[topic].read.isdisjoint(roles)
