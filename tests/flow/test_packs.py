"""Packs on running workers: registered, they hold at once; rolled back, no more."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import run, until, worker

from app.client import Publisher
from app.clock import now_ms
from app.history.records import records
from app.kafka.broker import Broker
from tests.builders import GARDEN, sample
from topics.incidents import INCIDENTS, Incident, SymptomKind
from topics.signals import Contribution
from topics.telemetry import Sample

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
DRY = Contribution("soil.moisture", -3.0, 0.05, 0.3)
_numbers = itertools.count()


def typed(broker: Broker, *words: str) -> str:
    done = run("pack", *words, "--broker", broker.bootstrap, "--as", "ada")
    assert done.process.returncode == 0, done.told()
    return "".join(done.out)


def first_seen(broker: Broker, publisher: Publisher) -> Incident:
    """The first incident of a new bed that is dry three times, and then down."""
    entity, now = f"bed{next(_numbers)}x{now_ms()}/soil/0", now_ms()
    for number in range(3):
        publisher.send(sample(entity, now + number, DRY))
    publisher.send(sample(entity, now + 9, SymptomKind.DOWN))
    found: list[Incident] = until(lambda: incidents(broker, entity), 90)
    return found[0]


def incidents(broker: Broker, entity: str) -> list[Incident]:
    read = (r.record for r in records(broker, [INCIDENTS]))
    return [record for record in read if isinstance(record, Incident) and record.entity == entity]


@pytest.fixture
def loop(broker: Broker) -> Iterator[Broker]:
    assert run("user", "add", "ada", "--role", "admin").process.returncode == 0
    with worker("loop", broker):
        yield broker


def test_a_registered_pack_opens_the_next_incident_and_rolled_back_it_opens_none(loop: Broker, tmp_path: Path) -> None:
    file = tmp_path / "garden.toml"
    file.write_text(GARDEN)
    with Publisher(loop) as publisher:
        assert first_seen(loop, publisher).symptom is SymptomKind.DOWN
        assert "version 1 holds" in typed(loop, "register", str(file))
        opened: Incident = until(lambda: _about(first_seen(loop, publisher), "dry"), 120)
        assert opened.hypotheses[0].cause == "no_rain"
        assert opened.hypotheses[0].reasons[-1].startswith("pack garden, knowledge ")
        typed(loop, "rollback", "garden")
        assert until(lambda: _about(first_seen(loop, publisher), "down"), 120)


def _about(incident: Incident, symptom: str) -> Incident | None:
    return incident if incident.symptom == symptom else None


WATER = """[pack]
name = "water"
kind = "bed"

[[signals]]
name = "bed.dry_share"
is = "1 - soil_water_litres / soil_water_max_litres"

[[symptoms]]
name = "bed_dry"
when = [{ signal = "bed.dry_share", off = "up", periods = 2 }]
"""


def test_a_derived_signal_of_a_pack_that_is_registered_while_the_lane_runs_opens_an_incident(
    loop: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "water.toml"
    file.write_text(WATER)
    with worker("lane", loop), Publisher(loop) as publisher:
        assert _told_of(loop, publisher) == set(), "nothing names what it measures"
        assert "version 1 holds" in typed(loop, "register", str(file))
        assert until(lambda: "bed_dry" in _told_of(loop, publisher), 120)


def _told_of(broker: Broker, publisher: Publisher) -> set[str]:
    """The symptoms of a new bed that dries out after some quiet minutes, as incidents of the next seconds say."""
    entity, begins = f"bed{next(_numbers)}y{now_ms()}/soil/0", now_ms() - 300_000
    for second in range(200):
        litres = (20.0 if second > 170 else 80.0) + second % 3
        metrics = {"soil_water_litres": litres, "soil_water_max_litres": 100.0, "light": float(second % 5)}
        publisher.send(Sample(entity=entity, ts=begins + second * 1_000, metrics=metrics))
    publisher.flush()
    end = time.monotonic() + 10.0
    while not (found := incidents(broker, entity)) and time.monotonic() < end:
        time.sleep(0.2)
    return {str(incident.symptom) for incident in found}
