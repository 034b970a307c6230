"""`opsloop why` and `opsloop pack coverage`: what is known of an entity, and what no pack names."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from agents._partition import PartitionState
from agents._snapshots import SnapshotStore
from app import pipeline
from app.cli import build
from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker, partition_of
from app.kafka.embedded import Embedded
from app.kafka.publisher import Publisher
from app.kafka.split import lane_name
from app.knowledge.learned import LearnedEntity
from app.knowledge.why import PossibleSymptom, because
from models.diagnosis.unmet import RuleAnswer
from tests.builders import NOW, sample
from topics.chunk import chunk_of
from topics.codec import encode
from topics.entities import Entity, Presence, Related
from topics.signals import Anomaly, Contribution
from topics.spec import PARTITIONS, Raw
from topics.state import LANE_STATE
from topics.telemetry import METRICS, Sample

REDIS, HOST, UNKNOWN = "farm/redis/0", "farm/host", "farm/barn"
SAMPLES = 120
Typed = Callable[..., Any]
STAGES = pipeline.lane()


def metrics_of(entity: str, rng: random.Random, full: bool) -> Mapping[str, float]:
    """What an entity shows in one sample."""
    if entity == REDIS:
        used = 63e6 if full else rng.gauss(20e6, 1e5)
        return {"redis_up": 1.0, "redis_memory_used_bytes": used, "redis_memory_max_bytes": 64e6, "paths": 3.0}
    if entity == HOST:
        return {"node_load1": rng.gauss(1.0, 0.1), "cows": rng.gauss(30.0, 1.0), "sheep": rng.gauss(9.0, 0.3)}
    return {"cows": 300.0 if full else rng.gauss(30.0, 1.0), "gate": 90.0 if full else rng.gauss(5.0, 0.1)}


def watched(embedded: Embedded, full: bool = False, samples: int = SAMPLES) -> None:
    """What lanes have left of three entities in two minutes, which end with `full` ones."""
    began, parts = now_ms() - 1_000 * samples, dict[int, PartitionState]()
    with Publisher(Broker(embedded.bootstrap)) as publisher:
        for entity in (REDIS, HOST, UNKNOWN):
            at, rng = partition_of(entity.encode(), PARTITIONS), random.Random(entity)
            part = parts.setdefault(at, PartitionState(STAGES, b"", SnapshotStore(LANE_STATE, lane_name(STAGES), at)))
            for number in range(samples):
                ts = began + 1_000 * number
                metrics = metrics_of(entity, rng, full and number >= samples - 5)
                value = encode(Sample(entity=entity, ts=ts, metrics=metrics)).value
                for output in part.following(chunk_of([Raw(METRICS.name, at, number, None, value, (), ts)]), ts):
                    if isinstance(output, Anomaly):
                        publisher.send(output)
        relations = (Related("runs_on", HOST, "labels", 1.0, began),)
        publisher.send(Entity(entity=REDIS, ts=began, seq=0, state=Presence.PRESENT, kind="redis", attributes={},
                              relations=relations, sources=("labels",), first=began, last=began))  # fmt: skip
        for at, part in parts.items():
            for message in part.store.pack({}, *part.pieces()):
                publisher.send_raw(LANE_STATE.name, message.key, message.value, message.headers, at)


@pytest.fixture
def typed(embedded: Embedded) -> Typed:
    """Types a command: its JSON, or what it prints."""

    def run(*words: str) -> Any:
        line = [*words, "--broker", embedded.bootstrap]
        result = CliRunner().invoke(build(), line, env={"COLUMNS": "200"})
        if isinstance(result.exception, UserError):
            raise result.exception
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout) if "--json" in words else result.stdout

    return run


def test_a_calm_entity_has_its_series_ranges_symptoms_and_cures(embedded: Embedded, typed: Typed) -> None:
    watched(embedded)
    found = typed("why", REDIS, "--json")
    assert found["because"] == "nothing was unusual in the last hour"
    assert "redis" in found["kinds"]
    series = {one["series"]: one for one in found["learned"]["series"]}
    used = series["redis_memory_used_bytes"]
    assert used["samples"] == SAMPLES
    assert 18e6 < used["low"] < used["expected"] < used["high"] < 22e6
    down = next(s for s in found["symptoms"] if s["symptom"] == "down" and "redis_up" in s["series"])
    assert "restart_service" in down["cures"]
    assert found["unnamed"] == ["paths"]
    assert [(one["kind"], one["to"]) for one in found["relations"]] == [("runs_on", HOST)]
    text = typed("why", REDIS)
    assert "no incident: nothing was unusual in the last hour" in text
    assert "paths" in text
    assert "in no pack" in text
    assert f"runs_on {HOST}" in text


def test_an_alarm_whose_series_no_pack_names_is_why_there_is_no_incident(embedded: Embedded, typed: Typed) -> None:
    watched(embedded, full=True)
    found = typed("why", UNKNOWN, "--json")
    assert found["kinds"] == []
    assert found["anomaly"]["metric"] in ("cows", "gate")
    assert "no rule of a pack can be met by its series" in found["because"]


def test_rules_that_are_met_are_named(embedded: Embedded, typed: Typed) -> None:
    watched(embedded, full=True)
    found = typed("why", REDIS, "--json")
    assert found["anomaly"]["metric"] == "redis_memory_used_bytes"
    assert found["answers"], "a rule of the pack names the memory that Redis uses"
    assert found["because"] == "out_of_memory shows, and is not confirmed yet"
    assert {answer["symptom"] for answer in found["answers"] if not answer["missing"]} == {"memory", "out_of_memory"}


def test_the_rule_that_misses_least_says_what() -> None:
    known = LearnedEntity(REDIS, SAMPLES, NOW, 1_000.0, 0, ())
    can = [PossibleSymptom("memory", "redis", ("redis_memory_used_bytes",), (), (), ())]
    last = sample(REDIS, NOW, Contribution("redis_memory_used_bytes", 4.0, 2e7, 1e7))
    said = [RuleAnswer("redis", "memory", ("it is off by 4.0 standard deviations, and 6 are wanted",))]
    assert because(known, can, last, said, []) == (
        "an alarm is on; the rule that is nearest (memory of redis) misses:"
        " it is off by 4.0 standard deviations, and 6 are wanted"
    )
    unpaid = msgspec.structs.replace(last, suppressed="entity")
    assert "the budget of false alarms of the entity is spent" in because(known, can, unpaid, said, [])
    ended = msgspec.structs.replace(last, state="cleared")
    assert because(known, can, ended, [], []) == "nothing is unusual now; what was in the last hour has ended"


def test_a_young_entity_is_being_learned(embedded: Embedded, typed: Typed) -> None:
    watched(embedded, samples=9)
    assert typed("why", HOST, "--json")["because"] == "it is being learned: 9 of 17 samples have come"


def test_a_wrong_name_is_told_with_those_that_are_near(embedded: Embedded, typed: Typed) -> None:
    watched(embedded, samples=5)
    with pytest.raises(UserError, match="no worker knows the entity farm/redis/1") as told:
        typed("why", "farm/redis/1")
    assert REDIS in told.value.remedy


def test_coverage_lists_what_no_pack_names_the_most_frequent_first(embedded: Embedded, typed: Typed) -> None:
    watched(embedded, samples=5)
    found = typed("pack", "coverage", "--json")
    assert (found["entities"], found["series"]) == (3, 10)
    assert found["without"] == [UNKNOWN]
    assert next((row["metric"], row["series"], row["entities"]) for row in found["unnamed"]) == ("cows", 2, 2)
    assert {row["metric"] for row in found["unnamed"]} == {"cows", "gate", "sheep", "paths"}
    assert found["named"] == 10 - 5
    text = typed("pack", "coverage", "--entity", "farm/redis/*")
    assert "4 of 5 series of 1 entities are in a pack" in text


def test_coverage_of_no_entity_says_where_to_look(embedded: Embedded, typed: Typed) -> None:
    with pytest.raises(UserError, match="no entity is like barn"):
        typed("pack", "coverage", "--entity", "barn")


@pytest.mark.parametrize("name", ["\udc80", "a\x1b[31m", "a\nb"])
def test_a_name_that_no_entity_has_is_refused(typed: Typed, name: str) -> None:
    with pytest.raises(UserError, match="no such characters"):
        typed("why", name)
