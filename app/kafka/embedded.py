"""The in-memory cluster: librdkafka's mock broker inside the confluent-kafka wheel, on a loopback port of this process.

It speaks the Kafka protocol to any client in any process: topics with any number of partitions, idempotent producers,
consumer groups, commits. The demo and quick tests use it. What it cannot do: create topics by the admin
protocol (it makes one of four partitions when a producer names one that it does not have), compact, look up an offset
by time, transactions, TLS, access control. It keeps 5 MiB of each partition and drops older messages without an error.
It ends with this process. Tests of delivery guarantees use a real Kafka.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import confluent_kafka

from app.kafka.broker import Broker

_PRODUCER = 0


@functools.cache
def _library() -> ctypes.CDLL:
    home = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(home.glob("librdkafka*"))))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, *arguments in (
        ("rd_kafka_conf_new", pointer),
        ("rd_kafka_conf_set", number, pointer, text, text, text, ctypes.c_size_t),
        ("rd_kafka_new", pointer, number, pointer, text, ctypes.c_size_t),
        ("rd_kafka_destroy", None, pointer),
        ("rd_kafka_mock_cluster_new", pointer, pointer, number),
        ("rd_kafka_mock_cluster_destroy", None, pointer),
        ("rd_kafka_mock_cluster_bootstraps", text, pointer),
        ("rd_kafka_mock_topic_create", number, pointer, text, number, number),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, pointer, ctypes.c_int32),
        ("rd_kafka_mock_broker_set_down", number, pointer, ctypes.c_int32),
        ("rd_kafka_mock_broker_set_up", number, pointer, ctypes.c_int32),
        ("rd_kafka_mock_broker_set_rtt", number, pointer, ctypes.c_int32, number),
    ):
        function = getattr(library, str(name))
        function.restype, function.argtypes = result, arguments
    return library


class Embedded:
    """A running in-memory cluster. `start` makes one; `stop` (or the end of a `with`) ends it."""

    def __init__(self, nodes: int = 1) -> None:
        library, error = _library(), ctypes.create_string_buffer(512)
        settings = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(settings, b"log_level", b"0", error, len(error))
        self._client = library.rd_kafka_new(_PRODUCER, settings, error, len(error))
        if not self._client:
            raise RuntimeError(error.value.decode())
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, nodes)
        self.bootstrap: str = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.nodes = nodes

    @classmethod
    def start(cls, topics: Mapping[str, int], nodes: int = 1) -> Embedded:
        """Start a cluster. `topics`: name → number of partitions."""
        cluster = cls(nodes)
        with cluster._awake():
            for name, partitions in topics.items():
                cluster.create(name, partitions)
        return cluster

    @property
    def broker(self) -> Broker:
        """The broker settings of a client of this cluster."""
        return Broker(self.bootstrap, embedded=True)

    def create(self, topic: str, partitions: int) -> None:
        """Add a topic. Raises ValueError when it exists."""
        if _library().rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1):
            raise ValueError(f"topic {topic} exists already")

    def down(self, node: int = 1) -> None:
        """Close the connections of a node and refuse new ones, until `up`. Its data stays."""
        _library().rd_kafka_mock_broker_set_down(self._cluster, node)

    def up(self, node: int = 1) -> None:
        """Accept connections to a node again."""
        _library().rd_kafka_mock_broker_set_up(self._cluster, node)

    def delay(self, ms: int, node: int = 1) -> None:
        """Delay each response of a node by `ms` milliseconds."""
        _library().rd_kafka_mock_broker_set_rtt(self._cluster, node, ms)

    def stop(self) -> None:
        """Stop the cluster and free its memory. A second call does nothing."""
        if self._cluster:
            _library().rd_kafka_mock_cluster_destroy(self._cluster)
            _library().rd_kafka_destroy(self._client)
            self._cluster = self._client = None

    @contextlib.contextmanager
    def _awake(self) -> Iterator[None]:
        """Wake the mock broker's thread often: it misses one wake-up in some hundred, and then sleeps for a second."""
        done = threading.Event()
        host, port = self.bootstrap.split(",")[0].split(":")

        def knock() -> None:
            while not done.wait(0.01):
                socket.create_connection((host, int(port))).close()

        knocking = threading.Thread(target=knock, daemon=True)
        knocking.start()
        try:
            yield
        finally:
            done.set()
            knocking.join()

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
