"""The collector against targets that answer, are dead, and hang; on the in-memory cluster and across a real outage."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from app.clock import now_ms
from app.ingest.collect.prometheus import MAX_SERIES
from app.ingest.collect.scrape import Target
from app.ingest.collector import Collector, Sources
from app.kafka.admin import ensure
from app.kafka.broker import Broker, read_all
from app.kafka.embedded import Embedded
from app.kafka.local import LocalKafka
from topics.codec import decode
from topics.spec import Record, Topic
from topics.telemetry import EVENTS, HEARTBEATS, METRICS, Event, Heartbeat, Sample


@contextlib.contextmanager
def answering(text: str = "") -> Iterator[str]:
    """The address of an endpoint that counts how often it was asked, or has a text."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        asked = 0

        def do_GET(self) -> None:
            Handler.asked += 1
            body = text.encode() or f"# TYPE asked gauge\nasked {Handler.asked}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """The address of one that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/metrics"


def dead() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/metrics"


@contextlib.contextmanager
def collecting(broker: Broker, sources: Sources) -> Iterator[Collector]:
    collector, stop, left = Collector(broker, sources), threading.Event(), []
    thread = threading.Thread(target=lambda: left.append(collector.run(stop)))
    thread.start()
    try:
        yield collector
    finally:
        stop.set()
        thread.join(20)
    assert left == [0]


