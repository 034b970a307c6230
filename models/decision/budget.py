"""The error budget of each service: the share of the allowed outage time that is left."""

from __future__ import annotations

from typing import Final

import msgspec

from models.decision.base import DecisionSettings
from models.incidents.lifecycle import is_open
from models.keyed import KeyedState, Table, table
from topics.incidents import Incident
from topics.spec import DAY_MS, Instant, domain_of, service_of

KEPT: Final = 2_000
FELT: Final = 2  # lowest priority that counts: P0 to P2


class Outage(msgspec.Struct, frozen=True):
    """One outage of a service."""

    service: str
    since: Instant
    until: Instant  # 0: it goes on


class ErrorBudget(KeyedState):
    """Outages by incident. Part of an agent's state."""

    outages: Table[Outage] = table(
        KEPT, group=lambda _, outage: outage.service, domain=lambda _, outage: domain_of(outage.service)
    )

    def see(self, incident: Incident) -> None:
        """Record the outage of an incident of priority P0 to P2, from its onset to its end."""
        if incident.priority <= FELT:
            until = 0 if is_open(incident.state) else incident.ts
            self.outages[incident.id] = Outage(service_of(incident.entity), incident.onset, until)

    def left(self, service: str, now: Instant, settings: DecisionSettings) -> float:
        """Return the share of the budget, 0..1, that is left in the window of `slo_days` that ends at `now`."""
        window = settings.slo_days * DAY_MS
        down, end = 0, now - window
        for since, until in sorted((o.since, min(o.until or now, now)) for o in self.outages.of(service)):
            down += max(0, until - max(since, end))  # overlapping outages are counted once
            end = max(end, until)
        return max(0.0, 1.0 - down / (window * (1.0 - settings.slo)))
