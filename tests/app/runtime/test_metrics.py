"""Metrics: a closed set of names and labels."""

from __future__ import annotations

import re
import socket

import pytest
from structlog.testing import capture_logs

from app.errors import UserError
from app.runtime.metrics import REGISTRY, Meter, serve
from topics.codec import Cause

UNITS = ("records", "outputs", "refused", "seconds", "bytes", "ratio", "info")


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_every_name_says_what_it_counts_and_no_label_is_open() -> None:
    for metric in REGISTRY.collect():
        assert re.fullmatch(r"opsloop(_[a-z]+)+", metric.name), metric.name
        assert metric.documentation
        for sample in metric.samples:
            assert set(sample.labels) <= {"agent", "cause", "le", "role", "route", "stage", "status", "topic"}


def test_a_step_counts_its_records_and_outputs_and_how_long_the_oldest_waited() -> None:
    name, meter = "metrics-test", Meter()
    meter.stepped(name, 5, 2, oldest=1_000, now=1_250)
    meter.stepped(name, 1, 0, oldest=2_000, now=1_990)  # a broker's clock may be ahead
    assert value("opsloop_records_total", agent=name) == 6
    assert value("opsloop_outputs_total", agent=name) == 2
    assert value("opsloop_stage_latency_seconds_sum", agent=name) == pytest.approx(0.25)
    assert value("opsloop_stage_latency_seconds_bucket", agent=name, le="0.005") == 1


def test_a_refusal_is_counted_by_its_cause() -> None:
    before = value("opsloop_refused_total", agent="metrics-test", cause="malformed")
    Meter().refused("metrics-test", Cause.MALFORMED)
    assert value("opsloop_refused_total", agent="metrics-test", cause="malformed") == before + 1


def test_misplaced_records_are_counted_and_the_first_of_each_topic_is_logged() -> None:
    with capture_logs() as logged:
        meter = Meter()
        for cause in ("first", "second"):
            meter.misplaced("opsloop.labels", cause)
    assert value("opsloop_misplaced_total", topic="opsloop.labels") == 2
    assert [line["record"] for line in logged] == ["first"]


def test_a_port_that_is_taken_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot serve metrics on port {port}"):
            serve(port)
