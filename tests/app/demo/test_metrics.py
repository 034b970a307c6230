"""Gauges over the last second, in virtual time."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.demo import metrics
from app.demo.metrics import Gauges
from app.ingest.collect.prometheus import Exposition
from app.shipped import packs
from models.detection.prior import DURATION, MEMORY, RATIO, UNKNOWN, UTILIZATION, prior
from topics.selectors import matches


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now / 4


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(metrics, "time", clock)
    return clock


@pytest.fixture
def gauges(clock: Clock) -> Gauges:
    gauges = Gauges(["store"])
    clock.now += 5
    return gauges


def read(gauges: Gauges) -> dict[str, float]:
    families = text_string_to_metric_families(gauges.text(replicas=2, revision=3))
    return {s.name: s.value for family in families for s in family.samples}


def serve(gauges: Gauges, own_s: float, failed: bool = False) -> None:
    gauges.arrived()
    gauges.left(own_s, own_s + 1.0, failed)


def test_rates_and_ratios_are_those_of_the_last_second(gauges: Gauges, clock: Clock) -> None:
    serve(gauges, 9.0, failed=True)
    clock.now += 1.01
    for n in range(10):
        serve(gauges, n / 100, failed=n == 0)
        gauges.called("store", n > 3)
    seen = read(gauges)
    assert seen["http_server_request_rate"] == 10
    assert seen["http_server_error_ratio"] == pytest.approx(0.1)
    assert seen["http_client_error_ratio"] == pytest.approx(0.4)
    assert seen["http_server_own_duration_p50"] == pytest.approx(0.04)
    assert seen["http_server_own_duration_p95"] == pytest.approx(0.09)
    assert seen["http_server_requests_total"] == 11
    assert seen["http_server_active_requests"] == 0


def test_without_traffic_durations_are_held_and_rates_fall_to_nothing(gauges: Gauges, clock: Clock) -> None:
    serve(gauges, 0.25, failed=True)
    before = set(read(gauges))
    clock.now += 60
    seen = read(gauges)
    assert set(seen) == before
    assert seen["http_server_own_duration_p95"] == pytest.approx(0.25)
    assert (seen["http_server_request_rate"], seen["http_server_error_ratio"]) == (0, 0)


def test_utilization_is_the_busy_share_of_the_slots(gauges: Gauges, clock: Clock) -> None:
    gauges.tick(2)
    for _ in range(10):
        with gauges.busy.slot():
            clock.now += 0.05
        clock.now += 0.05
        gauges.tick(2)
    assert read(gauges)["http_server_utilization"] == pytest.approx(0.25)
    assert read(gauges)["process_cpu_utilization"] == pytest.approx(0.25)


def test_the_names_of_all_gauges_say_what_they_measure(gauges: Gauges) -> None:
    """As the collector calls them; nothing is known of the others."""
    known = {
        "http_server_error_ratio": RATIO,
        'http_client_error_ratio{peer="store"}': RATIO,
        "http_server_own_duration_p50": DURATION,
        "http_server_own_duration_p95": DURATION,
        "http_server_duration_p95": DURATION,
        "http_server_utilization": UTILIZATION,
        "process_memory_usage": MEMORY,
        "process_cpu_utilization": UTILIZATION,
    }
    found = Exposition().read(gauges.text(replicas=2, revision=3)).metrics
    assert len(found) == len(metrics.METRICS)
    assert {name: prior(name) for name in found if prior(name) != UNKNOWN} == known


def test_the_shipped_pack_means_what_a_replica_says(gauges: Gauges) -> None:
    """Every signal of the pack but those of the collector itself."""
    found = Exposition().read(gauges.text(replicas=2, revision=3)).metrics
    pack = packs().load(packs().shipped["demo"])
    signals = {c.signal for rule in pack.symptoms for c in rule.when} | {*pack.head.load}
    silent = [signal for signal in signals - {"up", "up.refused"} if not any(matches(signal, name) for name in found)]
    assert not silent
