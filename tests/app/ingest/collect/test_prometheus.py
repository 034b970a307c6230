from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.collect.prometheus import MAX_SERIES, canonical, parse
from app.ingest.collect.rates import Rates

SCRAPE = """\
# HELP http_server_request_rate Requests that came in the last second
# TYPE http_server_request_rate gauge
http_server_request_rate {rate}
# TYPE http_client_error_ratio gauge
http_client_error_ratio{{peer="store"}} 0.25
http_client_error_ratio{{peer="cart"}} 0
# TYPE http_server_requests_total counter
http_server_requests_total{{method="GET",code="200"}} {count}
# TYPE rpc_seconds histogram
rpc_seconds_bucket{{le="0.1"}} 1
rpc_seconds_bucket{{le="+Inf"}} 2
rpc_seconds_sum {count}
rpc_seconds_count 4
# TYPE gc_seconds summary
gc_seconds{{quantile="0.95"}} 0.5
gc_seconds_sum 1
gc_seconds_count 2
process_resident_memory_bytes 1e6
process_cpu_seconds_total {count}
process_start_time_seconds 1700000000
"""


def test_a_scrape_becomes_canonical_names_with_counters_as_rates() -> None:
    rates = Rates()
    first = parse(SCRAPE.format(rate=7, count=100), rates, 1_000)
    assert first == {
        "http.server.request_rate": 7.0,
        "http.client.error_ratio.store": 0.25,
        "http.client.error_ratio.cart": 0.0,
        "gc.seconds.p95": 0.5,
        "process.memory.usage": 1e6,
    }
    second = parse(SCRAPE.format(rate=8, count=103), rates, 3_000)
    assert second == first | {
        "http.server.request_rate": 8.0,
        "http.server.requests.200.get.rate": 1.5,
        "rpc.seconds.sum.rate": 1.5,
        "rpc.seconds.count.rate": 0.0,
        "gc.seconds.sum.rate": 0.0,
        "gc.seconds.count.rate": 0.0,
        "process.cpu.utilization": 1.5,
    }


def test_a_counter_that_was_reset_counts_from_zero() -> None:
    rates = Rates()
    assert rates.rate("x", 1_000, 0) is None
    assert rates.rate("x", 30, 2_000) == 15
    assert rates.rate("x", 40, 2_000) is None


@pytest.mark.parametrize(
    ("name", "dotted"),
    [
        ("http_server_own_duration_p95", "http.server.own_duration.p95"),
        ("http_server_active_requests", "http.server.active_requests"),
        ("service_config_revision", "service.config_revision"),
        ("process_uptime", "process.uptime"),
        ("node_load1", "node.load1"),
        ("job:latency:mean5m", "job.latency.mean5m"),
    ],
)
def test_underscores_are_dots_but_inside_compound_words(name: str, dotted: str) -> None:
    assert canonical(name) == dotted


def test_labels_that_say_who_was_asked_are_left_out_and_values_are_made_safe() -> None:
    metrics = parse('q{instance="1:9",queue="in bound/é",z="A.b"} 3\n', Rates(), 0)
    assert metrics == {"q.in_bound.a_b": 3.0}


def test_values_that_are_not_finite_are_left_out() -> None:
    assert parse("a NaN\nb +Inf\nc 1\n", Rates(), 0) == {"c": 1.0}


def test_the_series_of_one_target_are_bounded() -> None:
    text = "".join(f'x{{i="{i}"}} 1\n' for i in range(MAX_SERIES + 500))
    assert len(parse(text, Rates(), 0)) == MAX_SERIES


@given(st.text(max_size=200))
def test_any_other_text_is_a_value_error_or_nothing(text: str) -> None:
    try:
        metrics = parse(text, Rates(), 0)
    except ValueError:
        return
    assert all(isinstance(value, float) for value in metrics.values())
