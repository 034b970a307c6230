"""A host by its node_exporter, and what the shipped packs make of what ails it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from app.offline.packs import tried
from app.shipped import packs
from models.knowledge.knowledge import Knowledge
from tests.builders import NOW
from topics.telemetry import Sample

ORDINARY: Final = 240  # samples
BROKEN: Final = 40
KNOWN: Final = Knowledge.of(packs().load(text) for text in packs().shipped.values())
Fault = Callable[[dict[str, float], int], None]


def hogged(metrics: dict[str, float], n: int) -> None:
    """Both processors compute all the time."""
    for cpu in (0, 1):
        metrics[f'node_cpu_seconds_total{{cpu="{cpu}",mode="idle"}}'] = metrics[f"idle before {cpu}"]
        metrics[f'node_cpu_seconds_total{{cpu="{cpu}",mode="user"}}'] += n * metrics["period"]
    metrics["node_load1"] += min(n, 20)


def swollen(metrics: dict[str, float], n: int) -> None:
    metrics["node_memory_MemAvailable_bytes"] = max(8e9 - 8e8 * n, 2e8)


def filled(metrics: dict[str, float], n: int) -> None:
    metrics['node_filesystem_avail_bytes{mountpoint="/"}'] = max(5e10 - 5e9 * n, 1e7)


def littered(metrics: dict[str, float], n: int) -> None:
    metrics['node_filesystem_files_free{mountpoint="/"}'] = max(3e6 - 3e5 * n, 0.0)


def adrift(metrics: dict[str, float], n: int) -> None:
    metrics["node_timex_sync_status"], metrics["node_timex_maxerror_seconds"] = 0.0, 16.0


def dead(metrics: dict[str, float], n: int) -> None:
    metrics.clear()
    metrics.update({"up": 0.0, "up.refused": 1.0})


def samples(period_s: int, fault: Fault | None) -> Iterator[Sample]:
    rng, busy = random.Random(7), 0.0
    for n in range(ORDINARY + BROKEN):
        busy += period_s * rng.uniform(0.2, 0.3)
        metrics = {"up": 1.0, "up.refused": 0.0, "node_load1": rng.gauss(0.6, 0.05), "period": float(period_s)}
        for cpu in (0, 1):
            metrics[f'node_cpu_seconds_total{{cpu="{cpu}",mode="user"}}'] = busy
            metrics[f'node_cpu_seconds_total{{cpu="{cpu}",mode="idle"}}'] = n * period_s - busy
            metrics[f"idle before {cpu}"] = ORDINARY * period_s * 0.75
        metrics |= {
            "node_memory_MemTotal_bytes": 16e9, "node_memory_MemAvailable_bytes": rng.gauss(8e9, 5e7),
            'node_filesystem_avail_bytes{mountpoint="/"}': 5e10 - 1e5 * n,
            'node_filesystem_files_free{mountpoint="/"}': 3e6 - n,
            "node_timex_sync_status": 1.0, "node_timex_maxerror_seconds": rng.uniform(0.01, 0.05),
        }  # fmt: skip
        if fault is not None and n >= ORDINARY:
            fault(metrics, n - ORDINARY + 1)
        metrics = {name: value for name, value in metrics.items() if not name.startswith(("idle before", "period"))}
        yield Sample(entity="farm/host", ts=NOW + 1000 * n * period_s, metrics=metrics)


CASES: Final = [
    (fault, symptom, period_s)
    for fault, symptom in ((hogged, "cpu_saturated"), (swollen, "memory_pressure"), (filled, "disk_full"),
                           (littered, "disk_full"), (adrift, "clock_off"), (dead, "down"))
    for period_s in (1, 15, 60)
    if symptom != "disk_full" or period_s > 1  # one series of many, that is full within seconds, is not told
]  # fmt: skip


@pytest.mark.parametrize(("fault", "symptom", "period_s"), CASES)
def test_what_ails_a_host_is_told_by_its_name(fault: Fault, symptom: str, period_s: int) -> None:
    found = tried(KNOWN, list(samples(period_s, fault)))
    assert symptom in {s.symptom for s in found}, found
    assert min(s.onset for s in found) >= NOW + 1000 * ORDINARY * period_s, "nothing ailed it before"


@pytest.mark.parametrize("period_s", [1, 15, 60])
def test_a_host_that_is_well_has_no_symptom(period_s: int) -> None:
    assert tried(KNOWN, list(samples(period_s, None))) == []
