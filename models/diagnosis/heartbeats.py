"""Heartbeats: a node whose beats stop is silent; it is back with its next beat.

Time is that of who reads. A node is asked for twice before it counts as silent, a period apart, so that beats that wait
to be read after an outage of the broker or of the worker come first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from models.diagnosis.views import Told, of_heartbeat
from models.keyed import KeyedState, Table, table
from models.knowledge.knowledge import Knowledge
from topics.signals import HEARTBEAT
from topics.spec import Count, Instant, domain_of, later
from topics.telemetry import Heartbeat

NODES_KEPT: Final = 5_000
MISSED: Final = 4  # periods without a beat after which a node is asked for ...
LEAST_MS: Final = 3_000  # ... and so long at least
LEAST_LOOK_MS: Final = 1_000  # between the first time that it is asked for and the second


class Beat(msgspec.Struct, frozen=True):
    """The last heartbeat of a node."""

    ts: Instant  # by the node's clock
    seq: Count
    period_ms: Count
    read: Instant
    due: Instant  # when it is asked for; 0: it is silent
    evidence: str
    asked: bool = False
    told: Instant = 0  # as of when it was told to be silent


class Beats(KeyedState):
    """The nodes of a partition."""

    nodes: Table[Beat] = table(NODES_KEPT, when=lambda beat: beat.due, domain=lambda node, _: domain_of(node))

    def take(self, beat: Heartbeat, evidence: str, now: Instant, knowledge: Knowledge) -> Iterator[Told]:
        """Take a heartbeat. Yields the end of a silence."""
        known = self.nodes.get(beat.node)
        if known is not None and (known.ts, known.seq) == (beat.ts, beat.seq):
            return
        due = later(now, max(LEAST_MS, MISSED * beat.period_ms))
        self.nodes[beat.node] = Beat(beat.ts, beat.seq, beat.period_ms, now, due, evidence)
        if known is not None and known.told:
            back = max(beat.ts, later(known.told, 1))  # its clock may have been set back
            yield self._of(beat.node, back, 0, knowledge)

    def due(self, now: Instant, knowledge: Knowledge) -> Iterator[Told]:
        """Yields the silence of each node that was asked for in vain."""
        for node in self.nodes.due(now):
            beat = self.nodes[node]
            if not beat.asked:
                look = later(now, max(LEAST_LOOK_MS, beat.period_ms))
                self.nodes[node] = msgspec.structs.replace(beat, asked=True, due=look)
                continue
            told = later(beat.ts, now - beat.read)
            self.nodes[node] = msgspec.structs.replace(beat, due=0, told=told)
            yield self._of(node, told, now - beat.read, knowledge)

    def _of(self, node: str, ts: Instant, silent_ms: int, knowledge: Knowledge) -> Told:
        beat = self.nodes[node]
        silence = beat.ts, silent_ms / 1000, beat.period_ms / 1000
        return of_heartbeat(node, ts, silence, beat.evidence, knowledge.shown_by(HEARTBEAT, node))
