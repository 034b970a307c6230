"""What breaks things in drills does break them: every fault injector by itself."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from agents.decode import Decode, chunk_of
from app.clock import now_ms
from app.drills import history
from app.drills.clock import Clock
from app.drills.disk import SmallDisk
from app.drills.feed import classes, harmless
from app.drills.history import _reordered
from app.drills.load import ENTITIES, STEP_MS, Load
from app.drills.processes import WorkerProcess
from app.drills.proxy import Proxy, Way
from app.drills.report import Report
from app.drills.soak import judge
from app.kafka.broker import Broker, probe
from app.kafka.local import LocalKafka
from topics.codec import DeadLetter
from topics.spec import Raw
from topics.telemetry import METRICS

pytestmark = pytest.mark.drill


@pytest.mark.kafka
def test_a_worker_is_paused_resumed_and_killed(broker: Broker, tmp_path: Path) -> None:
    worker = WorkerProcess("lane", broker, tmp_path)
    worker.await_ready()
    process = psutil.Process(worker.process.pid)
    worker.pause()
    for _ in range(100):
        if process.status() == psutil.STATUS_STOPPED:
            break
        time.sleep(0.02)
    assert process.status() == psutil.STATUS_STOPPED
    worker.resume()
    assert process.status() != psutil.STATUS_STOPPED
    worker.kill()
    assert not worker.alive
    assert worker.process.returncode == -9


@pytest.mark.kafka
def test_a_killed_broker_answers_nobody_until_it_is_started_again(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as kafka:
        kafka.kill(1)
        assert probe(kafka.broker, 1)
        kafka.start()
        assert probe(kafka.broker, 5) is None


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_wall_clock_of_a_process_moves_while_it_runs_and_its_monotonic_clock_does_not(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    script = "import time\nwhile input(): print(time.time(), time.monotonic(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clock.environment
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for offset in (0.0, 7200.0, -7200.0):
            clock.set(offset)
            child.stdin.write("x\n")
            child.stdin.flush()
            wall, monotonic = map(float, child.stdout.readline().split())
            assert abs(wall - time.time() - offset) < 1.0
            assert abs(monotonic - time.monotonic()) < 1.0
        child.stdin.write("\n")


def test_a_report_without_violations_gives_the_bound_and_not_never() -> None:
    report = Report("d", "I1", 1, trials=50)
    assert report.row()["bound95"] == 0.06
    report.recoveries = [3.0, 1.0]
    assert report.row()["recovery_p95_s"] == 3.0
    report.check(False, "lost one")
    assert report.row()["violations"] == 1
    assert report.bound > 0.06


class _Echo(socketserver.BaseRequestHandler):
    seen = b""

    def handle(self) -> None:
        while piece := self.request.recv(1024):
            type(self).seen += piece
            self.request.sendall(piece)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy before a server that answers what it is told."""
    _Echo.seen = b""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = Proxy(server.server_address[1])
        yield made
        made.close()
        server.shutdown()


def said(client: socket.socket, word: bytes, wait_s: float = 0.5) -> bytes | None:
    """The answer; None when there is none in time; empty when the connection is over."""
    client.settimeout(wait_s)
    try:
        client.sendall(word)
        return client.recv(1024)
    except TimeoutError:
        return None
    except OSError:
        return b""


