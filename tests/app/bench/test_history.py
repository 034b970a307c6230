"""The bench of a long history: what it writes is a history, and what it measures is there."""

from __future__ import annotations

from pathlib import Path

from app.bench.history import HISTORY, episode_of, fill, measured
from app.history.explain import explain
from app.kafka.embedded import Embedded
from topics.audit import AuditEntry
from topics.spec import Read


def test_an_episode_is_explained_with_its_evidence_and_its_audit(embedded: Embedded) -> None:
    incident = fill(embedded.broker, 500)
    told = explain(embedded.broker, incident)
    without_anomalies = [r for r in episode_of(5, 0) if type(r).__name__ != "Anomaly"]
    assert [type(read.record) for read in told.steps] != []
    assert sorted(type(r.record).__name__ for r in told.steps) == sorted(type(r).__name__ for r in without_anomalies)
    assert len(told.evidence) == 1
    assert {_kept(read) for read in told.audit} == {str(read.origin) for read in told.steps}


def _kept(read: Read) -> str:  # type: ignore[type-arg]
    assert isinstance(read.record, AuditEntry)
    return read.record.origin


def test_each_command_is_a_process_whose_time_and_memory_are_told(embedded: Embedded, tmp_path: Path) -> None:
    found = measured(embedded.broker, tmp_path, fill(embedded.broker, 2_000))
    commands = {"incidents_s", "decisions_s", "explain_s"}
    assert set(found) == commands | {"index_records_per_s", "index_records_per_cpu_s", "memory_mb", "index_mb"}
    assert found["index_records_per_s"] > 1_000
    assert 30 < found["memory_mb"] < 300
    assert len(HISTORY) == 9