def until(condition: object, limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def records(broker: Broker, topic: Topic, entity: str = "") -> list[Record]:
    found = [decode(m).record for m in read_all(broker, [topic.name])]
    return [r for r in found if not entity or getattr(r, "entity", "") == entity]


def samples(broker: Broker, entity: str) -> list[Sample]:
    return [r for r in records(broker, METRICS, entity) if isinstance(r, Sample)]


def gaps_ms(broker: Broker, entity: str) -> list[int]:
    """Between the samples of an entity."""
    return [after.ts - before.ts for before, after in itertools.pairwise(samples(broker, entity))]


def test_an_endpoint_that_answers_one_that_hangs_and_one_that_is_dead_are_told_apart(embedded: Embedded) -> None:
    with answering() as well, hanging() as hung:
        targets = (Target("s/well/0", well), Target("s/hung/0", hung), Target("s/dead/0", dead()))
        sources = Sources("node", 0.1, host=False, targets=targets, start_s=0)
        with collecting(embedded.broker, sources):
            until(lambda: len(samples(embedded.broker, "s/hung/0")) >= 2)
    taken = "scrape_duration_seconds"
    assert samples(embedded.broker, "s/well/0")[-1].metrics.keys() == {"asked", "up", "up.refused", taken}
    assert {(s.metrics["up"], s.metrics["up.refused"]) for s in samples(embedded.broker, "s/well/0")} == {(1.0, 0.0)}
    for entity, refused in (("s/hung/0", 0), ("s/dead/0", 1)):
        for sample in samples(embedded.broker, entity):
            assert sample.metrics == {"up": 0, "up.refused": refused, taken: pytest.approx(0.2, abs=0.4)}


def test_a_target_with_many_series_is_bounded_in_parts_of_one_moment_and_told_once(
    embedded: Embedded,
) -> None:
    text = "".join(f'x{{i="{i}"}} 1\n' for i in range(2_500)) + "not a line\n"
    with answering(text) as url, capture_logs() as said:
        targets = (Target("s/wide/0", url),)
        with collecting(embedded.broker, Sources("node", 0.1, host=False, targets=targets, start_s=0)):
            until(lambda: len(samples(embedded.broker, "s/wide/0")) >= 6)
    parts = samples(embedded.broker, "s/wide/0")[:2]
    assert len({part.ts for part in parts}) == 1
    assert sum(len(part.metrics) for part in parts) == MAX_SERIES + 3, "with `up`, `up.refused` and the duration"
    assert parts[0].metrics["up"] == 1.0
    told = [line for line in said if line["log_level"] == "warning" and line.get("entity") == "s/wide/0"]
    assert [(line.get("left_out"), line.get("lines")) for line in told] == [(None, 1), (2_500 - MAX_SERIES, None)]


def test_a_target_that_hangs_delays_no_other_and_itself_by_no_more_than_its_timeout(embedded: Embedded) -> None:
    with answering() as well, hanging() as hung:
        targets = (Target("s/well/0", well), *(Target(f"s/hung/{i}", hung) for i in range(5)))
        with collecting(embedded.broker, Sources("node", 0.1, host=False, targets=targets, start_s=0)):
            until(lambda: len(samples(embedded.broker, "s/hung/0")) >= 3)
    gaps, slow = gaps_ms(embedded.broker, "s/well/0"), gaps_ms(embedded.broker, "s/hung/0")
    assert sorted(gaps)[len(gaps) // 2] < 150
    assert all(450 <= gap < 1_000 for gap in slow), slow


def test_nothing_is_said_of_a_target_that_is_still_starting_until_it_answers_or_its_time_is_up(
    embedded: Embedded,
) -> None:
    with answering() as well:
        targets = (Target("s/well/0", well), Target("s/late/0", dead()))
        with collecting(embedded.broker, Sources("node", 0.05, host=False, targets=targets, start_s=0.8)):
            began = now_ms()
            until(lambda: len(samples(embedded.broker, "s/late/0")) >= 2)
    assert samples(embedded.broker, "s/well/0")[0].ts - began < 500
    assert samples(embedded.broker, "s/late/0")[0].ts - began >= 700


def test_a_target_that_is_killed_between_two_scrapes_is_seen_as_dead_at_the_next(
    embedded: Embedded, tmp_path: Path
) -> None:
    (tmp_path / "metrics").write_text("a 1\n")
    url = dead()
    port = url.rpartition(":")[2].removesuffix("/metrics")
    command = [sys.executable, "-m", "http.server", "-p", "HTTP/1.1", "-b", "127.0.0.1", "-d", str(tmp_path), port]
    sources = Sources("node", 0.1, host=False, targets=(Target("s/a/0", url),))
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **silent) as server, collecting(embedded.broker, sources):
        until(lambda: any("a" in sample.metrics for sample in samples(embedded.broker, "s/a/0")))
        server.kill()
        server.wait()
        killed = now_ms()
        until(lambda: samples(embedded.broker, "s/a/0")[-1].ts > killed + 200)
    dead_sample = {"up": 0, "up.refused": 1, "scrape_duration_seconds": 0}
    after = [sample for sample in samples(embedded.broker, "s/a/0") if sample.ts > killed]
    assert all(sample.metrics | {"scrape_duration_seconds": 0} == dead_sample for sample in after)
    assert after[0].ts - killed < 300


def test_the_targets_file_is_followed_as_it_changes_and_a_torn_one_changes_nothing(
    embedded: Embedded, tmp_path: Path
) -> None:
    file = tmp_path / "targets.json"
    with answering() as url:
        sources = Sources("node", 0.05, host=False, targets_file=file)
        with collecting(embedded.broker, sources) as collector:
            file.write_bytes(msgspec.json.encode([Target("s/a/0", url), Target("s/b/0", url)]))
            until(lambda: samples(embedded.broker, "s/b/0"))
            file.write_bytes(b'[{"entity": "s/')
            time.sleep(0.2)
            assert len(collector._scrapes) == 2
            file.write_bytes(msgspec.json.encode([Target("s/a/0", url)]))
            until(lambda: len(collector._scrapes) == 1)


def test_events_are_published_from_the_start_of_their_file_and_bad_lines_counted(
    embedded: Embedded, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    events = [Event(entity="s/a", ts=n, kind="deploy", text=f"revision {n}", revision=str(n)) for n in range(3)]
    first, *more = (msgspec.json.encode(event) + b"\n" for event in events)
    file.write_bytes(first + b"not json\n")
    with collecting(embedded.broker, Sources("node", 0.05, host=False, events_file=file)) as collector:
        until(lambda: records(embedded.broker, EVENTS) == events[:1])
        with file.open("ab") as stream:
            stream.writelines(more)
        until(lambda: records(embedded.broker, EVENTS) == events)
        assert collector.bad_lines == 1


def test_the_node_beats_at_its_period_and_measures_itself(embedded: Embedded) -> None:
    with collecting(embedded.broker, Sources("web-1", 0.05)):
        until(lambda: len(records(embedded.broker, HEARTBEATS)) >= 5)
    beats = [r for r in records(embedded.broker, HEARTBEATS) if isinstance(r, Heartbeat)]
    assert [beat.seq for beat in beats] == list(range(len(beats)))
    assert {(beat.node, beat.period_ms) for beat in beats} == {("web-1", 50)}
    last = samples(embedded.broker, "web-1")[-1].metrics
    assert {"system.memory.utilization", "collector.pending", "collector.dropped.rate"} <= last.keys()


@pytest.mark.kafka
def test_what_was_measured_while_the_broker_was_away_arrives_when_it_is_back(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as kafka:
        ensure(kafka.broker)
        with answering() as url:
            sources = Sources("web-1", 0.1, targets=(Target("s/a/0", url),))
            with collecting(kafka.broker, sources) as collector:
                until(lambda: collector.outbox.sent > 30)
                kafka.kill(1)
                time.sleep(2)
                waiting = collector.outbox.pending
                kafka.start()
                until(lambda: collector.outbox.pending < 5, 20)
        asked = [sample.metrics["asked"] for sample in samples(kafka.broker, "s/a/0")]
        beats = sorted(r.seq for r in records(kafka.broker, HEARTBEATS) if isinstance(r, Heartbeat))
    print(f"{waiting} messages waited for the broker; {len(asked)} scrapes and {len(beats)} beats arrived, each once")
    assert waiting >= 20
    assert asked == [float(n + 1) for n in range(len(asked))]
    assert beats == list(range(len(beats)))
