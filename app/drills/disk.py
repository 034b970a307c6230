"""A disk that can be filled: a small file system in memory with a ballast file, and a Kafka with its logs there."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from app.drills.report import LeftOut
from app.kafka.admin import ensure
from app.kafka.broker import consumer_config, probe
from app.kafka.local import LocalKafka, Node, Progress
from topics.catalog import ALL
from topics.spec import Topic

HEAP_MB: Final = 384
KAFKA_BYTES: Final = 256 * 2**20
OFFSETS_S: Final = 60.0
RESTART_S: Final = 90.0


class SmallDisk:
    """A tmpfs of `size` bytes at `folder`, until `close`."""

    def __init__(self, folder: Path, size: int) -> None:
        """Raises LeftOut when this user may not mount."""
        self.folder = folder
        folder.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "opsloop-drill", str(folder)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise LeftOut("it mounts a small disk, and may not", "Run it as root")
        self._ballast = folder / "ballast"

    def fill(self, left: int) -> None:
        """Fill the disk, so that about `left` bytes are free in the last page of the file that grows."""
        self.free()
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        pages = left // 4096
        if pages:
            os.truncate(self._ballast, max(0, self._ballast.stat().st_size - pages * 4096))

    def free(self) -> None:
        """Remove the ballast."""
        self._ballast.unlink(missing_ok=True)

    def is_full(self) -> bool:
        """Whether no page is free."""
        trial = self.folder / "trial"
        try:
            trial.write_bytes(b"\0" * 4096)
        except OSError as error:
            return error.errno == errno.ENOSPC
        finally:
            trial.unlink(missing_ok=True)
        return False

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmount the disk. Its content is lost."""
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)


class SmallKafka(LocalKafka):
    """A Kafka of one node with all its data on a small disk, or only the logs of `topics`.

    A broker places a new partition in the folder with the fewest, so topics that are created last go to a second, empty
    folder.
    """

    def __init__(self, folder: Path, topics: Collection[Topic] = ()) -> None:
        super().__init__(folder, heap_mb=HEAP_MB)
        self.topics = topics
        self.disk = SmallDisk(folder / "disk", KAFKA_BYTES)
        self._small = False

    def start(self, progress: Progress = lambda _: None) -> str:
        """Start it. Raises UserError as `LocalKafka.start` does."""
        if self.topics:
            super().start(progress)
            ensure(self.broker, [topic for topic in ALL if topic not in self.topics])
            _make_offsets_topic(self)
            LocalKafka.stop(self)
        self._small = True
        return super().start(progress)

    def restart(self) -> None:
        """Send SIGKILL, make room, and start the node until it answers.

        Index files are removed: a truncated one ends the broker at its start, and a missing one is rebuilt from the
        log.
        """
        self.kill(1)
        self.disk.free()
        for index in (*self.disk.folder.rglob("*.index"), *self.disk.folder.rglob("*.timeindex")):
            index.unlink()
        end = time.monotonic() + RESTART_S
        while probe(self.broker, 0.5) is not None and time.monotonic() < end:
            self.start_node(1)  # does nothing while it runs
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the node and unmount the disk."""
        super().stop()
        self.disk.close()

    def _format(self, node: Node, jars: Path) -> None:
        later, self._small = self._small, True  # format both folders: a broker refuses an unformatted one
        super()._format(node, jars)
        self._small = later

    def _properties(self, node: Node) -> Path:
        path = super()._properties(node)
        small, large = str(self.disk.folder / "data"), str(self._home(node) / "data")
        folders = ",".join([large, small] if self.topics else [small]) if self._small else large
        path.write_text(path.read_text().replace(f"log.dirs={large}\n", f"log.dirs={folders}\n"))
        return path


def _make_offsets_topic(kafka: LocalKafka) -> None:
    """Ask for the offsets of a group until there is an answer, so that the broker creates their topic.

    Raises KafkaException when that takes too long.
    """
    consumer = Consumer(consumer_config(kafka.broker, "opsloop-drill") | {"group.protocol": "classic"})
    end = time.monotonic() + OFFSETS_S
    try:
        while True:
            try:
                consumer.committed([TopicPartition(ALL[0].name, 0)], timeout=20)
                return
            except KafkaException:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
    finally:
        consumer.close()
