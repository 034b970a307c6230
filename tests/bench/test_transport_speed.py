"""Our transport beside stock Faust, reading the same topic in the same run: at least ten times as quick."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import faust
import pytest
from confluent_kafka import Producer
from conftest import NewTopicFactory

from agents._transport import batches, install
from app.broker import Broker, producer_config

pytestmark = [pytest.mark.bench, pytest.mark.kafka, pytest.mark.timeout(300)]
MESSAGES = 60_000


async def rate(broker: Broker, topic: str, folder: Path, ours: bool) -> float:
    """Messages a second from the first to the last, each acked."""
    app = faust.App(
        f"speed-{ours}", broker=f"kafka://{broker.bootstrap}", store="memory://", web_enabled=False,
        datadir=folder / str(ours), consumer_auto_offset_reset="earliest", topic_allow_declare=False,
        topic_disable_leader=True, stream_wait_empty=False, key_serializer="raw", value_serializer="raw",
        stream_buffer_maxsize=65536, worker_redirect_stdouts=False,
    )  # fmt: skip
    if ours:
        install(app)
    began, count, over = 0.0, 0, asyncio.Event()

    async def read(stream: Any) -> None:
        nonlocal began, count
        async for event in stream.noack().events():
            began = began or time.perf_counter()
            count += len(event.message.value.records) if ours else 1
            event.ack()
            if count >= MESSAGES:
                over.set()

    app.agent(batches(app, topic) if ours else app.topic(topic), name="read")(read)
    await app.start()
    try:
        async with asyncio.timeout(120):
            await over.wait()
        return count / (time.perf_counter() - began)
    finally:
        await app.stop()


async def test_batch_channels_are_ten_times_as_quick_as_stock(
    broker: Broker, new_topic: NewTopicFactory, tmp_path: Path
) -> None:
    topic = new_topic()
    producer = Producer(producer_config(broker) | {"queue.buffering.max.messages": 2 * MESSAGES})
    for number in range(MESSAGES):
        producer.produce(topic, b'{"entity":"e","ts":%d,"metrics":{"a":1.5}}' % number, b"e")
    assert producer.flush(60) == 0
    stock = await rate(broker, topic, tmp_path, ours=False)
    ours = await rate(broker, topic, tmp_path, ours=True)
    print(f"stock {stock:,.0f} messages/s, ours {ours:,.0f} messages/s, {ours / stock:.1f} times")
    assert ours > 10 * stock
