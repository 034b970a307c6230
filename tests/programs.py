"""Programs that are not ours, as real processes, with the configurations of docs/ingest.md."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions

from app.kafka.broker import Broker, admin
from topics.spec import Raw

PAGE = (Path(__file__).parents[1] / "docs" / "ingest.md").read_text()
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opsloop" / "bin"


def binary(name: str) -> str:
    """The real thing; skips the test where there is none."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:{CACHE}")
    if not found:
        pytest.skip(f"no {name}: make real-parts")
    return found


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path, *command: str) -> Iterator[Path]:
    """The process and its words."""
    said = folder / "said"
    with said.open("wb") as words:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, cwd=folder)
    try:
        yield said
        assert process.poll() is None, said.read_text()
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def block(name: str) -> str:
    """A configuration of the page."""
    (found,) = re.findall(rf"<!-- tested: {name} -->\n```\w*\n(.*?)```", PAGE, re.S)
    return str(found)


def learned(broker: Broker, raw: Raw) -> Callable[[], bool]:
    """Whether the lane has kept what it learned from a message."""
    client = admin(broker)

    def is_kept() -> bool:
        (asked,) = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions("opsloop-lane")]).values()
        kept = {(p.topic, p.partition): p.offset for p in asked.result(10).topic_partitions}
        return kept.get((raw.topic, raw.partition), -1) > raw.offset

    return is_kept
