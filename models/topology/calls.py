"""Who calls whom: the one reading of topology events, and what it says of faults.

A topology event holds the whole graph of its entity's system. It takes the place of the graph before, also when it is
empty. Callers and callees are services, whichever instance of them the event names.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final

from topics.spec import service_of, system_of
from topics.telemetry import Event

SYSTEMS_KEPT: Final = 1_000  # graphs remembered; the one that was told longest ago makes room

Calls = Mapping[str, Sequence[str]]  # caller → callees, of services
Graph = dict[str, tuple[str, ...]]  # the same, as it is kept


def take(graphs: MutableMapping[str, Graph], event: Event) -> None:
    """Put the graph of a topology event in the place of the one before; other events change nothing."""
    if event.kind != "topology":
        return
    found: Graph = {}
    for one, other in event.calls:
        caller, callee = service_of(one), service_of(other)
        if callee not in found.get(caller, ()):
            found[caller] = (*found.get(caller, ()), callee)
    system = system_of(event.entity)
    if found:
        graphs[system] = found
    else:
        graphs.pop(system, None)


def below(service: str, calls: Calls) -> set[str]:
    """Every service that is called by one, directly or through others; itself only if the calls lead back to it."""
    seen: set[str] = set()
    stack = [service]
    while stack:
        for callee in calls.get(stack.pop(), ()):
            if callee not in seen:
                seen.add(callee)
                stack.append(callee)
    return seen


def explains(cause: str, service: str, calls: Calls) -> bool:
    """Whether a fault of `cause` can be why `service` hurts: it is below it, and the calls do not lead back.

    Nothing explains itself, neither by calling itself nor in a circle of calls, of which no service is the deepest.
    """
    return cause in below(service, calls) and service not in below(cause, calls)


def related(one: str, other: str, calls: Calls) -> bool:
    """Whether a fault of one service can be felt by the other along the calls."""
    return one == other or other in below(one, calls) or one in below(other, calls)
