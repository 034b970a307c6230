"""Reading at known offsets: ends of partitions, what is new, and single messages near and far from each other."""

from __future__ import annotations

import pytest

from app.errors import UserError
from app.kafka import places
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from app.kafka.places import NEAR, Extent, existing, extents, read_on, read_places
from tests.histories import write
from topics.spec import Origin


@pytest.fixture
def broker(embedded: Embedded) -> Broker:
    """A topic `t` of two partitions with 3,000 messages on the first."""
    embedded.create("t", 2)
    write(embedded.broker, [("t", b"%d" % n) for n in range(3_000)])
    return embedded.broker


def test_extents_are_those_of_every_partition(broker: Broker) -> None:
    assert extents(broker, ["t"]) == {("t", 0): Extent(0, 3_000), ("t", 1): Extent(0, 0)}
    assert existing(broker, ["t", "nothing"]) == ["t"]
    with pytest.raises(UserError, match="there is no topic nothing on this broker"):
        extents(broker, ["t", "nothing"])


def test_reading_on_gives_each_message_from_the_start_once_and_ends(broker: Broker) -> None:
    ends = extents(broker, ["t"])
    found = [m.offset() for batch, _ in read_on(broker, {("t", 0): 1_000, ("t", 1): 0}, ends) for m in batch]
    assert found == list(range(1_000, 3_000))
    assert list(read_on(broker, {("t", 0): 3_000}, ends)) == []


def test_single_messages_are_found_near_far_and_not_at_all(broker: Broker) -> None:
    wanted = [0, 1, NEAR, NEAR + 5, 2_999, 1_700, 3_000, 10**9]
    found = read_places(broker, [Origin("t", 0, offset) for offset in wanted] + [Origin("t", 1, 0)])
    assert {place.offset: raw.value for place, raw in found.items()} == {
        offset: b"%d" % offset for offset in wanted if offset < 3_000
    }
    assert read_places(broker, []) == {}


def test_a_single_message_far_away_is_sought_and_not_read_up_to(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0
    sorted_out = places._sorted_out

    def counted(batch: object) -> object:
        nonlocal seen
        messages, reached = sorted_out(batch)  # type: ignore[arg-type]
        seen += len(messages)
        return messages, reached

    monkeypatch.setattr(places, "_sorted_out", counted)
    monkeypatch.setattr(places, "BATCH", 10)
    assert len(read_places(broker, [Origin("t", 0, 0), Origin("t", 0, 2_990)])) == 2
    assert seen < 100
