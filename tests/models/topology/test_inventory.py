"""What is known of entities: every source, what holds when they differ, and how entities end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from agents.describe import Describe
from app.shipped import packs, texts
from app.testing import RING, pack_of
from models.knowledge.base import PackFault
from models.knowledge.packs import Packs
from models.topology.inventory import HEARSAY_MS, RENEW_MS
from models.topology.lifetimes import USUAL_S, EntitySettings, ttl_ms
from tests.builders import NOW, reads, topology
from topics.entities import Entity
from topics.learning import Ended
from topics.spec import Record
from topics.telemetry import Event, Facts, Relation

POD, HOST = "shop/cart/cart-1", "web-1"
POD_MS = round(1000 * USUAL_S["pod"])


class World:
    """The agent, fed with what it says itself as its topic would."""

    def __init__(self, settings: EntitySettings | None = None, known: Packs | None = None) -> None:
        self.agent = Describe(known or packs(), RING, settings or EntitySettings())
        self.now = NOW

    def told(self, *records: Record) -> list[Any]:
        found = (
            list(self.agent.step(reads(list(records)), self.now)) if records else list(self.agent.step((), self.now))
        )
        events = [each for each in found if isinstance(each, Event)]
        return found + (self.told(*events) if events else [])

    def after(self, ms: int) -> list[Any]:
        """What follows from deadlines alone within some time."""
        found: list[Any] = []
        end = self.now + ms
        while (at := self.agent.next_deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            found += self.told()
        self.now = end
        return found


def facts(entity: str, said: Facts) -> Event:
    return Event(entity=entity, ts=NOW, kind="entity", text="", facts=said)


def came(entity: str, *series: str, ts: int = NOW) -> Event:
    return Event(entity=entity, ts=ts, kind="entity", text="", series=series)


def silent(entity: str, ts: int = NOW) -> Event:
    return Event(entity=entity, ts=ts, kind="silent", text="")


def entities(found: Iterable[Any]) -> dict[str, Entity]:
    """The newest record of each."""
    return {each.entity: each for each in found if isinstance(each, Entity)}


def relations(entity: Entity) -> list[tuple[str, str, str]]:
    return [(r.kind, r.to, r.source) for r in entity.relations]


LABELS = Facts("labels", 0.8, "pod", {"zone": "a"}, (Relation("runs_on", HOST),), "{ns}/{pod}")


def test_labels_series_and_files_add_up_and_the_surest_kind_holds() -> None:
    world = World()
    world.told(came(POD, "system.cpu.utilization"))
    first = entities(world.told(facts(POD, LABELS)))[POD]
    assert (first.kind, first.attributes, first.template) == ("pod", {"zone": "a"}, "{ns}/{pod}")
    assert relations(first) == [("runs_on", HOST, "labels")]
    stated = Facts("file:t.toml", 1.0, "cart", {"zone": "b", "team": "x"}, (Relation("depends_on", "db"),))
    both = entities(world.told(facts(POD, stated)))[POD]
    assert (both.kind, both.attributes) == ("cart", {"team": "x", "zone": "b"})
    assert relations(both) == [("depends_on", "db", "file:t.toml"), ("runs_on", HOST, "labels")]
    assert both.seq == first.seq + 1
    back = entities(world.told(facts(POD, Facts("file:t.toml"))))[POD]
    assert (back.kind, relations(back)) == ("pod", [("runs_on", HOST, "labels")])


def test_what_changes_nothing_is_not_told_again() -> None:
    world = World()
    world.told(came(POD, "m"), facts(POD, LABELS))
    assert world.told(came(POD, "m"), facts(POD, LABELS)) == []


def test_age_of_a_relation_is_when_it_was_said_first() -> None:
    world = World()
    world.told(facts(POD, LABELS))
    world.now += 60_000
    more = msgspec_replace(LABELS, attributes={"zone": "c"})
    assert [r.since for r in entities(world.told(facts(POD, more)))[POD].relations] == [NOW]


def msgspec_replace(said: Facts, **changes: Any) -> Facts:
    import msgspec

    return msgspec.structs.replace(said, **changes)


def test_a_topology_event_says_who_calls_whom_and_an_empty_one_clears_it() -> None:
    world = World()
    graph = entities(world.told(topology(("shop/gateway/0", "shop/cart"), ("shop/gateway", "shop/catalog"))))
    assert relations(graph["shop/gateway"]) == [
        ("calls", "shop/cart", "topology"), ("calls", "shop/catalog", "topology"),
    ]  # fmt: skip
    assert graph["shop/cart"].kind == "service"
    cleared = entities(world.told(topology()))
    assert {entity.state for entity in cleared.values()} == {"gone"}
    assert sorted(cleared) == ["shop/cart", "shop/catalog", "shop/gateway"]


def test_a_smaller_graph_takes_the_place_of_a_larger_one() -> None:
    world = World()
    world.told(topology(("shop/a", "shop/b"), ("shop/b", "shop/c")))
    found = entities(world.told(topology(("shop/a", "shop/b"))))
    assert (found["shop/c"].state, found["shop/b"].relations) == ("gone", ())


REDIS = 'redis_up{addr="redis://cache:6379"}'


def test_packs_know_the_kind_by_the_series_and_others_by_their_attributes() -> None:
    world = World()
    found = entities(world.told(came("exporter:9121", REDIS, "redis_memory_used_bytes")))
    assert found["exporter:9121"].kind == "redis"
    cache = found["redis://cache:6379"]
    assert (cache.kind, relations(cache)) == ("redis", [("runs_on", "exporter:9121", "packs")])


def test_what_packs_know_of_another_ends_with_the_series_that_said_it_and_with_its_entity() -> None:
    world = World()
    world.told(came("exporter:9121", REDIS))
    other = entities(world.told(came("exporter:9121", REDIS.replace("cache", "queue"))))
    assert (other["redis://cache:6379"].state, other["redis://queue:6379"].state) == ("gone", "present")
    world.told(silent("exporter:9121"))
    ended = entities(world.after(20 * 86_400_000))
    assert ended["exporter:9121"].state == ended["redis://queue:6379"].state == "gone"


def test_a_pack_of_a_site_says_relations_and_how_long_its_kind_may_stay_away() -> None:
    garden = """
