"""Incidents, decisions and what was learned from them, as they stand: from the index, brought up to date first."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, TypeVar

from app.errors import UserError
from app.history.progress import shown
from app.history.view import current
from app.kafka.broker import Broker
from app.kafka.places import read_places
from app.security.keys import Keys
from app.settings import home
from models.safety.settings import SafetySettings
from models.safety.signing import Refused
from models.safety.trust import Trust
from topics.audit import AUDIT, AuditEntry
from topics.codec import DecodeError, decode
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.settings import SETTINGS, Setting
from topics.spec import Instant, Origin, Read, Record, Topic
from topics.verdicts import VERDICTS

R = TypeVar("R", bound=Record)


def incidents(
    broker: Broker, since_ms: Instant | None = None, *, limit: int = 0, open_only: bool = False
) -> list[Incident]:  # fmt: skip
    """The latest state of incidents, newest first: at most `limit` (0: all)."""
    return newest(broker, INCIDENTS, Incident, since_ms, limit=limit, open_only=open_only)[0]


def decisions(
    broker: Broker, since_ms: Instant | None = None, *, limit: int = 0, waiting: bool = False
) -> list[Decision]:  # fmt: skip
    """The latest state of decisions, newest first: at most `limit` (0: all)."""
    return newest(broker, DECISIONS, Decision, since_ms, limit=limit, open_only=waiting)[0]


def newest(
    broker: Broker, topic: Topic, kind: type[R], since_ms: Instant | None, *, limit: int, open_only: bool
) -> tuple[list[R], int]:
    """The latest state of incidents or decisions, newest first, and how many there are beyond `limit` too."""
    with current(broker, [topic.name], shown()) as view:
        found = view.newest(topic, since=since_ms or 0, limit=limit, open_only=open_only)
        count = view.count(topic, since=since_ms or 0, open_only=open_only)
    return [record for record in found if isinstance(record, kind)], count


def incident_of(broker: Broker, identity: str) -> Incident:
    """The incident whose id begins so, as it stands. Raises UserError: there is none, or more than one."""
    found: Incident = _only(broker, INCIDENTS, identity, "incident", "See `opsloop incidents --open`")
    return found


def decision_of(broker: Broker, identity: str) -> Decision:
    """The decision whose id begins so, as it stands. Raises UserError: there is none, or more than one."""
    found: Decision = _only(broker, DECISIONS, identity, "decision", "See `opsloop decisions --waiting`")
    return found


def _only(broker: Broker, topic: Topic, identity: str, what: str, remedy: str) -> Any:
    with current(broker, [topic.name], shown()) as view:
        found = view.beginning(topic, identity)
    if len(found) != 1:
        many = f"several {what}s begin" if found else f"no {what} begins"
        raise UserError(f"{many} with {identity!r}", remedy, exit_code=1)
    return found[0]


def trust(broker: Broker, settings: SafetySettings) -> Trust:
    """What tiers and classes of action have shown, from the decisions, verdicts and settings that are still kept."""
    found, keys, topics = Trust(), Keys(home()), (DECISIONS, VERDICTS, SETTINGS)
    with current(broker, [topic.name for topic in topics], shown()) as view:
        for read in view.recorded(topics):
            found.see(read.record, settings, read.arrived)
            if isinstance(read.record, Setting):
                with contextlib.suppress(Refused):
                    found.set(read.record, keys, read.arrived)
    return found


def audit_entries(broker: Broker, limit: int = 0, start: int = 0) -> list[AuditEntry]:
    """The last `limit` (0: all) entries of the audit from number `start` of each chain on, oldest first."""
    with current(broker, [AUDIT.name], shown()) as view:
        places = view.audit_last(limit, start)
    return [read.record for read in read_records(broker, places) if isinstance(read.record, AuditEntry)]


def read_records(broker: Broker, places: Sequence[Origin]) -> list[Read[Record]]:
    """The records at `places`, in this order; those that the topics hold no more are left out."""
    found, reads = read_places(broker, places), []
    for place in places:
        if place in found:
            with contextlib.suppress(DecodeError):
                reads.append(decode(found[place]))
    return reads