def test_the_proxy_passes_holds_slows_and_cuts_and_opens_again(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        assert said(client, b"one") == b"one"
        proxy.set(Way.SLOW)
        began = time.monotonic()
        assert said(client, b"two", 3) == b"two"
        assert time.monotonic() - began > 0.35
        proxy.set(Way.SILENT)
        assert said(client, b"three") is None
        proxy.set(Way.OPEN)
        client.settimeout(3)
        assert client.recv(1024) == b"three"
        proxy.set(Way.CUT)
        assert said(client, b"four") == b""
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        assert said(client, b"five") == b""
    proxy.set(Way.OPEN)
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        assert said(client, b"six") == b"six"


def test_the_proxy_loses_replies_to_requests_that_arrived(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        assert said(client, b"one") == b"one"
        proxy.set(Way.REPLY_LOST)
        assert said(client, b"two") is None
        assert _Echo.seen == b"onetwo"
        proxy.set(Way.OPEN)
        assert said(client, b"three") == b""


def test_an_untidy_load_repeats_a_tenth_and_delays_a_tenth_by_up_to_half_a_minute() -> None:
    load = Load(Broker("127.0.0.1:1"), 7, untidy=True)
    delays = [load._delays() for _ in range(20_000)]
    assert 0.08 < sum(len(each) == 2 for each in delays) / len(delays) < 0.12
    assert 0.08 < sum(each[0] > 0 for each in delays) / len(delays) < 0.12
    assert 25_000 < max(map(max, delays)) * STEP_MS / ENTITIES < 30_000


def sent_by(load: Load, samples: int, monkeypatch: pytest.MonkeyPatch) -> list[Raw]:
    """The log of one partition that has all of it, at the rate of the load."""
    log: list[Raw] = []

    def produce(key: bytes, value: bytes, *_: object) -> None:
        arrived = 1_795_000_000_000 + int(load._count / load.rate * 1000)
        log.append(Raw(METRICS.name, 0, len(log), key, value, (), arrived))

    monkeypatch.setattr(load, "_produce", produce)
    for _ in range(samples):
        load._send()
    return log


def test_an_untidy_load_is_learned_as_a_tidy_one_and_what_is_left_out_or_learned_twice_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = sent_by(Load(Broker("127.0.0.1:1"), 7, untidy=True), 12_000, monkeypatch)
    report = Report("one", "I19", 1)
    tidy = list(history.newer(log, report))
    assert report.figures["late_or_repeated"] > 1_000
    straight, other = history.run(log, 0), history.run(tidy, 0)
    assert (straight.said, straight.learned, straight.then) == (other.said, other.learned, other.then)
    assert len(straight.said) > 20
    assert len(straight.then[0]) > ENTITIES, "the next samples are news of every entity"
    short = history.run(tidy[:-500] + tidy[-499:], 0)
    assert (short.learned == straight.learned, short.then == straight.then) == (False, False)
    twice = json.loads(tidy[-500].value or b"")
    value = json.dumps(twice | {"ts": twice["ts"] + 1}).encode()
    again = Raw(METRICS.name, 0, len(log), tidy[-500].key, value, (), tidy[-500].arrived)
    double = history.run([*tidy[:-499], again, *tidy[-499:]], 0)
    assert (double.learned == straight.learned, double.then == straight.then) == (False, False)


def test_every_class_of_poison_is_refused_by_the_decoder_and_what_is_harmless_is_not() -> None:
    for name, key, value, causes in classes(0):
        raw = Raw("opsloop.telemetry.metrics", 0, 0, key, value, (), now_ms())
        letters = [said for said in Decode().step(chunk_of([raw]), 0) if isinstance(said, DeadLetter)]
        assert [letter.cause.value for letter in letters if letter.cause.value in causes], f"{name}: {letters}"
    for name, value in harmless(0):
        (said,) = Decode().step(chunk_of([Raw("opsloop.telemetry.metrics", 0, 0, b"k", value, (), now_ms())]), 0)
        assert not isinstance(said, DeadLetter), name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_small_disk_is_full_and_has_room_again(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", 64 * 1024) as disk:
        assert not disk.is_full()
        disk.fill(0)
        assert disk.is_full()
        disk.fill(8_192)
        assert not disk.is_full()
        disk.free()
        assert not disk.is_full()
    assert not (tmp_path / "disk" / "ballast").exists()


def test_what_is_lost_reordered_or_of_nobody_is_told() -> None:
    assert _reordered({"a": [1, 2, 3], "b": [1, 3, 2]}) == {2}
    assert _reordered({"a": [1, 2, 2, 3]}) == set()


def test_growth_is_told_from_noise() -> None:
    noise = random.Random(3)
    flat = [(float(at), 150 + noise.gauss(0, 1)) for at in range(600)]
    report = Report("soak", "I13", 1)
    judge("lane_memory_mb", flat, report)
    assert report.violations == 0, report.findings
    judge("lane_memory_mb", [(at, value + at / 100) for at, value in flat], report)  # 36 MB an hour
    assert report.violations == 1
    assert 30 < report.figures["lane_memory_mb_per_h"] < 42


@pytest.mark.parametrize(("resent", "violations"), [(False, 1), (True, 0)])
def test_a_record_twice_on_the_log_is_a_violation_where_only_workers_were_broken(
    resent: bool, violations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Counter({"sample 0": 2, "probe 0": 1})
    monkeypatch.setattr(history, "_log", lambda _: (kept, {"a": [0]}))
    load = SimpleNamespace(acked=set(kept), sent=Counter(kept.keys()), untidy=False)
    probes = SimpleNamespace(seen=Counter(["probe 0"]), order={0: [0]})
    report = Report("one", "I1", 1)
    history.check_transport(Broker("nowhere"), load, probes, report, resent=resent)  # type: ignore[arg-type]
    assert (report.violations, report.figures["duplicated"]) == (violations, 1)
