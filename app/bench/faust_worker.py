"""A plain Faust agent that parses samples: `python -m app.bench.faust_worker BROKER TOPIC MESSAGES`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from typing import Any

import faust
import orjson

from app.printing import print_json


async def main(address: str, topic: str, messages: int) -> None:
    """Read `messages` of `topic`, one event after another, and print the points a second."""
    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            "bench-faust", broker=f"kafka://{address}", store="memory://", datadir=folder, web_enabled=False,
            topic_allow_declare=False, topic_disable_leader=True, consumer_auto_offset_reset="earliest",
            worker_redirect_stdouts=False, value_serializer="raw", key_serializer="raw",
        )  # fmt: skip
        done, marks = asyncio.Event(), [0.0, 0.0]

        @app.agent(app.topic(topic))  # type: ignore[untyped-decorator]
        async def read(stream: Any) -> None:
            seen = points = 0
            async for value in stream:
                points += len(orjson.loads(value)["metrics"])
                seen += 1
                if seen == messages // 10:
                    marks[0], points = time.perf_counter(), 0
                if seen == messages:
                    marks[1] = points / (time.perf_counter() - marks[0])
                    done.set()

        async with app:
            await asyncio.wait_for(done.wait(), 120)
        print_json({"points_per_s": marks[1]})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
