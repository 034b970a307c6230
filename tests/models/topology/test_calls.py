"""The one reading of topology events, and which service can be why another hurts."""

from __future__ import annotations

from models.incidents.book import IncidentBook
from models.keyed import Table
from models.safety.context import SafetyContext
from models.topology.calls import SYSTEMS_KEPT, Graph, Networks, below, explains, graphs_table, take
from tests.builders import KNOWN, NOW, topology
from topics.spec import use_domains
from topics.telemetry import Event

CIRCLE = {"a/1": ("a/2",), "a/2": ("a/1", "a/3"), "a/3": ("a/3",)}


def taken(*events: Event) -> Table[Graph]:
    graphs: Table[Graph] = Table(SYSTEMS_KEPT)
    for event in events:
        take(graphs, event)
    return graphs


def test_a_graph_takes_the_place_of_the_one_before_and_an_empty_one_clears_it() -> None:
    first, second = topology(("shop/a", "shop/b")), topology(("shop/a", "shop/c"))
    assert taken(first, second) == {"shop": {"shop/a": ("shop/c",)}}
    assert taken(first, topology()) == {}


def test_instances_are_read_as_their_services_and_a_call_that_is_named_twice_once() -> None:
    assert taken(topology(("shop/a/0", "shop/b/1"), ("shop/a/1", "shop/b"))) == {"shop": {"shop/a": ("shop/b",)}}


def test_a_system_tells_nothing_of_another_one() -> None:
    other = Event(entity="bank/db", ts=NOW, kind="topology", text="", calls=(("bank/api", "bank/db"),))
    assert set(taken(topology(("shop/a", "shop/b")), other)) == {"shop", "bank"}
    assert taken(topology(("shop/a", "shop/b")), Event(entity="shop", ts=NOW, kind="log", text="")) != {}


def test_the_network_of_a_domain_has_the_graphs_of_all_its_systems_and_follows_them() -> None:
    use_domains({"bank": "bank"})
    graphs, networks = graphs_table().default_factory(), Networks()  # type: ignore[attr-defined]
    for entity, calls in (("shop", ("shop/a", "db/x")), ("db", ("db/x", "db/y")), ("bank", ("bank/api", "db/x"))):
        take(graphs, Event(entity=entity, ts=NOW, kind="topology", text="", calls=(calls,)))
    network = networks.of(graphs, "main")
    assert network == {"shop/a": ("db/x",), "db/x": ("db/y",)}
    assert network.related("db/x") == {"db/x", "db/y", "shop/a"}
    assert (network.callers("db/x"), network.below("shop/a")) == (("shop/a",), {"db/x", "db/y"})
    take(graphs, Event(entity="db", ts=NOW + 1, kind="topology", text="", calls=(("db/x", "db/y"),)))
    assert networks.of(graphs, "main") is network, "it was told the same again"
    take(graphs, Event(entity="db", ts=NOW + 2, kind="topology", text=""))
    assert networks.of(graphs, "main").related("shop/a") == {"shop/a", "db/x"}
    assert networks.of(graphs, "bank") == {"bank/api": ("db/x",)}


def test_incidents_and_safety_read_the_same_of_an_event() -> None:
    for events in (
        [topology(("shop/a/0", "bank/b"), ("shop/a", "shop/a"))],
        [topology(("shop/a", "shop/b")), topology()],
    ):
        book, context = IncidentBook(knowledge=KNOWN), SafetyContext()
        for event in events:
            book.event(event)
            context.see(event)
        assert book.calls == context.calls == taken(*events)


def test_the_systems_that_are_remembered_have_a_bound() -> None:
    names = [f"s{n}" for n in range(SYSTEMS_KEPT + 100)]
    events = [Event(entity=name, ts=NOW, kind="topology", text="", calls=(("a", "b"),)) for name in names]
    assert len(taken(*events)) == SYSTEMS_KEPT


def test_what_is_below_can_explain_what_is_above_and_nothing_explains_itself() -> None:
    assert below("a/1", CIRCLE) == {"a/1", "a/2", "a/3"}
    assert explains("a/3", "a/1", CIRCLE)
    assert not explains("a/1", "a/3", CIRCLE)
    assert not any(
        explains(cause, service, CIRCLE) for cause, service in (("a/1", "a/2"), ("a/2", "a/1"), ("a/3", "a/3"))
    )
