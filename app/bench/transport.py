"""Measures Opsloop's Faust transport beside stock Faust, on the same topic in the same run."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import faust
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewTopic

from agents._snapshots import ends
from agents._transport import batches, install
from app.bench.lane import broker_for_bench
from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import Broker, admin
from app.printing import print_json, print_table

WAYS: Final = ("stock", "ours", "ours_in_batches")
LIMIT_S: Final = 240.0


def run(address: str, messages: int, json: bool) -> None:
    """Fill a topic with `messages` and read it in each way, acknowledging single events or batches."""
    with broker_for_bench(address) as broker, tempfile.TemporaryDirectory() as folder:
        topic = filled(broker, messages)
        found = {way: asyncio.run(rate(broker, topic, messages, Path(folder), way)) for way in WAYS}
    found |= {"ours_to_stock": found["ours"] / found["stock"], "batches_to_stock": found[WAYS[2]] / found["stock"]}
    if json:
        print_json(found)
    else:
        print_table("Messages a second", ("way", "value"), ((k, f"{v:,.3g}") for k, v in found.items()))


def filled(broker: Broker, messages: int) -> str:
    """Make a topic of one partition with small samples."""
    topic = f"opsloop.bench.transport{now_ms()}"
    client = admin(broker)  # kept until its future is done
    client.create_topics([NewTopic(topic, 1, 1)])[topic].result(15)
    probe = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "opsloop-bench"})
    ends(probe, TopicPartition(topic, 0))  # returns once the partition has a leader
    probe.close()
    with Publisher(broker) as publisher:
        for number in range(messages):
            publisher.send_raw(topic, b"e", b'{"entity":"e","ts":%d,"metrics":{"a":1.5}}' % number)
    return topic


async def rate(broker: Broker, topic: str, messages: int, folder: Path, way: str) -> float:
    """Messages a second from the first to the last, all acknowledged."""
    app = faust.App(
        f"speed-{way}-{now_ms()}", broker=f"kafka://{broker.bootstrap}", store="memory://", web_enabled=False,
        datadir=folder / way, consumer_auto_offset_reset="earliest", topic_allow_declare=False,
        topic_disable_leader=True, stream_wait_empty=False, key_serializer="raw", value_serializer="raw",
        stream_buffer_maxsize=65536, worker_redirect_stdouts=False,
    )  # fmt: skip
    in_batches = way == "ours_in_batches"
    if way != "stock":
        install(app)
    began, count, over = 0.0, 0, asyncio.Event()

    async def read(stream: Any) -> None:
        nonlocal began, count
        async for event in stream.noack().events():
            began = began or time.perf_counter()
            count += len(event.message.value.records) if in_batches else 1
            event.ack()
            if count >= messages:
                over.set()

    app.agent(batches(app, topic) if in_batches else app.topic(topic), name="read")(read)
    await app.start()
    try:
        async with asyncio.timeout(LIMIT_S):
            await over.wait()
        return count / (time.perf_counter() - began)
    finally:
        await app.stop()
