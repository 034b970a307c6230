"""Who calls whom: the one reading of topology events, and what it says of faults.

A topology event holds the whole graph of its entity's system, with calls to other systems. It takes the place of the
graph before, also when it is empty. Callers and callees are services, whichever instance of them the event names. The
graphs of all systems of a correlation domain together are its network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence, Set
from typing import Final

from models.keyed import Given, Table, by_domain, table
from topics.spec import service_of, system_of
from topics.telemetry import Event

SYSTEMS_KEPT: Final = 20_000  # graphs remembered; the one that was told longest ago makes room
MEMORY: Final = 1_000_000  # services in the answers that a network remembers

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
        known = graphs.get(system)
        graphs[system] = known if known == found else found  # the same object: the network is not made anew
    else:
        graphs.pop(system, None)


def graphs_table() -> Table[Graph]:
    """A field of a state: the graph of each system, found by domain."""
    made: Table[Graph] = table(SYSTEMS_KEPT, group=by_domain, domain=by_domain)
    return made


class Network(dict[str, tuple[str, ...]]):
    """All calls of one domain, caller → callees, and what follows from them."""

    def __init__(self, graphs: Iterable[Graph]) -> None:
        super().__init__()
        self._callers: dict[str, tuple[str, ...]] = {}
        self._reached: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        self._remembered = 0
        self._grouped: tuple[Mapping[str, str], dict[str, set[str]]] | None = None
        for caller, callee in dict.fromkeys((c, e) for graph in graphs for c, called in graph.items() for e in called):
            self[caller] = (*self.get(caller, ()), callee)
            self._callers[callee] = (*self._callers.get(callee, ()), caller)

    def callers(self, service: str) -> tuple[str, ...]:
        """Who calls a service directly."""
        return self._callers.get(service, ())

    def grouped(self, names: Mapping[str, str], name_of: Callable[[str], str]) -> Mapping[str, set[str]]:
        """The services by a name that `name_of` gives them. names: what that rests on; it is asked anew for others."""
        if self._grouped is None or self._grouped[0] is not names:
            found: dict[str, set[str]] = {}
            for service in self.keys() | self._callers.keys():
                found.setdefault(name_of(service), set()).add(service)
            self._grouped = names, found
        return self._grouped[1]

    def below(self, service: str) -> frozenset[str]:
        """What `below` says of a service here."""
        return self._reach(service)[0]

    def related(self, service: str) -> frozenset[str]:
        """The services with which it may share a fault: itself, all below it and all above it along the calls."""
        return self._reach(service)[1]

    def _reach(self, service: str) -> tuple[frozenset[str], frozenset[str]]:
        found = self._reached.get(service)
        if found is None:
            lower = frozenset(_reachable(service, self))
            found = lower, frozenset({service} | lower | _reachable(service, self._callers))
            if self._remembered > MEMORY:
                self._reached.clear()
                self._remembered = 0
            self._reached[service] = found
            self._remembered += len(found[0]) + len(found[1])
        return found


class Networks(Given, frozen=True):
    """The network of each domain, made of its graphs when they have changed. It is no part of the state."""

    def of(self, graphs: Table[Graph], domain: str) -> Network:
        """The network of a domain."""
        made: dict[str, tuple[int, list[Graph], Network]] = self.__dict__.setdefault("made", {})
        known = made.get(domain)
        if known is not None and known[0] == graphs.edits:
            return known[2]
        told = graphs.of(domain)
        same = known is not None and len(told) == len(known[1]) and all(map(lambda a, b: a is b, told, known[1]))
        network = known[2] if known is not None and same else Network(told)
        made[domain] = graphs.edits, told, network
        return network


def below(service: str, calls: Calls) -> Set[str]:
    """Every service that is called by one, directly or through others; itself only if the calls lead back to it."""
    return calls.below(service) if isinstance(calls, Network) else _reachable(service, calls)


def _reachable(service: str, calls: Calls) -> set[str]:
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
