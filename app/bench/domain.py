"""Measures what one correlation domain carries: symptoms a second through diagnosis, in memory, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from agents.diagnose import Diagnose
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
    found = {"alone": _rates(_agents(), alone), "related": _rates(_agents(told), alone)}
    if json:
        print_json({"kind": "bench_domain", "entities": entities, **found})
        return
    rows = ((name, *(f"{figure:,}" for figure in figures.values())) for name, figures in found.items())
    print_table(f"{entities:,} entities of one domain, records a second", ("services", *found["alone"]), rows)


def _agents(*events: Event) -> tuple[Diagnose, Respond]:
    respond = Respond(packs(), RING)
    for event in events:
        respond.state.event(event)
    return Diagnose(packs(), RING), respond


def _rates(agents: tuple[Diagnose, Respond], entities: Sequence[str]) -> dict[str, int]:
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
            incidents |= _step(agents, made[first : first + BATCH], made[0].ts)
        rates[name] = round(len(made) / (time.process_time() - began))
    return {**rates, "incidents": len(incidents)}


def _step(agents: tuple[Diagnose, Respond], batch: Sequence[Anomaly], now: Instant) -> set[str]:
    """A step of each as the loop makes it: outputs and changes of state are encoded. Returns ids of incidents."""
    outputs: Sequence[Any] = batch
    for agent in agents:
        agent.mark()
        outputs = list(agent.step([Read(record, Origin("bench", 0, 0)) for record in outputs], now))
        for output in outputs:
            encode(output)
        agent.changes()
    return {output.id for output in outputs}
