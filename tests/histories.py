"""A history on a broker: records with times of arrival of one's choice, each on its topic."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Producer

from app.clock import now_ms
from app.kafka.broker import Broker, producer_config
from topics.codec import DeadLetter, Message, encode
from topics.spec import Record


def write(broker: Broker, records: Iterable[Record | DeadLetter | tuple[str, bytes]], *, arrived: int = 0) -> None:
    """Put records on partition 0 of their topics, in order, one millisecond after the other.

    arrived: of the last one; now when it is 0. A tuple is a topic and what is written there as it is.
    """
    found = list(records)
    first = (arrived or now_ms()) - len(found)
    producer = Producer(producer_config(broker))
    for number, record in enumerate(found):
        topic, key, value, headers = _parts(record)
        producer.produce(topic, value, key, 0, headers=headers, timestamp=first + number)
        producer.poll(0)
    assert producer.flush(20) == 0


def _parts(
    record: Record | DeadLetter | tuple[str, bytes],
) -> tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]:
    match record:
        case DeadLetter():
            return record.topic, record.raw.key, record.raw.value, list(record.headers)
        case (topic, value):
            return topic, None, value, []
    message: Message = encode(record)
    return message.topic.name, message.key, message.value, list(message.headers)
