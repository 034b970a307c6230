"""The churn bench: names and snapshot are flat after the tenth day, and grow where nothing ends."""

from __future__ import annotations

import json

import pytest

from app.bench import churn
from topics.batch import Names


def test_names_and_snapshot_of_a_cluster_that_redeploys_daily_are_flat_from_the_tenth_day_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    churn.run(days=24, pods=12, series=10, json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["days"], found["pods"], found["series_each"]) == (24, 12, 10)
    assert found["series_numbers_day10"] == pytest.approx(found["series_numbers_day24"], rel=0.05)
    assert found["snapshot_mb_day10"] == pytest.approx(found["snapshot_mb_day24"], rel=0.05)
    assert found["refused"] == 0
    assert found["node_series_kept"] == 1.0


def test_a_partition_in_which_nothing_ends_grows_with_every_day() -> None:
    found = churn.measure(16, 12, 10, Names(most_metrics=10**6, ttl_hours=10**6))
    assert found["series_numbers_day16"] > 1.3 * found["series_numbers_day10"]
