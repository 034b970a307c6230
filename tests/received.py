"""`opsloop receive` on a port of this process, a client of it, and requests as senders write them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cramjam
import uvicorn

from app.clock import now_ms
from app.ingest.receive.delivery import Delivery
from app.ingest.receive.posted import Posted, media_of
from app.ingest.receive.server import Receiver
from app.ingest.settings import ReceiveSettings
from app.kafka.broker import Broker, read_all
from tests.processes import until
from tests.served import Answer
from topics.codec import decode
from topics.formats.protobuf import message, text, varint
from topics.spec import Raw
from topics.telemetry import EVENTS, METRICS, Event, Sample

V1 = "application/x-protobuf"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
Labels = Sequence[tuple[str, str]]


def double(number: int, value: float) -> bytes:
    """A field that holds a double, which proto3 leaves out when it is zero."""
    return bytes([number << 3 | 1]) + struct.pack("<d", value) if value or value != value else b""


def sample(ts: int, value: float) -> bytes:
    return double(1, value) + varint(2, ts)


def series(labels: Labels, *samples: bytes, histograms: Sequence[bytes] = ()) -> bytes:
    """A TimeSeries of version 1."""
    named = b"".join(message(1, text(1, name) + text(2, value)) for name, value in labels)
    return named + b"".join(message(2, s) for s in samples) + b"".join(message(4, h) for h in histograms)


def native(
    ts: int, total: float, positive: Mapping[int, int], *, schema: int = 0, zeros: int = 0, floats: bool = False,
    negative: Mapping[int, int] | None = None, hint: int = 0, bounds: Sequence[float] = (),
) -> bytes:  # fmt: skip
    """A native histogram: counts by the number of their bucket, as Prometheus counts them."""
    count = sum(positive.values()) + sum((negative or {}).values()) + zeros
    counted = double(2, count) + double(7, zeros) if floats else varint(1, count) + varint(6, zeros)
    sides = _side(negative or {}, 8, floats=floats) + _side(positive, 11, floats=floats)
    own = message(16, struct.pack(f"<{len(bounds)}d", *bounds)) if bounds else b""
    return counted + double(3, total) + varint(4, _zigzag(schema)) + sides + varint(14, hint) + varint(15, ts) + own


def _side(counts: Mapping[int, int], field: int, *, floats: bool) -> bytes:
    """Spans, and deltas or counts, of the buckets on one side of zero."""
    if not counts:
        return b""
    spans, deltas, after, before = b"", b"", 0, 0
    for at in sorted(counts):
        spans += message(field, varint(1, _zigzag(at - after)) + varint(2, 1))
        deltas += varint(0, _zigzag(counts[at] - before))[1:]
        after, before = at + 1, counts[at]
    if floats:
        return spans + message(field + 2, struct.pack(f"<{len(counts)}d", *(counts[at] for at in sorted(counts))))
    return spans + message(field + 1, deltas)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def write_v1(*every: bytes) -> bytes:
    return b"".join(message(1, each) for each in every)


def write_v2(*every: tuple[Labels, Sequence[bytes], Sequence[bytes]], kinds: Sequence[int] = ()) -> bytes:
    """A Request of version 2: its series as labels, samples and histograms. kinds: of each, its type by number."""
    symbols = dict.fromkeys(["", *(word for labels, _, _ in every for label in labels for word in label)])
    place = {word: at for at, word in enumerate(symbols)}
    body = b"".join(text(4, word) for word in symbols)
    for at, (labels, samples, histograms) in enumerate(every):
        refs = b"".join(varint(0, place[word])[1:] for label in labels for word in label)
        held = message(1, refs) + b"".join(message(2, s) for s in samples)
        about = message(5, varint(1, kinds[at])) if kinds else b""
        body += message(5, held + b"".join(message(3, h) for h in histograms) + about)
    return body


def snappy(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


def posted(path: str, body: bytes, content_type: str = "application/json", **headers: str) -> Posted:
    """A request as a protocol sees it, which arrives now."""
    media, parameters = media_of(content_type)
    given = {name.replace("_", "-"): value for name, value in headers.items()} | {"content-type": content_type}
    return Posted(path, body, media, parameters, given, now_ms())


class Client:
    """Posts to a receiver."""

    def __init__(self, port: int, broker: Broker, delivery: Delivery) -> None:
        self.port, self.broker, self.delivery = port, broker, delivery

    def post(self, path: str, body: Any = b"", content_type: str = "application/json", **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": content_type} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, raw, given)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def write(self, body: bytes, content_type: str = V1, **headers: str) -> Answer:
        """Remote write, compressed as senders do."""
        return self.post("/api/v1/write", snappy(body), content_type, content_encoding="snappy", **headers)

    def samples(self) -> list[Sample]:
        return [record for raw in self.raws(METRICS.name) if isinstance(record := decode(raw).record, Sample)]

    def events(self) -> list[Event]:
        return [record for raw in self.raws(EVENTS.name) if isinstance(record := decode(raw).record, Event)]

    def letters(self, topic: str = METRICS.dlq) -> list[tuple[str, bytes]]:
        """Causes and contents of dead letters."""
        return [(dict(raw.headers)["dlq_cause"].decode(), raw.value or b"") for raw in self.raws(topic)]

    def raws(self, topic: str) -> list[Raw]:
        return list(read_all(self.broker, [topic]))


@contextlib.contextmanager
def receiving(broker: Broker, settings: ReceiveSettings | None = None, *tokens: str) -> Iterator[Client]:
    """A receiver over a broker."""
    delivery = Delivery(broker, settings or ReceiveSettings())
    app = Receiver(delivery, delivery.settings, tokens).app()
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", server_header=False, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            until(lambda: server.started)
            yield Client(listening.getsockname()[1], broker, delivery)
        finally:
            server.should_exit = True
            thread.join(20)
            delivery.close(1)
