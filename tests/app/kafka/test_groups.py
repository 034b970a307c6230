"""`auto` is the new group protocol only where it frees a dead worker's partitions soon."""

from __future__ import annotations

import pytest

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
