"""Measures what one correlation domain carries: symptoms a second through `respond`, in memory, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from agents.respond import Respond
from app.bench.loop import anomaly
from app.printing import print_json, print_table
from app.shipped import packs
from app.testing import RING
from topics.codec import encode
from topics.signals import Anomaly
from topics.spec import Instant, Origin, Read, use_domains
from topics.telemetry import Event

BATCH: Final = 500
CHAIN: Final = 10  # services of each chain of calls
START: Final = 1_700_000_000_000


def run(entities: int, json: bool) -> None:
    """Let every one of `entities` instances break at once, show it again, and be well again; all in one domain.

    alone: no service calls another, so that each has an incident of its own. related: chains of `CHAIN` services, each
    of another system than the one before, with one incident a chain.
    """
    use_domains({})
    alone = [f"host{number}/service/0" for number in range(entities)]
    calls = tuple((alone[n - 1], alone[n]) for n in range(1, entities) if n % CHAIN)
    told = Event(entity="host0", ts=START, kind="topology", text="", calls=calls)
    found = {"alone": _rates(_agent(), alone), "related": _rates(_agent(told), alone)}
    if json:
        print_json({"kind": "bench_domain", "entities": entities, **found})
        return
    rows = ((name, *(f"{figure:,}" for figure in figures.values())) for name, figures in found.items())
    print_table(f"{entities:,} entities of one domain, records a second", ("services", *found["alone"]), rows)


def _agent(*events: Event) -> Respond:
    agent = Respond(packs(), RING)
    for event in events:
        agent.state.event(event)
    return agent


def _rates(agent: Respond, entities: Sequence[str]) -> dict[str, int]:
    moments: dict[str, Callable[[str], Anomaly]] = {
        "first_per_s": lambda entity: anomaly(entity, "raised", START + 1_000),
        "again_per_s": lambda entity: anomaly(entity, "raised", START + 2_000),
        "well_per_s": lambda entity: anomaly(entity, "cleared", START + 3_000),
    }
    rates, incidents = {}, set()
    for name, make in moments.items():
        made: list[Any] = [make(entity) for entity in entities]
        began = time.process_time()
        for first in range(0, len(made), BATCH):
            incidents |= _step(agent, made[first : first + BATCH], made[0].ts)
        rates[name] = round(len(made) / (time.process_time() - began))
    return {**rates, "incidents": len(incidents)}


def _step(agent: Respond, batch: Sequence[Anomaly], now: Instant) -> set[str]:
    """One step as the loop makes it: outputs and what changed in the state are encoded. Returns ids of incidents."""
    agent.mark()
    outputs = list(agent.step([Read(record, Origin("bench", 0, 0)) for record in batch], now))
    for output in outputs:
        encode(output)
    agent.changes()
    return {output.id for output in outputs}
