"""What names say, through the live path: a name raises no alarm that its values do not."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from agents.detect import Detect
from app.offline.score import EPOCH, batch_of
from topics.batch import Float64, Names

SAMPLES = 200

MISLEADING = (
    "scale_up_events_total", 'scale_up_events_total{state="up"}', "service_up_seconds", "service_up", "start_up.count",
    "queue_up_position", "connections_refused", "connection.refused.total", "memory_pressure_events",
    "upstream_connect", "backup_duration_note", "node_memory_MemFree_bytes", "node_time_seconds",
    "process_start_time_seconds", "http_request_duration_seconds_sum", 'http_request_duration_seconds_bucket{le="0.5"}',
    "node_cpu_seconds_total", "kube_pod_status_phase", "stats.timers.checkout.latency.mean_90", "FreeableMemory",
    "requestDurationSeconds", 'jobs{queue="up"}', "up_total", "up.time",
)  # fmt: skip


def raised(columns: Mapping[str, Float64]) -> list[int]:
    """The samples in which an alarm of one entity with these series was raised."""
    batch = batch_of(
        Names(), "e", columns, EPOCH + 1000 * np.arange(SAMPLES, dtype=np.int64), np.column_stack([*columns.values()])
    )
    said = (anomaly for _, anomalies in Detect().model.scored(batch) for anomaly in anomalies)
    return [(anomaly.ts - EPOCH) // 1000 for anomaly in said if anomaly.state == "raised"]


def beside(count: int, rng: np.random.Generator) -> dict[str, Float64]:
    return {f"other-{n}": 1.0 + 0.05 * rng.standard_normal(SAMPLES) for n in range(count)}


@pytest.mark.parametrize("others", [0, 1, 8])
@pytest.mark.parametrize("metric", MISLEADING)
def test_a_quiet_series_raises_nothing_whatever_its_name_says(metric: str, others: int) -> None:
    rng = np.random.default_rng(7)
    shapes = {
        "grows": np.arange(SAMPLES, dtype=np.float64),
        "counts": np.cumsum(rng.poisson(3.0, SAMPLES)).astype(np.float64),
        "is a time": 1.7e9 + np.arange(SAMPLES),
        "is there": np.ones(SAMPLES),
        "is not there": np.zeros(SAMPLES),
        "is noise": 50.0 + rng.standard_normal(SAMPLES),
    }
    for shape, values in shapes.items():
        assert not raised({metric: values, **beside(others, rng)}), shape


@pytest.mark.parametrize("others", [1, 8])
@pytest.mark.parametrize("metric", ["up", 'up{job="x"}', "pg_up", 'probe_success{target="y"}', "redis.up"])
def test_what_goes_down_is_told_at_its_first_samples(metric: str, others: int) -> None:
    values = np.ones(SAMPLES)
    values[40:60] = 0.0
    found = raised({metric: values, **beside(others, np.random.default_rng(7))})
    assert found[:1] in ([40], [41])


@pytest.mark.parametrize(
    ("metric", "first", "told"),
    [
        ("up", 0.0, True), ("up.refused", 1.0, True), ("up", 1.0, False), ("up.refused", 0.0, False),
        ("service_up", 0.0, False), ("connections_refused", 1.0, False), ("scale_up_events_total", 7.0, False),
    ],
)  # fmt: skip
def test_only_a_series_known_to_be_off_is_told_when_it_comes(metric: str, first: float, told: bool) -> None:
    """It comes to an entity that has long been there, and stays where it is."""
    values = np.where(np.arange(SAMPLES) < 100, math.nan, first)
    cpu, took = 0.3 + 0.02 * np.random.default_rng(7).standard_normal((2, SAMPLES))
    found = raised({"process.cpu.utilization": cpu, "http.server.request.duration": took, metric: values})
    assert found[:1] == ([100] if told else [])


def test_a_unit_does_not_hide_what_is_far_off() -> None:
    """An answer of 200 kB where 1 kB is usual is no small difference, though a disk would not mind it."""
    rng = np.random.default_rng(7)
    values = 1000.0 + 50.0 * rng.standard_normal(SAMPLES)
    values[150:] += 200_000.0
    found = raised({"http_response_size_bytes": values, **beside(3, rng)})
    assert 150 <= min(found) < 155
