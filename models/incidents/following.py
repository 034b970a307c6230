"""Tracks incidents by the records of their topic. Keeps the newest record of each; drops repeats and late records."""

from __future__ import annotations

from typing import Final

from models.incidents.lifecycle import is_open, is_over
from models.keyed import KeyedState, Table, table
from topics.incidents import Incident
from topics.spec import domain_of

OVER_KEPT: Final = 1_000  # closed incidents remembered: a late record does not reopen them


class Following(KeyedState):
    """The incidents of one partition, as read from their topic."""

    open: Table[Incident] = table(domain=lambda _, incident: domain_of(incident.entity))
    over: Table[int] = table(OVER_KEPT)  # incident → `seq` of the record that closed it

    def follow(self, incident: Incident) -> bool:
        """Store a record. False when it is a repeat, is late, or has a state that is neither open nor over."""
        known = self.open.get(incident.id)
        if incident.seq <= (known.seq if known else self.over.get(incident.id, -1)):
            return False
        if not (is_open(incident.state) or is_over(incident.state)):
            return False
        if is_open(incident.state):
            self.over.pop(incident.id, None)
            self.open[incident.id] = incident
        else:
            self.open.pop(incident.id, None)
            self.over[incident.id] = incident.seq
        return True
