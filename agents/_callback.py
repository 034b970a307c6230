"""What a callback of the Kafka client raises comes out of `poll` as it was raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import TopicPartition

Rebalanced = Callable[[Any, list[TopicPartition]], None]


def whole(callback: Rebalanced) -> Rebalanced:
    """`callback` for `subscribe`, with errors that the client can keep.

    Below Python 3.12 an error that C code raises is no object before a handler catches it, and the client (2.16) keeps
    objects only: instead of a state that cannot be read, `poll` raised SystemError of a `str` that is no exception.
    """

    def called(consumer: Any, places: list[TopicPartition]) -> None:
        try:
            callback(consumer, places)
        except BaseException:  # once caught it is one
            raise

    return called
