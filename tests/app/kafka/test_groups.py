"""`auto` is the new group protocol only where it frees a dead worker's partitions soon."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.kafka import groups
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from app.kafka.groups import settled


@pytest.mark.kafka
def test_a_broker_that_has_it_and_is_quick_gets_the_new_protocol(broker: Broker) -> None:
    assert settled(broker).group_protocol == "consumer"


@pytest.mark.kafka
@pytest.mark.parametrize("chosen", ["classic", "consumer"])
def test_what_was_chosen_stays(broker: Broker, chosen: str) -> None:
    assert settled(Broker(broker.bootstrap, group_protocol=chosen)).group_protocol == chosen


def test_the_in_memory_cluster_and_a_broker_that_does_not_say_get_the_classic_one(embedded: Embedded) -> None:
    assert settled(embedded.broker).group_protocol == "classic"
    assert settled(Broker(embedded.broker.bootstrap)).group_protocol == "classic", "known by its address only"


READS = {"respond": ["anomalies", "decisions"], "decide": ["anomalies", "incidents"], "gate": ["proposals"]}


class Groups:
    """The admin client's view of some groups: their offsets, and what is committed for a new one."""

    def __init__(self, **offsets: dict[tuple[str, int], int]) -> None:
        self.offsets = {name.replace("__", ".").replace("_", "-"): found for name, found in offsets.items()}
        self.committed: dict[tuple[str, int], int] = {}

    def alter_consumer_group_offsets(self, requests: list[Any]) -> dict[str, Any]:
        self.committed = {(p.topic, p.partition): p.offset for p in requests[0].topic_partitions}
        return {requests[0].group_id: SimpleNamespace(result=lambda _: None)}


def test_a_group_is_named_after_its_verbs_and_all_of_them_are_the_loop() -> None:
    assert groups.loop_group(["gate", "respond", "decide"], READS) == "opsloop-loop"
    name = groups.loop_group(["gate", "decide"], READS)
    assert name == "opsloop-loop.decide.gate"
    assert groups.verbs_of(name, READS) == {"decide", "gate"}
    assert groups.verbs_of("opsloop-loop", READS) == set(READS)
    assert groups.verbs_of("opsloop-lane", READS) == set()


def test_a_new_group_begins_where_the_verb_that_is_behind_was_and_never_beyond() -> None:
    known = {
        "opsloop-loop": {("anomalies", 0): 50, ("incidents", 0): 9, ("proposals", 0): 4},
        "opsloop-loop.decide": {("anomalies", 0): 80, ("incidents", 0): 20},
    }
    client = Groups()
    groups._begin(client, "opsloop-loop.respond.decide", known, ["respond", "decide"], READS)  # type: ignore[arg-type]
    assert client.committed == {("anomalies", 0): 50, ("incidents", 0): 20}


def test_a_topic_that_one_of_the_verbs_never_read_in_any_group_is_read_from_its_start() -> None:
    client, known = Groups(), {"opsloop-loop.decide": {("anomalies", 0): 80, ("incidents", 0): 20}}
    groups._begin(client, "opsloop-loop.respond.decide", known, ["respond", "decide"], READS)  # type: ignore[arg-type]
    assert client.committed == {("incidents", 0): 20}
