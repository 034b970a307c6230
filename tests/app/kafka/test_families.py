"""Topics of which one worker owns a key on all have the same number of partitions."""

from __future__ import annotations

import pytest

from app.errors import UserError
from app.kafka.admin import wanted
from app.kafka.embedded import Embedded
from app.kafka.families import FAMILIES, LOOP, TELEMETRY, partitions_of, require_even
from app.kafka.settings import TopicsSettings
from app.settings import load
from topics.catalog import ALL
from topics.state import LANE_STATE


def test_every_topic_is_of_one_family_and_the_state_of_lanes_of_none() -> None:
    found = [topic.name for family in FAMILIES.values() for topic in family.topics]
    assert sorted(found) == sorted(topic.name for topic in ALL if topic != LANE_STATE)


def test_whatever_an_agent_of_the_loop_reads_is_of_its_family() -> None:
    from agents.approve import Approve
    from agents.attest import Attest
    from agents.decide import Decide
    from agents.describe import Describe
    from agents.gate import Gate
    from agents.label import Labeller
    from agents.record import AuditWriter
    from agents.respond import Respond
    from agents.verify import Verify

    for agent in (Approve, Attest, Decide, Describe, Gate, Labeller, AuditWriter, Respond, Verify):
        assert set(agent.reads) <= set(LOOP.topics), agent.name


def test_settings_say_how_many_partitions_topics_are_created_with() -> None:
    settings = load(environment={"OPSLOOP_TOPICS__LOOP_PARTITIONS": "12", "OPSLOOP_TOPICS__TELEMETRY_PARTITIONS": "4"})
    made = {each.name: each.partitions for each in wanted(1, settings=settings.topics)}
    assert {made[topic.name] for topic in LOOP.topics} == {12}
    assert {made[topic.name] for topic in TELEMETRY.topics} == {4}
    assert {made[topic.dlq] for topic in LOOP.rest} == {1}


@pytest.mark.parametrize(("telemetry", "loop"), [(4, 12), (12, 4)])
def test_the_state_of_lanes_has_room_for_both_families(telemetry: int, loop: int) -> None:
    settings = TopicsSettings(telemetry_partitions=telemetry, loop_partitions=loop)
    assert partitions_of(LANE_STATE, settings) == 12


@pytest.mark.parametrize("value", ["0", "1001", "many"])
def test_a_number_that_no_topic_can_have_is_refused(value: str) -> None:
    with pytest.raises(UserError, match="partitions"):
        load(environment={"OPSLOOP_TOPICS__LOOP_PARTITIONS": value})


def test_workers_do_not_start_on_a_family_that_is_half_grown() -> None:
    sizes = {topic.name: 4 for topic in LOOP.topics} | {topic.name: 2 for topic in TELEMETRY.topics}
    with Embedded.start(sizes) as cluster:
        require_even(cluster.broker)
    with Embedded.start(sizes | {LOOP.rest[-1].name: 2}) as cluster:
        with pytest.raises(UserError, match=r"loop topics have 2 to 4 partitions") as told:
            require_even(cluster.broker)
        assert "opsloop topics grow loop 4" in str(told.value.remedy)
