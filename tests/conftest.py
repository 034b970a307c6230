"""Brokers for tests: a real Kafka for what is promised about delivery, the in-memory cluster for quick ones."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog
import typer.main
import typer.testing
from confluent_kafka.admin import NewTopic
from hypothesis import settings

import topics.spec
from app.kafka.admin import ensure
from app.kafka.broker import Broker, admin
from app.kafka.embedded import Embedded
from app.kafka.local import LocalKafka
from topics.catalog import ALL

ON_CI: Final = os.environ.get("CI") == "true"
settings.register_profile("ci", derandomize=True, deadline=None)  # what is new is found by people, not by CI
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if ON_CI else "local")

# what tests import and start is compiled once, also where Python is told to keep nothing: half of the time otherwise
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# a line that a test types needs the same tree of eighty commands, which typer would make anew for each
typer.main.get_command = typer.testing._get_command = functools.cache(typer.main.get_command)

NewTopicFactory = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What lies in flow/, drills/ and bench/ has the marker of its folder."""
    marks = {"flow": pytest.mark.flow, "drills": pytest.mark.drill, "bench": pytest.mark.bench}
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in marks:
            item.add_marker(marks[folder])
        if folder == "flow" and ON_CI:  # a machine that others use may be slow for a moment
            item.add_marker(pytest.mark.flaky(reruns=2))
        elif folder == "drills" and ON_CI:  # a wait that ran out is tried again, a broken promise never is
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=["not within", "TimeoutExpired"]))


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for each test: keys, the running site and the kill switch are kept there."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("OPSLOOP_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def domains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever domains a test sets, for itself or by settings, the next one begins without."""
    monkeypatch.setattr(topics.spec, "_domains", None)
    monkeypatch.setenv("OPSLOOP_INCIDENTS__DOMAINS", "{}")  # so that it is taken away after the test
    del os.environ["OPSLOOP_INCIDENTS__DOMAINS"]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that sets up logging does so for its own process, which here is everybody's."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


@contextlib.contextmanager
def _one_node(folder: Path) -> Iterator[Broker]:
    """A real Kafka of one node with the catalogue's topics."""
    with LocalKafka(folder) as kafka:
        ensure(kafka.broker)
        yield kafka.broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Kafka with the catalogue's topics, one a session: use entities and groups of your own."""
    with _one_node(tmp_path_factory.mktemp("kafka")) as started:
        yield started


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Broker]:
    """A real Kafka like `broker` for one test alone: no worker of another test reads it, or runs a verb there."""
    with _one_node(tmp_path / "kafka") as started:
        yield started


@pytest.fixture
def embedded() -> Iterator[Embedded]:
    """An in-memory cluster with the catalogue's topics and their dead-letter topics, new for each test."""
    topics = {topic.name: topic.partitions for topic in ALL} | {topic.dlq: 1 for topic in ALL}
    with Embedded.start(topics) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def new_topic(broker: Broker) -> NewTopicFactory:
    """Creates a topic that nobody else uses on the real Kafka: `new_topic(partitions=1, **config) -> name`."""
    numbers = itertools.count()
    client = admin(broker)

    def create(partitions: int = 1, config: dict[str, str] | None = None) -> str:
        name = f"test.{next(numbers)}"
        client.create_topics([NewTopic(name, partitions, 1, config=config or {})])[name].result(15)
        return name

    return create


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes are named by their argument: what is in them may be another at each collection, such as a time."""
    return argname if isinstance(val, bytes) else None
