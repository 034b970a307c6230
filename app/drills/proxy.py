"""A TCP proxy between clients and a broker. It can reset, block and slow connections, and drop replies."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from enum import StrEnum
from pathlib import Path
from typing import Final

from app.kafka.broker import Broker
from app.kafka.local import LocalKafka, Node

CHUNK: Final = 65_536


class Way(StrEnum):
    """Modes of the proxy."""

    OPEN = "open"
    CUT = "cut"  # all connections are reset, new ones too
    SILENT = "silent"  # connections stay open, and no byte passes
    REPLY_LOST = "reply_lost"  # requests pass, replies are dropped, then the connection ends
    SLOW = "slow"  # each chunk is delayed by 200 ms


class Proxy:
    """Listens on a port of its own for clients of `target`, a port of this host."""

    def __init__(self, target: int) -> None:
        self.target, self.way = target, Way.OPEN
        self._open = threading.Event()
        self._open.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def set(self, way: Way) -> None:
        """Set the mode of all connections, existing ones too."""
        lost = self.way is Way.REPLY_LOST
        self.way = way
        (self._open.clear if way is Way.SILENT else self._open.set)()
        if way is Way.CUT or lost:
            self._reset()

    def close(self) -> None:
        """Stop to listen and close all connections."""
        self.set(Way.CUT)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.way is Way.CUT:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._pairs.append((client, server))
            for source, sink, replies in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, replies), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(CHUNK):
                self._open.wait()
                if replies and self.way is Way.REPLY_LOST:
                    continue
                if self.way is Way.SLOW:
                    time.sleep(0.2)
                sink.sendall(piece)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _reset(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for each in pair:
                with each, contextlib.suppress(OSError):  # it may have ended already
                    each.shutdown(socket.SHUT_RDWR)


class ProxiedKafka(LocalKafka):
    """A Kafka of one node whose clients go through a proxy, because the broker advertises the proxy's address."""

    def __init__(self, folder: Path, heap_mb: int = 384) -> None:
        super().__init__(folder, heap_mb=heap_mb)
        self.proxy = Proxy(self.nodes[0].port)

    @property
    def broker(self) -> Broker:
        """The broker settings of a client that goes through the proxy."""
        return Broker(f"127.0.0.1:{self.proxy.port}")

    def _properties(self, node: Node) -> Path:
        path = super()._properties(node)
        direct = f"advertised.listeners=PLAINTEXT://{node.address}\n"
        path.write_text(
            path.read_text().replace(direct, f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.proxy.port}\n")
        )
        return path

    def stop(self) -> None:
        """Stop the node and the proxy."""
        super().stop()
        self.proxy.close()