[pack]
name = "beds"
kind = "bed"
ttl_s = 60

[[relations]]
signal = 'soil_water{bed="*"}'
from = "{entity}/{bed}"
relation = "part_of"
to = "{entity}"

[[slos]]
name = "wet"
signal = "soil_water"
objective = 0.9
above = 0.1
"""
    world = World(known=Packs([*texts("packs"), garden]))
    found = entities(world.told(came("garden", 'soil_water{bed="3"}')))
    assert relations(found["garden/3"]) == [("part_of", "garden", "packs")]
    world.told(silent("garden"))
    assert entities(world.after(59_000)) == {}
    assert entities(world.after(2_000))["garden"].state == "gone"


@pytest.mark.parametrize("to", ["{entity", "{}", ""])
def test_a_bad_template_of_a_pack_is_refused_with_its_place(to: str) -> None:
    text = f'[pack]\nname="x"\nkind="x"\n[[relations]]\nsignal="a"\nrelation="runs_on"\nto="{to}"\n'
    with pytest.raises(PackFault, match=r"relations"):
        Packs([text])


# --- ends -------------------------------------------------------------------------------------------------------------


def test_an_entity_that_stays_away_is_silent_and_then_gone_with_its_series_at_the_time_of_its_kind() -> None:
    world = World()
    world.told(came(POD, "m"), facts(POD, LABELS))
    (fell,) = world.told(silent(POD, NOW - 60_000))
    assert (fell.state, fell.last) == ("silent", NOW)
    assert world.after(POD_MS - 1) == []
    gone, ended, told = world.after(1)
    assert (gone.state, gone.kind) == ("gone", "pod")
    assert isinstance(ended, Ended)
    assert ended.entity == POD
    assert told == Event(entity=POD, ts=world.now, kind="gone", text="")
    assert world.after(30 * 86_400_000) == []
    assert len(world.agent.state.entities) == 0


def test_one_that_comes_back_in_time_goes_on_and_one_that_comes_back_later_is_new() -> None:
    world = World()
    world.told(came(POD, "m"), facts(POD, LABELS), silent(POD))
    world.after(POD_MS - 1_000)
    assert entities(world.told(came(POD, "m")))[POD].state == "present"
    assert all(each.state == "present" for each in world.after(2 * POD_MS))
    world.told(silent(POD))
    world.after(POD_MS)
    back = entities(world.told(came(POD, "m")))[POD]
    assert (back.state, back.first) == ("present", world.now)


@pytest.mark.parametrize(("kind", "settings", "ms"), [
    ("host", EntitySettings(), 3 * 86_400_000), ("host", EntitySettings(ttl_s={"host": 5.0}), 5_000),
    ("", EntitySettings(other_ttl_s=7.0), 7_000), ("lathe", EntitySettings(ttl_s={"lathe": 9.0}), 9_000),
])  # fmt: skip
def test_settings_say_how_long_a_kind_may_stay_away(kind: str, settings: EntitySettings, ms: int) -> None:
    world = World(settings)
    world.told(came("x", "m"), facts("x", Facts("labels", 0.8, kind, {"a": "b"})), silent("x"))
    assert entities(world.after(ms - 1)).get("x", None) in (None, *[]) or ms > RENEW_MS
    assert entities(world.after(1))["x"].state == "gone"
    assert ttl_ms([kind], settings, {}) in (ms, None)


def test_what_a_file_says_is_known_again_when_its_entity_comes_back() -> None:
    world = World()
    world.told(came(POD, "m"), facts(POD, LABELS), facts(POD, Facts("file:t.toml", 1.0, "pod", {"team": "x"})))
    world.told(silent(POD))
    assert entities(world.after(POD_MS))[POD].state == "gone"
    back = entities(world.told(came(POD, "m")))[POD]
    assert (back.state, back.attributes, back.sources) == ("present", {"team": "x"}, ("file:t.toml",))


def test_what_the_labels_of_others_say_holds_while_it_is_said() -> None:
    world = World()
    said = facts("p1", Facts("labels", 0.8, "pod", {}, (Relation("runs_on", "n1"),), via="ksm:8080"))
    world.told(said)
    world.after(HEARSAY_MS - 1_000)
    assert world.told(said) == []
    assert entities(world.after(HEARSAY_MS - 1_000)) == {}
    assert entities(world.after(2_000))["p1"].state == "gone"


def test_a_record_is_written_again_once_a_day_with_the_time_of_the_last_sample() -> None:
    world = World()
    world.told(came(HOST, "m", ts=NOW))
    (again,) = world.after(RENEW_MS)
    assert (again.state, again.last, again.seq) == ("present", NOW + RENEW_MS, 1)


def test_a_registered_pack_counts_from_the_next_sighting_on() -> None:
    world = World()
    world.told(came("bed-1", "soil.moisture"))
    world.told(pack_of('[pack]\nname = "garden"\nkind = "bed"\nload = ["soil.moisture"]\n'))
    assert entities(world.told(came("bed-1", "soil.moisture")))["bed-1"].kind == "bed"


def test_what_is_known_survives_a_restart() -> None:
    world = World()
    world.told(came(POD, "m"), facts(POD, LABELS), silent(POD))
    again = World()
    again.agent.restore(world.agent.snapshot())
    assert entities(again.after(POD_MS))[POD].state == "gone"
