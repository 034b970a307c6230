"""What an anomaly carries, on the recorded telemetry of a real site whose catalog was killed."""

from __future__ import annotations

import math
from itertools import groupby
from pathlib import Path

import orjson
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from app.offline.replay import load
from topics.batch import Batch
from topics.codec import decode_value, encode
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Raw
from topics.telemetry import METRICS

HISTORY = Path(__file__).parents[1] / "app" / "offline" / "histories" / "kill-catalog.jsonl.gz"


@pytest.fixture(scope="module")
def sent() -> list[Raw]:
    return [raw for raw in load(HISTORY) if raw.topic == METRICS.name]


@pytest.fixture(scope="module")
def found(sent: list[Raw]) -> list[Anomaly]:
    anomalies: list[Anomaly] = []
    for _, part in groupby(sorted(sent, key=lambda raw: (raw.partition, raw.offset)), key=lambda raw: raw.partition):
        decoded = [each for each in Decode().step(chunk_of(part), 0) if isinstance(each, Batch)]
        anomalies += Detect().step(decoded, 0)
    return anomalies


def test_every_anomaly_says_how_far_what_kind_since_when_because_of_what_and_by_whom(
    found: list[Anomaly], sent: list[Raw]
) -> None:
    raised = [a for a in found if a.state != "cleared"]
    assert raised
    for a in raised:
        assert 0 < a.score < math.inf
        assert a.grade in ("minor", "major", "critical")
        assert 0 < a.confidence <= 1
        assert a.kind in ("point", "trend", "change_point")
        assert a.direction == ("up" if a.value >= a.expected else "down")
        assert a.low <= a.expected <= a.high
        assert 0 < a.onset <= a.ts
        assert a.metric
        assert a.detector
        assert a.detector_version >= 1
        topic, partition, offset = a.evidence.rsplit("-", 2)
        assert any((r.topic, r.partition, r.offset) == (topic, int(partition), int(offset)) for r in sent)
        sizes = [abs(c.z) for c in a.attribution]
        assert sizes == sorted(sizes, reverse=True)
        assert not a.attribution or a.attribution[0].metric == a.metric
    assert decode_value(ANOMALIES, encode(raised[0]).value) == raised[0]


def test_one_is_the_boundary_and_the_killed_entity_is_told_by_what_shows_it(found: list[Anomaly]) -> None:
    raised = [a for a in found if a.state == "raised" and a.detector == "bank"]
    assert all(a.score >= 0.2 for a in raised)
    killed = next(a for a in raised if a.entity.startswith("shop/catalog"))
    assert killed.score >= 1.0
    assert killed.metric.startswith("up")
    assert killed.attribution
    assert (killed.grade, killed.view) != ("none", "second")


def test_an_entity_that_was_new_seventeen_looks_ago_is_told_when_it_is_killed(sent: list[Raw]) -> None:
    samples = [(raw, orjson.loads(raw.value or b"")) for raw in sent]
    own = [(raw, s) for raw, s in samples if s["entity"] == "shop/catalog/0" and "metrics" in s]
    killed = next(at for at, (_, sample) in enumerate(own) if sample["metrics"].get("up") == 0.0)
    part = chunk_of(raw for raw, _ in own[killed - 17 : killed + 1])
    (batch,) = Decode().step(part, 0)
    assert isinstance(batch, Batch)
    (anomaly,) = Detect().step([batch], 0)
    assert (anomaly.state, anomaly.metric, anomaly.ts) == ("raised", "up", own[killed][1]["ts"])
