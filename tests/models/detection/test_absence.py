"""What has stopped coming is told, by the clock of its partition; what is only late, or slow, or read late, is not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from models.detection.settings import DetectionSettings, Pattern
from tests.telemetry import at, raw
from topics.signals import Anomaly
from topics.spec import Raw


def told(raws: Iterable[Raw], cut: int = 40, settings: DetectionSettings | None = None) -> list[Anomaly]:
    """Anomalies of kind absence; the learner is restored from its snapshot after every batch."""
    decode, detect = Decode(), Detect(settings)
    found: list[Anomaly] = []
    given = [*raws]
    for begin in range(0, len(given), cut):
        found += detect.step([*decode.step(chunk_of(given[begin : begin + cut]), 0)], 0)
        again = Decode(), Detect(settings)
        again[0].restore(decode.snapshot())
        again[1].restore(detect.snapshot())
        assert again[1].snapshot() == detect.snapshot()
        decode, detect = again
    return [a for a in found if a.kind == "absence"]


def site(scored: int, gone: range = range(0), period: int = 1, more: dict[str, float] | None = None) -> list[Raw]:
    """Two entities that always come, each second, and `shop/db`, each `period` seconds but in `gone`."""
    raws = []
    for scored_sample in range(scored):
        raws += [raw(scored_sample, "shop/web", {"a": 1.0}), raw(scored_sample, "shop/cart", {"a": 1.0})]
        if scored_sample % period == 0 and scored_sample not in gone:
            metrics = {"a": 1.0} | (more if more and scored_sample < scored // 2 else {})
            raws.append(raw(scored_sample, "shop/db", metrics))
    return raws


def test_an_entity_that_stops_is_told_within_seconds_once_and_cleared_when_it_is_back() -> None:
    found = told(site(400, gone=range(200, 300)))
    assert [(a.entity, a.state, a.metric) for a in found] == [("shop/db", "raised", "*"), ("shop/db", "cleared", "*")]
    raised, cleared = found
    assert at(205) <= raised.ts <= at(215)
    assert at(300) <= cleared.ts <= at(303)
    assert raised.id == cleared.id
    assert raised.onset == at(199)
    assert (raised.detector, raised.view, raised.direction) == ("absence", "second", "down")
    assert raised.score >= 1.0
    assert raised.value > raised.high > raised.expected


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_it_does_not_depend_on_batches(cut: int) -> None:
    raws = site(300, gone=range(200, 260))
    assert told(raws, cut=cut) == told(raws)


def test_who_comes_once_a_minute_is_not_absent_in_between() -> None:
    assert told(site(3_000, period=60), cut=500) == []
    slow = told(site(4_000, gone=range(2_400, 3_000), period=60), cut=500)
    assert [a.state for a in slow] == ["raised", "cleared"]
    assert at(2_340 + 180) < slow[0].ts < at(2_340 + 300)


def test_a_partition_that_stands_still_and_a_worker_that_lags_make_nothing_absent() -> None:
    before, after = site(200), [raw(scored_sample + 3_600, "shop/web", {"a": 1.0}) for scored_sample in range(1)]
    again = [
        raw(scored_sample + 3_600, name, {"a": 1.0})
        for scored_sample in range(100)
        for name in ("shop/web", "shop/cart", "shop/db")
    ]
    assert told([*before, *after, *again]) == []


def test_a_clock_that_is_ahead_makes_no_other_absent() -> None:
    raws = site(400)
    ahead = [raw(scored_sample + 500, "shop/ahead", {"a": 1.0}) for scored_sample in range(200, 400)]
    merged = raws[:600] + [each for pair in zip(ahead, raws[600:800], strict=True) for each in pair] + raws[800:]
    assert told(merged) == []


def test_a_series_is_told_where_settings_ask_for_it_and_nobody_where_they_say_so() -> None:
    raws = site(400, more={"b": 2.0})
    assert told(raws) == []
    each = told(raws, settings=DetectionSettings((Pattern("shop/*", absence="series"),)))
    assert [(a.entity, a.state, a.metric) for a in each] == [("shop/db", "raised", "b")]
    gone = site(400, gone=range(200, 300))
    assert told(gone, settings=DetectionSettings((Pattern("shop/d*", absence="off"),))) == []
