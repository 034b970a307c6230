"""Noise is what it is named for and the same every time; brief faults are where the labels say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.bench import noise
from app.bench.detectors import ON_NOISE, TREES
from app.bench.noise import DAY, FAMILIES, WITH_FAULTS, recorded, with_faults
from app.bench.scoring import segments


def values(family: str) -> NDArray[Any]:
    return recorded(family, 1, 4 * DAY).values


def memory(series: NDArray[Any], lag: int = 1) -> float:
    """Autocorrelation, over all series."""
    off = series - series.mean(axis=0)
    return float((off[lag:] * off[:-lag]).sum() / (off * off).sum())


def together(family: str) -> float:
    """The mean correlation of two series, whatever its sign."""
    found = np.abs(np.corrcoef(values(family).T))
    return float((found.sum() - len(found)) / (found.size - len(found)))


def tails(series: NDArray[Any]) -> float:
    """Kurtosis, 3 under a normal law."""
    off = series - series.mean(axis=0)
    return float(np.mean((off**4).mean(axis=0) / (off**2).mean(axis=0) ** 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_the_same_for_the_same_seed_and_another_for_another(family: str) -> None:
    first = recorded(family, 1, 500).values
    assert first.shape == (500, 38)
    assert np.array_equal(first, recorded(family, 1, 500).values, equal_nan=True)
    assert not np.array_equal(first, recorded(family, 2, 500).values, equal_nan=True)


def test_what_remembers_and_what_goes_together_is_what_says_so() -> None:
    remembering = {"autoregressive", "autoregressive correlated", "seasonal", "level shifts", "random walk", "bursts"}
    assert {family for family in FAMILIES if memory(np.nan_to_num(values(family))) > 0.3} == remembering
    assert memory(values("autoregressive")) == pytest.approx(0.95, abs=0.02)
    assert together("gaussian") < 0.05 < 0.3 < together("correlated")
    assert together("autoregressive") < 0.1 < 0.3 < together("autoregressive correlated")


def test_counts_are_whole_and_sparse_ones_mostly_nothing() -> None:
    for family in ("counts", "sparse counters"):
        assert np.array_equal(values(family), np.round(values(family)))
        assert values(family).min() >= 0
    assert values("counts").mean() == pytest.approx(20, abs=0.1)
    assert (values("sparse counters") == 0).mean() > 0.9


def test_heavy_tails_are_heavy_and_light_ones_are_not() -> None:
    assert tails(values("gaussian")) == pytest.approx(3, abs=0.1)
    assert min(tails(values(family)) for family in ("t3", "lognormal", "bursts", "changing variance")) > 5
    assert values("lognormal").min() > 0


def test_variance_changes_for_hours_where_the_values_themselves_have_no_memory() -> None:
    size = np.abs(values("changing variance") - 10)
    assert memory(size, 30) > 0.2
    assert abs(memory(np.abs(values("t3") - 20), 30)) < 0.02
    assert abs(memory(values("changing variance"), 30)) < 0.05


def test_seasons_repeat_each_day_shifts_last_and_bursts_end() -> None:
    assert memory(values("seasonal"), DAY) > 0.6
    assert memory(values("seasonal"), DAY // 2) < -0.6
    levels = values("level shifts").reshape(-1, 240, 38).mean(axis=1)  # of four hours each
    assert levels.std(axis=0).mean() > 5 * values("gaussian").reshape(-1, 240, 38).mean(axis=1).std(axis=0).mean()
    assert memory(values("bursts"), 3) > 0.1 > abs(memory(values("bursts"), 30))


def test_a_fifth_is_missing_and_a_walk_goes_away() -> None:
    assert np.isnan(values("missing values")).mean() == pytest.approx(0.2, abs=0.01)
    assert np.diff(values("random walk"), axis=0).std() == pytest.approx(1, abs=0.01)
    assert np.abs(values("random walk")[-1] - values("random walk")[0]).mean() > 30


@pytest.mark.parametrize("family", WITH_FAULTS)
def test_faults_are_where_the_labels_say_and_nowhere_else(family: str) -> None:
    quiet = recorded(family, 1, 12 * DAY)
    faulty = with_faults(quiet, 1)
    moved = np.nan_to_num(faulty.values - quiet.values)
    assert faulty.label is not None
    assert np.array_equal(moved.any(axis=1), faulty.label > 0)
    spread = np.nanstd(quiet.values, axis=0)
    places = segments(faulty.label)
    assert len(places) >= 6
    assert min(np.diff([first for first, _ in places])) >= DAY
    for first, last in places:
        assert last - first + 1 == noise.FAULT_SAMPLES
        sizes = np.abs(moved[first : last + 1] / spread)
        assert sizes[sizes > 0] == pytest.approx(noise.FAULT_SPREADS)
        assert (sizes > 0).any(axis=0).sum() == noise.FAULT_SERIES or family == "missing values"


def test_each_detector_is_told_for_each_family_and_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "SEEDS", (1, 2))
    monkeypatch.setattr(noise, "WITH_FAULTS", ("gaussian", "missing values"))
    monkeypatch.setattr(noise, "FAMILIES", {family: FAMILIES[family] for family in ("gaussian", "missing values")})
    trees = []

    def counted(recording: Any) -> Any:
        trees.append(recording)
        return ON_NOISE["ewma z"](recording)

    monkeypatch.setitem(ON_NOISE, TREES, counted)
    quiet, faulty = noise.noise(None, 4 * DAY), noise.brief(None, 4 * DAY)
    assert set(quiet) == set(faulty) == {"gaussian", "missing values", "all families"}
    for by_detector in quiet.values():
        assert set(by_detector) == set(ON_NOISE)
        assert all(set(each) == {"false_alarms_a_week", "alarmed_share"} for each in by_detector.values())
    assert faulty["gaussian"]["ewma z, warmed up"]["found"] == 1.0
    assert faulty["all families"]["opsloop"]["faults"] == 2 * faulty["all families"][TREES]["faults"] > 0
    assert len(trees) == 4  # of the first seed alone


def test_an_alarm_that_never_ends_finds_one_fault_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(recording: Any) -> Any:
        found = ON_NOISE["ewma z"](recording)
        return found._replace(alarm=(np.arange(len(found.alarm)) >= 5).astype(float))

    monkeypatch.setattr(noise, "WITH_FAULTS", ("gaussian",))
    monkeypatch.setattr(noise, "ON_NOISE", {"opsloop": stuck})
    told = noise.brief(None, 7 * DAY)["gaussian"]["opsloop"]
    assert (told["found"], told["on"], told["false_alarms_a_week"]) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(("after", "kind"), [(0, "found"), (2, "found"), (3, "late"), (5, "late"), (6, "false")])
def test_an_alarm_after_the_fault_is_late_and_then_false(
    monkeypatch: pytest.MonkeyPatch, after: int, kind: str
) -> None:
    def slow(recording: Any) -> Any:
        alarm = np.roll(np.diff(recording.label, prepend=0) == 1, after).astype(float)
        return ON_NOISE["ewma z"](recording)._replace(alarm=alarm)

    monkeypatch.setattr(noise, "WITH_FAULTS", ("gaussian",))
    monkeypatch.setattr(noise, "ON_NOISE", {"opsloop": slow})
    told = noise.brief(None, 7 * DAY)["gaussian"]["opsloop"]
    assert told["faults"] > 6
    assert (told["found"], told["late"], told["false_alarms_a_week"] > 0) == (
        kind == "found",
        kind == "late",
        kind == "false",
    )
