"""The receiver over an in-memory broker: who may post, in which bounds, and when it is answered."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
from unittest import mock

import pytest

from app.clock import now_ms
from app.ingest.receive import plain
from app.ingest.receive.delivery import Delivery, Lagging, Outgoing
from app.ingest.settings import ReceiveSettings
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from tests.processes import until
from tests.received import V2, Client, receiving, sample, series, snappy, write_v1, write_v2
from topics.telemetry import EVENTS, METRICS

TOKEN = "0123456789abcdef0123456789abcdef"
UP = [("__name__", "up"), ("instance", "web-1")]


def up(value: float = 1.0, ts: int = 0) -> bytes:
    return write_v1(series(UP, sample(ts or now_ms(), value)))


def value_of(client: Client, name: str) -> float:
    """A metric of the receiver, by its name with labels."""
    page = client.ask("GET", "/metrics").body.decode()
    return next((float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name + " ")), 0.0)


# --- what is taken ----------------------------------------------------------------------------------------------------


def test_what_is_posted_is_on_the_broker_when_it_is_answered(embedded: Embedded) -> None:
    now = now_ms()
    with receiving(embedded.broker) as client:
        assert client.write(up(1.0, now)).status == 204
        assert [(s.entity, s.ts, s.metrics) for s in client.samples()] == [("web-1", now, {"up": 1.0})]
        answer = client.write(write_v2((UP, [sample(now, 2.0)], [])), V2)
        assert (answer.status, answer.headers["x-prometheus-remote-write-samples-written"]) == (204, "1")
        assert client.post("/telemetry", {"entity": "web-2", "metrics": {"x": 1}}).status == 204
        lines = gzip.compress(b"cpu,host=web-3 x=1", mtime=0)
        assert client.post("/influx/api/v2/write?bucket=b", lines, "text/plain", content_encoding="gzip").status == 204
        assert {s.entity for s in client.samples()} == {"web-1", "web-2", "web-3"}
        assert {raw.key for raw in client.raws(METRICS.name)} == {b"web-1", b"web-2", b"web-3"}
        assert client.post("/events", {"entity": "shop/a", "kind": "deploy", "text": "v2"}).status == 204
        assert [raw.key for raw in client.raws(EVENTS.name)] == [b"main"]


def test_an_entity_stays_in_one_partition_however_it_is_sent(embedded: Embedded) -> None:
    with receiving(embedded.broker) as client:
        for _ in range(5):
            client.write(up())
            client.post("/telemetry", {"entity": "web-1", "metrics": {"x": 1}})
        assert len({raw.partition for raw in client.raws(METRICS.name)}) == 1


def test_bad_parts_are_dead_letters_and_counted_and_the_others_are_taken(embedded: Embedded) -> None:
    with receiving(embedded.broker) as client:
        name = 'opsloop_received_refused_total{cause="wrong_type",route="/api/v1/write"}'
        before = value_of(client, name)
        bad = series([("__name__", "x"), ("a", "1"), ("a", "2")], sample(now_ms(), 1.0))
        answer = client.write(up() + write_v1(bad, bad))
        assert (answer.status, answer.headers["x-prometheus-remote-write-samples-written"]) == (400, "1")
        assert answer.body == b"refused 2, took 1 (2 wrong_type): a label has no name, or stands twice"
        assert len(client.samples()) == 1
        letters = client.letters()
        assert [cause for cause, _ in letters] == ["wrong_type"] * 2
        assert json.loads(letters[0][1])["labels"] == [["__name__", "x"], ["a", "1"], ["a", "2"]]
        assert value_of(client, name) == before + 2
        origins = [dict(raw.headers)["dlq_origin"] for raw in client.raws(METRICS.dlq)]
        assert len({*origins}) == 2, "each is a letter of its own"
        assert client.post("/events", [{"kind": "x"}]).status == 400
        assert len(client.letters(EVENTS.dlq)) == 1


def test_letters_of_one_request_are_bounded_and_all_are_counted(embedded: Embedded) -> None:
    with receiving(embedded.broker) as client:
        answer = client.post("/telemetry", [{"entity": "a", "metrics": {"x": "7" * 200_000}}, *[7] * 300])
        assert json.loads(answer.body)["error"].startswith("refused 301, took 0 (301 wrong_type)")
        letters = client.letters()
        assert len(letters) == 100
        assert max(len(value) for _, value in letters) <= 100_000


def test_a_request_that_breaks_its_reader_is_refused_and_not_sent_for_ever(embedded: Embedded) -> None:
    with receiving(embedded.broker) as client, mock.patch.object(plain.influx, "read_line", side_effect=MemoryError):
        answer = client.post("/influx/api/v2/write", b"cpu x=1", "text/plain")
        assert (answer.status, answer.json["message"]) == (400, "the request cannot be read: MemoryError")
        assert client.write(up()).status == 204


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer nonsense", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"]
)
def test_nothing_is_taken_without_the_token(embedded: Embedded, given: str) -> None:
    with receiving(embedded.broker, None, TOKEN) as client:
        headers = {"authorization": given} if given else {}
        answer = client.write(up(), **headers)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert client.ask("GET", "/metrics", None, headers).status == 401
        assert client.ask("GET", "/healthz").status == 200
        assert client.samples() == []


def test_each_of_several_tokens_may_post_also_as_influx_sends_it(embedded: Embedded) -> None:
    with receiving(embedded.broker, None, "another-token-of-before", TOKEN) as client:
        assert client.write(up(), authorization=f"Bearer {TOKEN}").status == 204
        assert client.write(up(), authorization="bearer another-token-of-before").status == 204
        assert client.post("/influx/api/v2/write", b"c x=1", "", authorization=f"Token {TOKEN}").status == 204
        assert client.ask("GET", "/metrics", None, {"authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_page_in_a_browser_may_not_post(embedded: Embedded) -> None:
    with receiving(embedded.broker) as client:
        assert client.post("/telemetry", b"{}", "text/plain", origin="https://example.com").status == 403


def test_other_routes_and_methods_are_told(embedded: Embedded) -> None:
    with receiving(embedded.broker) as client:
        answer = client.ask("POST", "/api/v1/writ", b"")
        assert (answer.status, b"/api/v1/write, /v1/metrics" in answer.body) == (404, True)
        answer = client.ask("GET", "/v1/metrics")
        assert (answer.status, answer.headers["allow"], answer.body) == (405, "POST", b"send it with POST")


# --- bounds -----------------------------------------------------------------------------------------------------------

SMALL = ReceiveSettings(body_bytes=1_000, decoded_bytes=2_000, read_s=0.5)


@pytest.mark.parametrize(("body", "encoding"), [
    (b"x" * 1_001, ""), (b"x" * 300_000, ""), (gzip.compress(bytes(3_000)), "gzip"), (snappy(bytes(3_000)), "snappy"),
])  # fmt: skip
def test_a_body_that_is_too_large_is_413(embedded: Embedded, body: bytes, encoding: str) -> None:
    with receiving(embedded.broker, SMALL) as client:
        answer = client.post("/influx/api/v2/write", body, "text/plain", content_encoding=encoding)
        assert (answer.status, answer.json["code"]) == (413, "request too large")
        assert "send smaller batches" in answer.json["message"]


def test_a_body_in_chunks_is_bounded_too(embedded: Embedded) -> None:
    with receiving(embedded.broker, SMALL) as client:
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
        connection.request("POST", "/telemetry", iter([b"x" * 600] * 2), {"content-type": "application/json"})
        assert connection.getresponse().status == 413
        connection.close()


def test_a_body_that_does_not_come_is_408(embedded: Embedded) -> None:
    with receiving(embedded.broker, SMALL) as client, socket.create_connection(("127.0.0.1", client.port), 10) as slow:
        slow.sendall(b"POST /telemetry HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_sender_that_hangs_up_ends_only_its_own_request(embedded: Embedded) -> None:
    with receiving(embedded.broker) as client:
        with socket.create_connection(("127.0.0.1", client.port), 10) as gone:
            gone.sendall(b"POST /telemetry HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
        assert client.write(up()).status == 204


def test_an_unknown_compression_is_415(embedded: Embedded) -> None:
    with receiving(embedded.broker) as client:
        answer = client.post("/v1/metrics", b"", content_encoding="zstd")
        assert (answer.status, "gzip, snappy" in answer.json["message"]) == (415, True)


# --- a broker that lags -----------------------------------------------------------------------------------------------

QUICK = ReceiveSettings(lag_s=0.2, deliver_s=2.0)


def paused(client: Client) -> mock._patch[object]:
    """A broker that gets nothing until the patch ends: what is produced waits."""
    waiting: list[tuple[object, ...]] = []
    producer = client.delivery._producer

    class Slow:
        def produce(self, *given: object, on_delivery: object, **more: object) -> None:
            waiting.append((given, on_delivery, more))

        def poll(self, limit_s: float) -> int:
            time.sleep(limit_s)
            return 0

        def flush(self, limit_s: float) -> int:
            return len(waiting)

    patch = mock.patch.object(client.delivery, "_producer", Slow())
    stop = patch.stop

    def resume() -> object:
        done = stop()
        for given, on_delivery, more in waiting:
            producer.produce(*given, on_delivery=on_delivery, **more)
        return done

    patch.stop = resume  # type: ignore[method-assign]
    return patch


@pytest.mark.parametrize(("path", "status"), [
    ("/telemetry", 429), ("/v1/metrics", 429), ("/influx/api/v2/write", 429), ("/events", 429),
    ("/api/v1/write", 503), ("/alertmanager", 503),
])  # fmt: skip
def test_senders_are_asked_to_wait_while_the_broker_lags_by_the_status_that_they_obey(
    embedded: Embedded, path: str, status: int
) -> None:
    with receiving(embedded.broker, QUICK) as client:
        patch = paused(client)
        patch.start()
        first = threading.Thread(target=lambda: answers.append(client.write(up()).status))
        answers: list[int] = []
        first.start()
        until(client.delivery.trouble, 10)
        answer = client.post(path, b"x" * 6_000_000)
        assert (answer.status, int(answer.headers["retry-after"]) >= 1) == (status, True)
        assert b"the broker lags" in answer.body
        health = client.ask("GET", "/healthz")
        assert (health.status, health.json["status"]) == (503, "behind")
        assert answers == [], "nothing is acknowledged before the broker has it"
        patch.stop()
        first.join(10)
        assert answers == [204], "what was taken is finished"
        assert len(client.samples()) == 1
        assert client.ask("GET", "/healthz").json == {"status": "ok", "cause": ""}


def test_a_request_that_the_broker_does_not_take_is_503_and_to_be_sent_again() -> None:
    with receiving(Broker("127.0.0.1:1"), ReceiveSettings(deliver_s=1.0)) as client:
        answer = client.write(up())
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert answer.headers["x-prometheus-remote-write-samples-written"] == "0"
        assert answer.body.startswith(b"the broker did not take 1 of 1 messages (")
        assert answer.body.endswith(b"): send it again")
        health = client.ask("GET", "/healthz")
        assert (health.status, health.json["cause"]) == (503, "the broker does not answer (connection refused)")


def test_more_requests_than_the_bound_are_asked_to_wait(embedded: Embedded) -> None:
    with receiving(embedded.broker, ReceiveSettings(requests=1)) as client:
        with socket.create_connection(("127.0.0.1", client.port), 10) as slow:
            slow.sendall(b"POST /telemetry HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n[")
            until(lambda: client.post("/telemetry", b"[]").status == 429, 10)
            slow.sendall(b"]")
            assert slow.recv(100).startswith(b"HTTP/1.1 204 ")
        assert client.post("/telemetry", b"[]").status == 204


def test_what_waits_is_bounded_in_messages_and_bytes_and_a_large_request_alone_is_taken(embedded: Embedded) -> None:
    delivery = Delivery(embedded.broker, ReceiveSettings(pending_messages=3, pending_bytes=1_000))
    try:
        delivery.admit(99, 99_999)
        with mock.patch.object(delivery, "_producer"):
            delivery._going[mock.Mock(began=time.monotonic())] = None
            delivery._messages, delivery._bytes = 2, 500
            delivery.admit(1, 500)
            for messages, size in ((2, 1), (1, 501)):
                with pytest.raises(Lagging, match="too much waits"):
                    delivery.admit(messages, size)
    finally:
        delivery.close(1)


async def test_a_producer_that_can_send_nothing_more_is_made_anew(embedded: Embedded) -> None:
    delivery = Delivery(embedded.broker, ReceiveSettings())
    try:
        old = delivery._producer
        delivery._failed(mock.Mock(fatal=lambda: True, str=lambda: "fenced"))
        until(lambda: delivery._producer is not old, 10)
        await delivery.send([Outgoing(METRICS.name, b"a", b"{}", [])])
    finally:
        assert delivery.close(5) == 0
