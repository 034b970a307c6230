"""The bench of remote write, small: every value is under its own series, and wrong ones were refused alone."""

from __future__ import annotations

from app.bench.receive import Load, measure
from app.kafka.embedded import Embedded


def test_everything_that_was_sent_is_there_and_nothing_is_merged(embedded: Embedded) -> None:
    found = measure(embedded.broker, Load(pods=30, series=100, rounds=2))
    assert (found["missing"], found["wrong"], found["refused_by_lane"]) == (0, 0, 0)
    assert found["refused_by_receiver"] == found["requests"] == 4
    assert found["entities"] == 30
    assert found["series_per_s"] > 0
    assert found["rss_mb"] > 10
