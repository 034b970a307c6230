"""A worker process: its roles start together and end together, whatever keeps one of them from starting."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import UserError
from app.kafka.embedded import Embedded
from app.kafka.families import LOOP
from app.runtime.workers import DriverGroup
from tests.processes import Opsloop, opsloop, until
from topics.state import LANE_STATE


class Fake:
    """A driver that runs until it is stopped, or fails at once."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.runs, self.stopped = threading.Event(), threading.Event()

    def run(self, ready: Callable[[], None]) -> None:
        ready()
        self.runs.set()
        if self.failure:
            raise self.failure
        self.stopped.wait(20)

    def stop(self) -> None:
        self.stopped.set()


def test_a_worker_is_ready_once_when_all_its_roles_are() -> None:
    told: list[str] = []
    group = DriverGroup(lambda: told.append("ready"))
    one, other = Fake(), Fake()

    def end() -> None:
        one.runs.wait(10)
        other.runs.wait(10)
        group.stop()

    threading.Thread(target=end, daemon=True).start()
    group.run({"one": one, "other": other})
    assert told == ["ready"]
    assert one.stopped.is_set()
    assert other.stopped.is_set()


def test_a_role_that_fails_ends_the_others_and_is_told() -> None:
    sound = Fake()
    with pytest.raises(UserError, match="no disk"):
        DriverGroup(lambda: None).run({"sound": sound, "failing": Fake(UserError("no disk"))})
    assert sound.stopped.is_set()


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A site whose ledger is damaged before its end."""
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "entries.jsonl").write_text("no entry\n{}\n")
    return tmp_path


def ended(running: Opsloop) -> int:
    """Its exit code, which it gives by itself."""
    until(lambda: running.process.poll() is not None, 45, running.told)
    return running.process.wait()


@pytest.mark.flow
@pytest.mark.parametrize("role", ["act", "all"])
def test_an_actuator_that_cannot_be_built_ends_the_process_with_the_cause_in_one_line(
    embedded: Embedded, damaged: Path, role: str
) -> None:
    with opsloop("worker", role, "--site", str(damaged), "--broker", embedded.bootstrap) as running:
        assert ended(running) == 2
    said = [line for line in running.err if line.strip()]
    assert len(said) == 1, running.told()
    assert said[0].startswith("opsloop: line 1 of the actuator's ledger")
    assert "move the file away" in said[0]


@pytest.mark.flow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("role", ["lane", "loop"])
def test_a_worker_that_is_asked_to_end_does(embedded: Embedded, role: str, number: int) -> None:
    with opsloop("worker", role, "--broker", embedded.bootstrap) as running:
        running.wait_for("is ready", 120)
        running.process.send_signal(number)
        assert ended(running) == 0, running.told()


@pytest.mark.flow
def test_a_worker_of_a_family_that_is_half_grown_ends_with_what_to_type() -> None:
    sizes = {topic.name: 4 for topic in LOOP.topics} | {LOOP.rest[-1].name: 2, LANE_STATE.name: 4}
    with (
        Embedded.start(sizes) as cluster,
        opsloop("worker", "loop", "--broker", cluster.bootstrap) as running,
    ):
        assert ended(running) == 1
        said = " ".join(line.strip() for line in running.err)
    assert "have 2 to 4 partitions" in said
    assert "opsloop topics grow loop 4" in said
