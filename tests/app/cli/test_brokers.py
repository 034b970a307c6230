"""The commands around the broker, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from app.cli import collect, doctor, kafka, publish, topics, watch
from app.errors import UserError
from app.kafka.broker import Broker, read_all
from app.kafka.embedded import Embedded
from app.kafka.remembered import NAME
from topics.telemetry import METRICS


def run(*arguments: str, input: str | None = None) -> Result:
    app = typer.Typer()
    for module in (kafka, topics, collect, publish, watch, doctor):
        module.register(app)
    return CliRunner().invoke(app, list(arguments), input=input)


def failure(*arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


@pytest.mark.parametrize(
    "command", [("topics", "plan"), ("topics", "apply"), ("collect",), ("watch", "incidents"), ("publish", __file__)]
)
def test_without_a_broker_every_command_says_how_to_get_one(command: tuple[str, ...]) -> None:
    extra = ("--format", "csv") if command[0] == "publish" else ()
    assert "Start one with `opsloop kafka up`" in failure(*command, *extra, "--broker", "127.0.0.1:1")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("watch", "nothing"), "there is no topic 'nothing'; there are: telemetry.metrics"),
        (("publish", "x.csv", "--topic", "nothing"), "there is no topic 'nothing'"),
        (("collect", "--scrape", "ftp://x"), "is not a target"),
    ],
)
def test_a_slip_is_answered_with_what_is_possible(command: tuple[str, ...], said: str) -> None:
    assert said in failure(*command)


def test_what_is_published_from_a_table_is_watched_as_json(embedded: Embedded, tmp_path: Path) -> None:
    table = tmp_path / "cpu.csv"
    table.write_text("ts,cpu\n1767225600,0.5\nbroken,1\n1767225601,0.75\n")
    address = ("--broker", embedded.bootstrap)
    published = run("publish", str(table), "--entity", "web-1", *address)
    assert published.exit_code == 1
    assert "line 3" in published.output
    assert len(list(read_all(embedded.broker, [METRICS.name]))) == 2
    watched = run("watch", "telemetry.metrics", "--from-start", "--json", "--count", "2", *address)
    seen = [json.loads(each)["record"]["metrics"] for each in watched.stdout.splitlines()]
    assert seen == [{"cpu": 0.5}, {"cpu": 0.75}]


def test_samples_are_published_from_standard_input(embedded: Embedded) -> None:
    result = run(
        "publish", "-", "--format", "jsonl", "--broker", embedded.bootstrap,
        input='{"entity":"a","ts":1,"metrics":{"x":1}}\n',
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "records published: 1" in result.output


def test_the_catalogue_is_listed_and_exported(tmp_path: Path) -> None:
    listed = json.loads(run("topics", "list", "--json").stdout)
    assert listed[0]["topic"] == METRICS.name
    file = tmp_path / "topics.json"
    assert run("topics", "export", "--asyncapi", str(file)).exit_code == 0
    assert json.loads(file.read_text())["asyncapi"] == "3.0.0"


def test_the_doctor_names_what_failed_and_its_remedy() -> None:
    result = run("doctor", "--json", "--broker", "127.0.0.1:1")
    assert result.exit_code == 1
    failed = [finding for finding in json.loads(result.stdout) if finding["state"] == "failed"]
    assert [(f["what"], f["detail"]) for f in failed] == [("broker", "127.0.0.1:1: connection refused")]
    assert "opsloop kafka up" in failed[0]["remedy"]


@pytest.mark.kafka
def test_the_doctor_finds_nothing_wrong_with_a_broker_that_has_the_catalogue(own: Broker) -> None:
    result = run("doctor", "--json", "--broker", own.bootstrap)
    findings = {finding["what"]: finding for finding in json.loads(result.stdout)}
    assert result.exit_code == 0, findings
    assert findings["clock"]["state"] == "ok"
    assert "Kafka 4.1" in findings["broker"]["detail"]


@pytest.mark.kafka
def test_a_plan_tells_by_its_exit_code_whether_there_is_something_to_do(broker: Broker) -> None:
    result = run("topics", "plan", "--json", "--broker", broker.bootstrap)
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
    assert run("topics", "apply", "--broker", broker.bootstrap).exit_code == 0


@pytest.mark.kafka
def test_kafka_goes_up_is_seen_and_goes_down(tmp_path: Path, home: Path) -> None:
    remembered_file = home / NAME
    folder = ("--folder", str(tmp_path / "kafka"))
    assert run("kafka", "status", *folder).exit_code == 1
    started = run("kafka", "up", "--port", "19392", *folder)
    try:
        assert started.exit_code == 0, started.output
        assert "export OPSLOOP_BROKER=127.0.0.1:19392" in started.stdout
        assert [row["state"] for row in json.loads(run("kafka", "status", "--json", *folder).stdout)] == ["running"]
        assert "in use" in failure("kafka", "up", "--port", "19392", "--folder", str(tmp_path / "other"))
        assert run("topics", "plan").exit_code == 1, "it is remembered"
        remembered_file.unlink()
        said = failure("topics", "apply", "--broker", "127.0.0.1:19392")
        assert "at 127.0.0.1:19392 (1 node, 0 other topics) has no topic of Opsloop's, and" in said
        assert "--yes" in said
        assert run("topics", "plan", "--broker", "127.0.0.1:19392").exit_code == 1, "nothing was made"
        assert run("topics", "apply", "--yes", "--broker", "127.0.0.1:19392").exit_code == 0
        assert run("topics", "apply", "--broker", "127.0.0.1:19392").exit_code == 0, "it has ours now"
    finally:
        assert run("kafka", "down", "--delete", *folder).exit_code == 0
    assert not (tmp_path / "kafka").exists()


def test_without_java_kafka_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install -y openjdk-17-jre-headless maven" in failure("kafka", "up", "--folder", str(tmp_path / "k"))
