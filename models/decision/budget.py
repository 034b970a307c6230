"""The error budget of each service: how much of the time that it may be unwell is left."""

from __future__ import annotations

from typing import Final

import msgspec

from models.bounded import keep
from models.decision.base import DecisionSettings
from models.incidents.lifecycle import is_open
from topics.incidents import Incident
from topics.spec import DAY_MS, Instant, service_of

KEPT: Final = 2_000
FELT: Final = 2  # incidents of P0 to P2 count


class Outage(msgspec.Struct, frozen=True):
    """When a service was unwell."""

    service: str
    since: Instant
    until: Instant  # 0: it still is


class ErrorBudget(msgspec.Struct):
    """The outages by incident. The struct is a part of the snapshot."""

    outages: dict[str, Outage] = msgspec.field(default_factory=dict)

    def see(self, incident: Incident) -> None:
        """Follow an incident from its onset to its end."""
        if incident.priority <= FELT:
            until = 0 if is_open(incident.state) else incident.ts
            keep(self.outages, incident.id, Outage(service_of(incident.entity), incident.onset, until), KEPT)

    def left(self, service: str, now: Instant, settings: DecisionSettings) -> float:
        """The share of the budget that is left in the window that ends now, 0..1."""
        window = settings.slo_days * DAY_MS
        down, end = 0, now - window
        mine = (o for o in self.outages.values() if o.service == service)
        for since, until in sorted((o.since, min(o.until or now, now)) for o in mine):
            down += max(0, until - max(since, end))  # what overlaps an outage before is counted once
            end = max(end, until)
        return max(0.0, 1.0 - down / (window * (1.0 - settings.slo)))
