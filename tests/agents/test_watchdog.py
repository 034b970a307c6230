"""A partition of which nothing is taken is told from one with nothing to read."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition

from agents._watchdog import Stuck, Watchdog, _ends, behind

ONE, OTHER = ("telemetry.metrics", 1), ("telemetry.metrics", 2)


def test_the_broker_is_asked_of_what_does_not_move_once_in_half_of_the_limit_and_of_nothing_else() -> None:
    dog, asked = Watchdog(30.0), []
    for clock in range(100, 300):
        late = dog.late(float(clock), {ONE: 7, OTHER: clock}, dry=True)
        assert late in ({}, {ONE: 7})
        asked += [clock] * len(late)
    assert asked == list(range(115, 300, 15))


def test_what_waits_and_is_not_taken_is_stuck_half_of_the_limit_after_that_was_seen() -> None:
    dog = Watchdog(30.0)
    dog.late(100.0, {ONE: 7, OTHER: 1}, dry=True)
    assert ONE in dog.late(115.0, {ONE: 7, OTHER: 2}, dry=True)
    dog.waits(118.0, ONE, 7)
    assert dog.late(132.9, {ONE: 7, OTHER: 3}, dry=True) == {}
    with pytest.raises(Stuck, match=r"something waits from 7 of telemetry\.metrics-1 on, .* taken for 30 s"):
        dog.late(133.0, {ONE: 7, OTHER: 4}, dry=True)


def test_what_the_client_has_of_others_comes_first_but_not_for_ever() -> None:
    """A client gives what it has in the order of its fetches, and a partition of which nothing comes is behind it."""
    dog = Watchdog(30.0)
    for clock in range(100, 401):
        if ONE in dog.late(float(clock), {ONE: 7, OTHER: clock}, dry=clock < 115):
            dog.waits(float(clock), ONE, 7)
    dried = copy.deepcopy(dog)
    assert dried.late(401.0, {ONE: 7, OTHER: 401}, dry=True) == {}
    with pytest.raises(Stuck):
        dried.late(415.0, {ONE: 7, OTHER: 415}, dry=False)
    assert dog.late(414.0, {ONE: 7, OTHER: 414}, dry=False) == {}


def test_a_backlog_has_ten_times_as_long() -> None:
    dog = Watchdog(30.0)
    dog.late(100.0, {ONE: 7}, dry=False)
    dog.late(115.0, {ONE: 7}, dry=False)
    dog.waits(115.0, ONE, 7)
    for clock in range(116, 415):
        dog.late(float(clock), {ONE: 7}, dry=False)
    with pytest.raises(Stuck):
        [dog.late(float(clock), {ONE: 7}, dry=False) for clock in range(415, 431)]


@pytest.mark.parametrize("then", [{ONE: 8}, {}])
def test_what_is_taken_or_lost_meanwhile_is_not_stuck(then: dict[tuple[str, int], int]) -> None:
    for early in (True, False):  # before the answer came, and after
        dog = Watchdog(30.0)
        dog.late(100.0, {ONE: 7}, dry=True)
        dog.late(115.0, {ONE: 7}, dry=True)
        if early:
            dog.late(117.0, then, dry=True)
        dog.waits(118.0, ONE, 7)
        for clock in range(119, 180):
            dog.late(float(clock), then, dry=True)


def test_a_partition_that_comes_back_begins_anew() -> None:
    dog = Watchdog(30.0)
    dog.late(100.0, {ONE: 7}, dry=True)
    dog.late(115.0, {ONE: 7}, dry=True)
    dog.waits(115.0, ONE, 7)
    dog.late(129.0, {}, dry=True)
    assert dog.late(131.0, {ONE: 7}, dry=True) == {}
    assert dog.late(146.0, {ONE: 7}, dry=True) == {ONE: 7}


def test_it_is_looked_from_what_is_committed_or_still_there() -> None:
    late = {("a", 0): 0, ("a", 1): 5, ("a", 2): 9, ("a", 3): 0}
    ends = {("a", 0): (4, 9), ("a", 1): (4, 9), ("a", 2): (4, 9), ("a", 3): (9, 9)}
    assert behind(late, ends) == {("a", 0): 4, ("a", 1): 5}


class Told:
    """A consumer whose broker says where partitions begin and end, in an order of its own."""

    committed_at: Sequence[int] = (-1001, 7, 7)  # of partitions 0, 1 and 2; the first was never committed
    fails = False

    def committed(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(tp.topic, tp.partition, self.committed_at[tp.partition]) for tp in places]

    def offsets_for_times(self, times: Sequence[TopicPartition], timeout: float) -> list[Any]:
        if self.fails:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return [Edge(tp.topic, tp.partition, 9 if tp.offset == OFFSET_END else 4) for tp in reversed(times)]


class Edge:
    """What is told of a partition; the last one has no leader."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        self.topic, self.partition = topic, partition
        self.offset, self.error = (
            (-1, KafkaError(KafkaError.LEADER_NOT_AVAILABLE)) if partition == 2 else (offset, None)
        )


def test_a_partition_or_a_broker_that_does_not_answer_has_nothing_to_read() -> None:
    places, consumer = [("a", 0), ("a", 1), ("a", 2)], Told()
    assert _ends(consumer, places) == {("a", 0): (4, 9), ("a", 1): (7, 9), ("a", 2): (7, 0)}
    consumer.fails = True
    assert _ends(consumer, places) == dict.fromkeys(places, (0, 0))
