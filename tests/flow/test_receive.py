"""`opsloop receive` as a process on a real Kafka, with the real programs that post to it, as docs/ingest.md says."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from processes import Opsloop, opsloop, run, until, worker
from programs import binary, block, learned, port, running

from app.clock import now_ms
from app.history.dead_letters import letters, replay
from app.kafka.admin import ensure
from app.kafka.broker import Broker, read_all
from app.kafka.embedded import Embedded
from app.kafka.local import LocalKafka
from tests.flow.test_serve import certificate
from topics.codec import decode
from topics.spec import Raw
from topics.telemetry import EVENTS, METRICS, Event, Sample

pytestmark = pytest.mark.timeout(300)
__all__ = ["certificate"]  # the fixture
DOCUMENTED = "http://127.0.0.1:9464"
_numbers = itertools.count()


@contextlib.contextmanager
def receiver(broker: Broker, *arguments: str, listen: str = "127.0.0.1:0") -> Iterator[tuple[Opsloop, str]]:
    """A receiver that is ready, and its address."""
    with opsloop("receive", "--broker", broker.bootstrap, "--listen", listen, *arguments) as process:
        process.wait_for("receiving on")
        yield process, next(line for line in process.err if "receiving on" in line).split()[-1]


def samples(broker: Broker, entity: str) -> list[tuple[Raw, Sample]]:
    found = ((raw, decode(raw).record) for raw in read_all(broker, [METRICS.name], key=entity.encode()))
    return [(raw, record) for raw, record in found if isinstance(record, Sample) and record.entity == entity]


def metrics(broker: Broker, entity: str) -> dict[str, float]:
    """Every metric of an entity with its last value."""
    return {name: value for _, sample in samples(broker, entity) for name, value in sample.metrics.items()}


def events(broker: Broker, entity: str) -> list[Event]:
    found = (decode(raw).record for raw in read_all(broker, [EVENTS.name]))
    return [record for record in found if isinstance(record, Event) and record.entity == entity]


def post(url: str, body: Any, **headers: str) -> int:
    """The status of a request; 0: there was no answer."""
    given = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, json.dumps(body).encode(), given)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def up(measured: Mapping[str, float]) -> list[float]:
    """The values of `up`, whatever its labels are."""
    return [value for series, value in measured.items() if series.startswith("up{")]


def name() -> str:
    return f"posted{next(_numbers)}-{now_ms() % 1_000_000}"


def prometheus_yml(folder: Path, remote_write: str, address: str, entity: str) -> tuple[str, ...]:
    """The options of a Prometheus that scrapes itself under the name of an entity, and writes as the page says."""
    where = f"127.0.0.1:{port()}"
    assert DOCUMENTED in remote_write
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: prometheus\n    static_configs:\n"
        f"      - targets: ['{where}']\n        labels: {{host: '{entity}'}}\n"
        + remote_write.replace(DOCUMENTED, address)
    )  # fmt: skip
    return (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address={where}")  # fmt: skip


# --- the real programs ------------------------------------------------------------------------------------------------


@pytest.mark.kafka
def test_prometheus_writes_with_one_line_and_loses_nothing_while_the_receiver_is_away(
    broker: Broker, tmp_path: Path
) -> None:
    program, entity, where = binary("prometheus"), name(), f"127.0.0.1:{port()}"
    line = block("prometheus")
    assert line.count("\n") == 1, "one line in prometheus.yml"
    options = prometheus_yml(tmp_path, line, f"http://{where}", entity)

    def scraped() -> list[int]:
        return sorted(s.ts for _, s in samples(broker, entity) if up(s.metrics))

    with worker("lane", broker), running(tmp_path, program, *options) as said:
        with receiver(broker, listen=where) as (first, _):
            until(lambda: len(scraped()) >= 5, 60, said.read_text)
            first.process.terminate()
            assert first.finish(30) in (0, -signal.SIGTERM), first.told()
        before = now_ms()
        until(lambda: now_ms() > before + 4_000, 10)
        with receiver(broker, listen=where):
            until(lambda: scraped()[-1] > before + 6_000, 90, said.read_text)
            found = sorted({*scraped()})
            until(learned(broker, samples(broker, entity)[-1][0]), 60)
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert max(gaps) < 1_900, f"a scrape was lost: {gaps}"
    sent = [raw for raw, _ in samples(broker, entity)]
    assert len({raw.partition for raw in sent}) == 1
    assert up(metrics(broker, entity)) == [1.0]
    refused = {letter.origin for letter in letters(broker, [METRICS])}
    assert not refused & {str(raw.origin) for raw in sent}, "the lane reads all of it"
    assert not [origin for origin in refused if origin.startswith("http:/api/v1/write")]


@pytest.mark.kafka
def test_prometheus_3_writes_version_2_over_tls_with_a_token(
    broker: Broker, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    program, entity = binary("prometheus3"), name()
    token = tmp_path / "receive.token"
    token.write_text("0123456789abcdef0123456789abcdef\n")
    cert, key = map(str, certificate)
    with receiver(broker, "--token-file", str(token), "--cert", cert, "--key", key) as (process, address):
        assert address.startswith("https://")
        written = block("prometheus3").rstrip() + f"\n    tls_config: {{ca_file: '{cert}'}}\n"
        options = prometheus_yml(tmp_path, written, address, entity)
        with running(tmp_path, program, *options) as said:
            until(lambda: up(metrics(broker, entity)), 60, said.read_text)
            words = said.read_text()
        page = read(f"{address}/metrics", cert, token.read_text().strip())
        assert re.search(r'opsloop_received_requests_total{route="/api/v1/write",status="204"} [1-9]', page), page
        assert 'status="4' not in page, process.told()
    assert "non-recoverable" not in words


def read(url: str, cert: str, token: str) -> str:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10, context=ssl.create_default_context(cafile=cert)) as answer:
        return str(answer.read().decode())


@pytest.mark.kafka
def test_alertmanager_tells_of_alerts_that_fire_and_are_over(broker: Broker, tmp_path: Path) -> None:
    program, entity, where = binary("prometheus-alertmanager"), name(), f"127.0.0.1:{port()}"
    with receiver(broker) as (_, address):
        (tmp_path / "am.yml").write_text(
            "route: {receiver: opsloop, group_wait: 1s, group_interval: 1s}\n"
            + block("alertmanager").replace(DOCUMENTED, address)
        )
        options = (f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/am", "--cluster.listen-address=",
                   f"--web.listen-address={where}")  # fmt: skip
        alert: dict[str, Any] = {
            "labels": {"alertname": "Slow", "instance": entity, "severity": "page"},
            "annotations": {"summary": "p99 is high"}, "startsAt": "2026-11-20T10:00:00Z",
        }  # fmt: skip
        with running(tmp_path, program, *options) as said:
            until(lambda: post(f"http://{where}/api/v2/alerts", [alert]) == 200, 30, said.read_text)
            until(lambda: events(broker, entity), 30, said.read_text)
            over = alert | {"endsAt": "2026-11-20T11:00:00Z"}
            assert post(f"http://{where}/api/v2/alerts", [over]) == 200
            until(lambda: len({e.text for e in events(broker, entity)}) == 2, 30, said.read_text)
    told = {(event.kind, event.ts, event.text) for event in events(broker, entity)}
    assert told == {
        ("alert", 1_795_168_800_000, "firing Slow (page): p99 is high"),
        ("alert", 1_795_172_400_000, "resolved Slow (page): p99 is high"),
    }


@pytest.mark.kafka
@pytest.mark.parametrize("encoding", ["proto", "json"])
def test_the_collector_exports_metrics_and_logs(broker: Broker, tmp_path: Path, encoding: str) -> None:
    program, entity, where = binary("otelcol"), name(), f"127.0.0.1:{port()}"
    with receiver(broker) as (_, address):
        (tmp_path / "otel.yml").write_text(
            "receivers:\n  hostmetrics: {collection_interval: 1s, scrapers: {memory: {}, load: {}}}\n"
            f"  otlp: {{protocols: {{http: {{endpoint: '{where}'}}}}}}\n"
            + block("otelcol").replace(DOCUMENTED, address) + f"    encoding: {encoding}\n"
            + "service:\n  telemetry: {metrics: {level: none}}\n  pipelines:\n"
            "    metrics: {receivers: [hostmetrics, otlp], exporters: [otlphttp]}\n"
            "    logs: {receivers: [otlp], exporters: [otlphttp]}\n"
        )  # fmt: skip
        resource = {"attributes": [{"key": "host.name", "value": {"stringValue": entity}}]}
        record = {"timeUnixNano": f"{now_ms()}000000", "severityNumber": 17, "body": {"stringValue": "disk full"}}
        point = {"timeUnixNano": f"{now_ms()}000000", "asDouble": 0.25}
        logs = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}
        metric = {"name": "queue.length", "gauge": {"dataPoints": [point]}}
        gauges = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}
        with running(tmp_path, program, "--config", f"file:{tmp_path}/otel.yml") as said:
            until(lambda: post(f"http://{where}/v1/logs", logs) == 200, 30, said.read_text)
            assert post(f"http://{where}/v1/metrics", gauges) == 200
            until(lambda: events(broker, entity) and samples(broker, entity), 30, said.read_text)
            until(lambda: 'system.memory.usage{state="used"}' in metrics(broker, "unknown"), 30, said.read_text)
    assert [event.text for event in events(broker, entity)] == ["err: disk full"]
    assert metrics(broker, entity) == {"queue.length": 0.25}


@pytest.mark.kafka
def test_telegraf_writes_lines(broker: Broker, tmp_path: Path) -> None:
    program, entity = binary("telegraf"), name()
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef")
    with receiver(broker, "--token-file", str(tmp_path / "token")) as (_, address):
        output = block("telegraf_http").replace(DOCUMENTED, address)
        (tmp_path / "t.conf").write_text(
            f'[agent]\n  interval = "1s"\n  flush_interval = "1s"\n  hostname = "{entity}"\n'
            "  skip_processors_after_aggregators = true\n[[inputs.mem]]\n"
            + output.replace('"TOKEN"', '"0123456789abcdef0123456789abcdef"')
        )
        options = ("--config", str(tmp_path / "t.conf"))
        tried = subprocess.run([program, *options, "--test"], capture_output=True, text=True, check=False, timeout=60)
        if "undefined" in tried.stderr:
            pytest.skip("this telegraf has no outputs.influxdb_v2: make real-parts")
        with running(tmp_path, program, *options) as said:
            until(lambda: "system.memory.usage" in metrics(broker, entity), 60, said.read_text)


# --- what is promised about delivery ----------------------------------------------------------------------------------


@pytest.mark.kafka
def test_what_was_acknowledged_is_there_though_the_receiver_is_stopped_and_killed(broker: Broker) -> None:
    entity = name()
    acknowledged: set[int] = set()
    numbers = itertools.count(now_ms() - 500_000)

    def write(address: str, stop: threading.Event) -> None:
        while not stop.is_set():
            ts = next(numbers)
            if post(f"{address}/telemetry", {"entity": entity, "ts": ts, "metrics": {"x": 1}}) == 204:
                acknowledged.add(ts)

    for ends, code in ((signal.SIGTERM, (0, -signal.SIGTERM)), (signal.SIGKILL, (-signal.SIGKILL,))):
        before = len(acknowledged)
        with receiver(broker) as (process, address):
            stop = threading.Event()
            writers = [threading.Thread(target=write, args=(address, stop)) for _ in range(4)]
            for writer in writers:
                writer.start()
            until(lambda: len(acknowledged) > before + 100, 60)  # noqa: B023
            process.process.send_signal(ends)
            assert process.finish(30) in code, process.told()
            stop.set()
            for writer in writers:
                writer.join(30)
            assert "Traceback" not in process.told()
    found = {sample.ts for _, sample in samples(broker, entity)}
    assert acknowledged <= found


@pytest.mark.kafka
def test_a_value_that_was_refused_can_be_sent_again_and_goes_where_its_entity_is(broker: Broker) -> None:
    entity, ahead = name(), now_ms() + 3_600_000
    with receiver(broker) as (_, address):
        assert post(f"{address}/telemetry", {"entity": entity, "metrics": {"x": 1}}) == 204
        assert post(f"{address}/telemetry", {"entity": entity, "ts": ahead, "metrics": {"x": 2}}) == 400
    (letter,) = [each for each in letters(broker, [METRICS]) if each.detail.startswith(str(ahead))]
    assert (letter.cause, letter.origin.partition("-")[0]) == ("timestamp", "http:/telemetry")
    assert replay(broker, [letter]).sent == [letter]
    (first, _), (again, sample) = samples(broker, entity)
    assert (again.partition, again.key, sample.ts) == (first.partition, first.key, ahead)


@pytest.mark.kafka
def test_nothing_is_acknowledged_while_the_broker_stands_still_and_senders_are_asked_to_wait(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "kafka") as kafka:
        done = run("receive", "--broker", kafka.bootstrap, "--listen", "127.0.0.1:0")
        assert done.process.returncode == 2
        assert f"there is no topic {METRICS.name}. Create the topics with `opsloop topics apply`" in done.told()
        ensure(kafka.broker)
        env = {"OPSLOOP_RECEIVE__LAG_S": "1", "OPSLOOP_RECEIVE__DELIVER_S": "20"}
        command = ("receive", "--broker", kafka.bootstrap, "--listen", "127.0.0.1:0")
        with opsloop(*command, env=env) as process:
            process.wait_for("receiving on")
            address = next(line for line in process.err if "receiving on" in line).split()[-1]
            item = {"entity": "a", "metrics": {"x": 1}}
            assert post(f"{address}/telemetry", item) == 204
            kafka.kill(kafka.nodes[0].id, signal.SIGSTOP)
            answers: list[int] = []
            first = threading.Thread(target=lambda: answers.append(post(f"{address}/telemetry", item)))
            first.start()
            until(lambda: post(f"{address}/events", []) == 429, 20)
            assert post(f"{address}/alertmanager", {"alerts": []}) == 503
            assert answers == []
            kafka.kill(kafka.nodes[0].id, signal.SIGCONT)
            first.join(30)
            assert answers == [204]
            until(lambda: post(f"{address}/telemetry", item) == 204, 30)
            assert len(samples(kafka.broker, "a")) == 3
            kafka.kill(kafka.nodes[0].id, signal.SIGSTOP)
            last = threading.Thread(target=lambda: answers.append(post(f"{address}/telemetry", item)))
            last.start()
            until(lambda: post(f"{address}/events", []) == 429, 20)
            process.process.terminate()
            until(lambda: post(f"{address}/events", []) == 0, 20)
            kafka.kill(kafka.nodes[0].id, signal.SIGCONT)
            assert process.finish(30) in (0, -signal.SIGTERM), process.told()
            last.join(30)
            assert answers == [204, 204], "what was accepted is finished"
            assert len(samples(kafka.broker, "a")) == 4


# --- what it refuses to do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--listen", "0.0.0.0:0"), "anybody could post there. Give --token-file"),
        (("--listen", "[::]:0", "--token-file", "TOKEN"), "readable on the way. Give --cert and --key, or --behind"),
        (("--listen", "0.0.0.0:0", "--token-file", "SHORT"), "less than 16 characters. Make one: openssl rand -hex 32"),
        (("--token-file", "EMPTY"), "there is no token in it. Make one"),
        (("--token-file", "/nowhere"), "cannot be read (No such file or directory)"),
        (("--listen", "9464"), "'9464' is no address to listen on. Write host:port"),
        (("--listen", "::1:9464"), "is no address to listen on"),
        (("--listen", "127.0.0.1:99999"), "is no address to listen on"),
        (("--cert", "a.pem"), "Give both --cert and --key"),
        (("--listen", "127.0.0.1:0", "--cert", "/nowhere.pem", "--key", "/nowhere.pem"), "certificate cannot be used"),
        (("--listen", "192.0.2.1:1", "--token-file", "TOKEN", "--behind-proxy"), "Choose another --listen"),
    ],
)
def test_what_it_cannot_do_safely_it_does_not(
    embedded: Embedded, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    files = {"TOKEN": "0123456789abcdef", "SHORT": "0123456789abcde", "EMPTY": " \n"}
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    given = [str(tmp_path / argument) if argument in files else argument for argument in arguments]
    done = run("receive", "--broker", embedded.bootstrap, *given)
    assert done.process.returncode == 2
    assert words in done.told()
    assert "Traceback" not in done.told()


def test_behind_a_proxy_it_listens_on_any_address_with_a_token(embedded: Embedded, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    options = ("--token-file", str(tmp_path / "token"), "--behind-proxy")
    with receiver(embedded.broker, *options, listen="0.0.0.0:0") as (_, address):
        url = address.replace("0.0.0.0", "127.0.0.1") + "/telemetry"
        assert post(url, []) == 401
        assert post(url, [], authorization="Bearer 0123456789abcdef") == 204
