"""`opsloop topics grow` as an operator types it: refused with what to do, done, done again, and told by the plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import run, until, worker

from app import pipeline
from app.client import Publisher
from app.clock import now_ms
from app.kafka.admin import connected, ensure
from app.kafka.broker import Broker, partition_of
from app.kafka.families import TELEMETRY, counts
from app.kafka.grow import Job, left_over
from app.kafka.local import LocalKafka
from app.kafka.settings import TopicsSettings
from app.kafka.split import LaneStates, lane_name
from app.runtime.drivers import client_config
from app.settings import Settings
from app.system import Parts
from topics.telemetry import METRICS, Sample

pytestmark = [pytest.mark.kafka, pytest.mark.flow, pytest.mark.timeout(300)]

ENTITIES = [f"shop/web/{number}" for number in range(16)]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Broker]:
    with LocalKafka(tmp_path / "kafka") as kafka:
        ensure(kafka.broker, settings=TopicsSettings(telemetry_partitions=2, loop_partitions=2))
        yield kafka.broker


def publish(broker: Broker, count: int) -> None:
    with Publisher(broker) as publisher:
        for number in range(count):
            for entity in ENTITIES:
                publisher.send(Sample(entity=entity, ts=now_ms() + number, metrics={"cpu": float(number % 7)}))


def unread(broker: Broker) -> list[object]:
    job = Job(broker, TELEMETRY, 4, pipeline.lane(), client_config(broker), print)
    with connected(broker) as client:
        return [*left_over(job, client, 2)]


def test_telemetry_grows_once_the_worker_has_read_everything_and_has_ended(small: Broker, tmp_path: Path) -> None:
    env = {"OPSLOOP_HOME": str(tmp_path / "home"), "OPSLOOP_TOPICS__LOOP_PARTITIONS": "2"}
    grow = ("topics", "grow", "telemetry", "4", "--broker", small.bootstrap)
    with worker("lane", small, env=env):
        publish(small, 20)
        refused = run(*grow, env=env)
        assert refused.process.returncode == 1
        assert "workers run: opsloop-lane (1)" in refused.told().replace("\n", " ")
        until(lambda: not unread(small))
    publish(small, 1)
    refused = run(*grow, env=env)
    assert (refused.process.returncode, counts(small)[METRICS.name]) == (1, 2)
    assert f"of {METRICS.name}-" in refused.told()
    with worker("lane", small, env=env):
        until(lambda: not unread(small))
    until(lambda: run(*grow, "--json", env=env).process.returncode == 0)
    assert counts(small)[METRICS.name] == 4
    states, name = LaneStates(client_config(small), range(4)), lane_name(pipeline.stages("lane", Parts(Settings())))
    for partition in range(4):
        assert name in states.names(partition) or not any(partition_of(e.encode(), 4) == partition for e in ENTITIES)
    again = run(*grow, env=env)
    assert (again.process.returncode, "Nothing to do" in again.told()) == (0, True)
    plan = ("topics", "plan", "--broker", small.bootstrap)
    told = run(*plan, "--json", env=env)
    assert told.process.returncode == 1
    differs = {row["topic"]: row["do"] for row in json.loads("".join(told.out))}
    assert differs[METRICS.name] == "grow", "the settings say 6"
    assert run(*plan, env=env | {"OPSLOOP_TOPICS__TELEMETRY_PARTITIONS": "4"}).process.returncode == 0
    with worker("lane", small, env=env):
        publish(small, 5)


def test_a_family_that_does_not_exist_is_refused_with_those_that_do(small: Broker) -> None:
    refused = run("topics", "grow", "everything", "4", "--broker", small.bootstrap)
    assert refused.process.returncode == 2
    assert "telemetry, loop" in refused.told()
