from __future__ import annotations

import pytest

from app.kafka.broker import read_all
from app.kafka.embedded import Embedded
from app.kafka.publisher import DeliveryError, Publisher
from topics.codec import Cause, DeadLetter, decode
from topics.spec import Raw
from topics.telemetry import EVENTS, Event

EVENT = Event(entity="shop/catalog", ts=1_000, kind="deploy", text="revision 2", revision="2")


def test_a_record_goes_to_its_topic_under_its_key_with_its_cloudevent(embedded: Embedded) -> None:
    with Publisher(embedded.broker) as publisher:
        publisher.send(EVENT)
    (message,) = read_all(embedded.broker, [EVENTS.name])
    assert decode(message).record == EVENT
    assert message.key == b"main"
    assert dict(message.headers)["ce_type"] == EVENTS.name.encode()


def test_a_dead_letter_goes_to_its_topic_as_it_came_with_the_cause(embedded: Embedded) -> None:
    raw = Raw(EVENTS.name, 3, 7, b"k", b"\xff", (("h", b"1"),))
    with Publisher(embedded.broker) as publisher:
        publisher.send(DeadLetter(raw, Cause.MALFORMED, "no JSON"))
    (message,) = read_all(embedded.broker, [EVENTS.dlq])
    assert (message.key, message.value) == (b"k", b"\xff")
    assert dict(message.headers) == {
        "h": b"1", "dlq_cause": b"malformed", "dlq_detail": b"no JSON", "dlq_origin": f"{EVENTS.name}-3-7".encode(),
    }  # fmt: skip


def test_a_failed_delivery_is_raised_once_with_its_cause_and_how_many(embedded: Embedded) -> None:
    publisher = Publisher(embedded.broker, settings={"message.timeout.ms": 300})
    embedded.down()
    for _ in range(3):
        publisher.send(EVENT)
    with pytest.raises(DeliveryError, match=r"3 messages to opsloop\.telemetry\.events not delivered") as failure:
        publisher.flush(5)
    assert failure.value.count == 3
    publisher.flush(5)


def test_what_is_still_on_its_way_when_patience_ends_is_a_failure_too(embedded: Embedded) -> None:
    publisher = Publisher(embedded.broker)
    embedded.down()
    publisher.send(EVENT)
    with pytest.raises(DeliveryError, match="1 message to the broker not delivered"):
        publisher.flush(0.1)
    embedded.up()
    publisher.flush(10)
    assert len(list(read_all(embedded.broker, [EVENTS.name]))) == 1


def test_failures_go_to_the_callback_of_those_who_want_them(embedded: Embedded) -> None:
    reports: list[bool] = []
    publisher = Publisher(
        embedded.broker, on_delivery=lambda error, _: reports.append(error is None),
        settings={"message.timeout.ms": 3_000},
    )  # fmt: skip
    publisher.send(EVENT)
    publisher.flush(10)
    embedded.down()
    publisher.send(EVENT)
    publisher.flush(10)
    assert reports == [True, False]
