"""Checks that Opsloop knows the target of a proposal, so that a typing error is refused before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from app.clock import now_ms
from app.errors import UserError
from app.history.entities import recent
from app.kafka.broker import Broker, read_all
from topics.codec import DecodeError, decode
from topics.incidents import INCIDENTS, Incident
from topics.spec import DAY_MS, service_of
from topics.telemetry import EVENTS, Event

SHOWN: Final = 5


def require_known(broker: Broker, target: str) -> None:
    """Return when the target, its service or a part of it is known, or when nothing is known at all.

    Known: entities with samples in the last minute, and those that incidents and events of the last day name.

    Raises:
        UserError: other entities are known, and the target is not.
    """
    try:
        found = recent(broker)
        names = found.names | set(_named(broker))
    except UserError:
        return  # without these topics there is nothing to compare with; publishing reports the error
    if not found.complete or not names or _is_known(target, names):
        return
    near = get_close_matches(target, sorted(names), SHOWN, 0.0)
    raise UserError(f"nothing is known of {target}", f"There are {', '.join(near)}; --force proposes it all the same")


def _is_known(target: str, names: frozenset[str] | set[str]) -> bool:
    services = {service_of(name) for name in names}
    return target in names or service_of(target) in services or any(name.startswith(f"{target}/") for name in names)


def _named(broker: Broker) -> Iterator[str]:
    """The entities that incidents and events of the last day name."""
    for raw in read_all(broker, [INCIDENTS.name, EVENTS.name], since_ms=now_ms() - DAY_MS):
        try:
            record = decode(raw).record
        except DecodeError:
            continue
        if isinstance(record, Incident):
            yield from (record.entity, *record.affected)
        elif isinstance(record, Event):
            yield from (record.entity, *(service for call in record.calls for service in call))
