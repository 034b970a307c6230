"""Prometheus' text format as the metrics that other ways in make of the same series."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.collect.prometheus import MAX_SERIES, Exposition
from topics.kinds import COUNTER, PLAIN, meaning

SCRAPE = """\
# HELP http_requests_total Requests
# TYPE http_requests_total counter
http_requests_total{method="GET",status="200"} 100
http_requests_total{status="500",method="GET"} 2
# TYPE http_requests_created gauge
http_requests_created{method="GET",status="200"} 1.7e+09
# TYPE nginx_connections_accepted counter
nginx_connections_accepted 7
# TYPE limit_total gauge
limit_total 5
# TYPE rpc_seconds histogram
rpc_seconds_bucket{le="0.1",zone="a"} 1
rpc_seconds_bucket{le="+Inf",zone="a"} 2
rpc_seconds_sum{zone="a"} 3.5
rpc_seconds_count{zone="a"} 2
# TYPE gc summary
gc{quantile="0.95"} 0.5
gc{quantile="0"} 0.25
gc_sum 1
gc_count 2
# TYPE connections_count gauge
connections_count 4
# TYPE job:speed gauge
job:speed 1e6 1700000000000
node_vmstat_oom_kill 3
{"http.server.requests", peer="a b"} 9
"""


def read(text: str) -> dict[str, float]:
    return Exposition().read(text).metrics


def test_series_keep_their_names_and_labels_and_types_say_what_they_are() -> None:
    assert read(SCRAPE) == {
        'http_requests_total{method="GET",status="200"}': 100.0,
        'http_requests_total{method="GET",status="500"}': 2.0,
        "nginx_connections_accepted_total": 7.0,
        "limit_total.value": 5.0,
        'rpc_seconds_bucket{le="0.1",zone="a"}': 1.0,
        'rpc_seconds_bucket{le="+Inf",zone="a"}': 2.0,
        'rpc_seconds_bucket{le="sum",zone="a"}': 3.5,
        "gc.p95": 0.5,
        "gc.p0": 0.25,
        'gc_bucket{le="sum"}': 1.0,
        'gc_bucket{le="+Inf"}': 2.0,
        "connections_count": 4.0,
        "job:speed": 1e6,
        "node_vmstat_oom_kill": 3.0,
        'http.server.requests{peer="a b"}': 9.0,
    }
    assert meaning("nginx_connections_accepted_total").kind == COUNTER
    assert meaning("limit_total.value").kind == PLAIN


@pytest.mark.parametrize("pair", [
    ('m{a="1"} 1', 'm{b="1"} 1'), ('m{instance="a"} 1', 'm{instance="b"} 1'), ('m{pod="a"} 1', 'm{pod="b"} 1'),
    ('m{path="A.b"} 1', 'm{path="a_b"} 1'), ('m{a="x\\"y"} 1', 'm{a="xy"} 1'), ('m{a="}"} 1', 'm{a="{"} 1'),
    ('m{version="1"} 1', 'm{version="2"} 1'), ("a_b 1", "a:b 1"),
])  # fmt: skip
def test_two_series_are_two_metrics(pair: tuple[str, str]) -> None:
    assert len(read("\n".join(pair) + "\n")) == 2


def test_labels_in_another_order_or_empty_ones_are_the_same_series() -> None:
    assert read('m{b="2",a="1"} 1\nm{a="1",b="2",c=""} 3\nm{ a = "1" , b="2", } 4\n') == {'m{a="1",b="2"}': 4.0}


def test_values_that_are_not_finite_are_passed_over() -> None:
    found = Exposition().read("a NaN\nb +Inf\nc 1\nd -Inf\n")
    assert (found.metrics, found.bad) == ({"c": 1.0}, 0)


@pytest.mark.parametrize("bad", [
    "a", "a{b} 1", 'a{b="1} 1', 'a{b="1" 1', "a b c d", "1a 1", "a 1_000", 'a{b="1",b="2"} 1', "{} 1", '{b="1"} 1',
    "a{b='1'} 1", 'm{x="\udcff"} 1', f"{'x' * 600} 1", "a 1e300", '{"a","b"} 1', "{, =a=} 1",
])  # fmt: skip
def test_a_line_that_is_not_of_the_format_is_refused_alone(bad: str) -> None:
    found = Exposition().read(f"before 1\n{bad}\nafter 2\n")
    assert (found.metrics, found.bad) == ({"before": 1.0, "after": 2.0}, 1)
    assert found.why
    with pytest.raises(ValueError, match="not Prometheus' text format"):
        Exposition().read(bad)


def test_a_type_that_changes_changes_what_its_series_are() -> None:
    exposition = Exposition()
    assert exposition.read("# TYPE a counter\na 1\n").metrics == {"a_total": 1.0}
    assert exposition.read("# TYPE a gauge\na 1\n").metrics == {"a": 1.0}
    assert exposition.read("a 2\n").metrics == {"a": 2.0}


def test_the_series_of_one_target_are_bounded_and_those_that_were_there_stay() -> None:
    exposition = Exposition()
    assert exposition.read("first 1\nsecond 1\n").left_out == 0
    text = "".join(f'x{{i="{i}"}} 1\n' for i in range(MAX_SERIES + 500)) + "first 2\n"
    found = exposition.read(text)
    assert (len(found.metrics), found.left_out, found.metrics["first"]) == (MAX_SERIES, 501, 2.0)
    again = exposition.read("".join(reversed([line + "\n" for line in text.splitlines()])))
    assert again.metrics.keys() == found.metrics.keys(), "whatever the order of the lines"


@given(st.text(max_size=200))
def test_any_other_text_is_a_value_error_or_nothing(text: str) -> None:
    try:
        metrics = read(text)
    except ValueError:
        return
    assert all(isinstance(value, float) for value in metrics.values())
