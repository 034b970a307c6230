"""The error budget of each service: how much of the time that it may be unwell is left."""

from __future__ import annotations

from typing import Final

import msgspec

from models.decision.base import DecisionSettings
from models.incidents.lifecycle import is_open
from models.keyed import KeyedState, Table, table
from topics.incidents import Incident
from topics.spec import DAY_MS, Instant, service_of, system_of

KEPT: Final = 2_000
FELT: Final = 2  # incidents of P0 to P2 count


class Outage(msgspec.Struct, frozen=True):
    """When a service was unwell."""

    service: str
    since: Instant
    until: Instant  # 0: it still is


class ErrorBudget(KeyedState):
    """The outages by incident. A part of a state."""

    outages: Table[Outage] = table(
        KEPT, group=lambda _, outage: outage.service, domain=lambda _, outage: system_of(outage.service)
    )

    def see(self, incident: Incident) -> None:
        """Follow an incident from its onset to its end."""
        if incident.priority <= FELT:
            until = 0 if is_open(incident.state) else incident.ts
            self.outages[incident.id] = Outage(service_of(incident.entity), incident.onset, until)

    def left(self, service: str, now: Instant, settings: DecisionSettings) -> float:
        """The share of the budget that is left in the window that ends now, 0..1."""
        window = settings.slo_days * DAY_MS
        down, end = 0, now - window
        for since, until in sorted((o.since, min(o.until or now, now)) for o in self.outages.of(service)):
            down += max(0, until - max(since, end))  # what overlaps an outage before is counted once
            end = max(end, until)
        return max(0.0, 1.0 - down / (window * (1.0 - settings.slo)))
