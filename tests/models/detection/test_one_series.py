"""The alarm of an entity with one series: within a budget, over when it is calm, and not of what comes every day."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.offline.score import batch_of
from models.detection.bank import Bank
from models.detection.columns import CLEAR, OWN_BUDGET, RAISE, Samples, Scored
from models.detection.one_series import boundary_of
from models.detection.partition import PartitionDetector
from models.detection.settings import DetectionSettings, Pattern
from models.detection.univariate import BEGIN, CLUSTERS, EXCESS, FIELDS, INTERVAL, Univariate, open_row
from models.detection.univariate import SAMPLES as LOOKS
from topics.batch import Float64, Names

START = 1_699_920_000_000  # midnight, a Tuesday
WEEK_S = 604_800


def alone(budget: float = 1.0) -> Bank:
    names, bank = Names(), Bank()
    names.intern("web", ["requests"])
    bank.admit(names)
    bank.univariate_config = bank.univariate_config._replace(false_alarms_a_week=budget)
    return bank


def samples(values: Float64, first: int = 0, seconds: int = 60) -> Samples:
    n = len(values)
    ts = START + 1000 * seconds * np.arange(first, first + n, dtype=np.int64)
    return Samples(np.zeros(n, np.int32), ts, np.arange(n + 1, dtype=np.int32), np.zeros(n, np.int32), values)


def at(event: int, scored: Scored) -> list[int]:
    return np.flatnonzero(scored.event == event).tolist()


def noise(n: int, seed: int = 1) -> Float64:
    return np.random.default_rng(seed).normal(10, 1, n)


KINDS = {
    "gauss": lambda rng, n: rng.normal(10, 1, n),
    "counts": lambda rng, n: rng.poisson(20, n).astype(float),
    "t3": lambda rng, n: 20 + rng.standard_t(3, n),
    "lognormal": lambda rng, n: np.exp(rng.normal(0, 1, n)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [60, 300, 3600])
def test_noise_keeps_the_budget_however_often_it_is_sampled(kind: str, seconds: int) -> None:
    weeks = 3 if seconds == 60 else 6
    n = weeks * WEEK_S // seconds
    values = KINDS[kind](np.random.default_rng(5), n)
    scored = alone().take(samples(values, 0, seconds))
    raised, cleared = at(RAISE, scored), at(CLEAR, scored)
    assert len(raised) <= 3 * weeks, raised
    lasted = sum(b - a for a, b in zip(raised, cleared, strict=False))
    assert lasted <= max(0.005 * n, 4 * len(raised)), "it takes three calm samples to end one, of an hour each at worst"
    assert len(raised) - len(cleared) in (0, 1)


def test_noise_at_a_sample_a_second_is_told_some_times_a_day_at_most() -> None:
    scored = alone().take(samples(noise(172_800), 0, 1))
    assert len(at(RAISE, scored)) <= 3


def test_the_boundary_follows_from_the_tail_the_budget_and_the_samples_a_week() -> None:
    rows, config = np.zeros((2, FIELDS)), Univariate()
    own = rows[open_row(rows, float(START), config)]
    own[[BEGIN, EXCESS, CLUSTERS]] = 8.0, 2.0, 0.01
    own[LOOKS] = 1e9  # neither young nor few
    own[INTERVAL] = 60_000.0
    assert boundary_of(own, 1.0, config) == pytest.approx(8.0 + 2.0 * np.log(100.8), abs=1e-3)
    assert boundary_of(own, 10.0, config) == pytest.approx(8.0 + 2.0 * np.log(10.08), abs=1e-3)
    own[BEGIN] = 12.0
    assert boundary_of(own, 1e6, config) == pytest.approx(12.0 + 2.0), "one mean excess at least"
    own[BEGIN] = 8.0
    own[INTERVAL] = 1000.0
    assert boundary_of(own, 1.0, config) == pytest.approx(8.0 + 2.0 * np.log(6048.0), abs=1e-3)
    own[BEGIN] = 1.0
    assert boundary_of(own, 1e6, config) == pytest.approx(config.least_nats)


def test_the_boundary_of_a_young_entity_is_higher_the_more_so_the_farther_in_its_tail_it_is() -> None:
    rows, config = np.zeros((2, FIELDS)), Univariate()
    own = rows[open_row(rows, float(START), config)]
    own[[BEGIN, EXCESS, CLUSTERS, INTERVAL]] = 8.0, 2.0, 0.01, 60_000.0
    near, far = {}, {}
    for looks in (50, 170, 10_000, 1e9):
        own[LOOKS] = looks
        near[looks], far[looks] = boundary_of(own, 10.0, config), boundary_of(own, 1e-3, config)
    assert near[170] == pytest.approx(2.0 * near[1e9]), "twice as high after 170 samples"
    assert near[50] > 3.5 * near[170]
    assert near[10_000] == pytest.approx(near[1e9], rel=1e-3)
    beyond = 2.0 * (np.log(100.8 / 1e-3) - 4.0)  # nats beyond four mean excesses, of which nobody has seen the tail yet
    assert far[10_000] - far[1e9] == pytest.approx(beyond / 2.0, rel=0.01)


def test_a_larger_budget_tells_more_be_it_of_all_or_of_the_entity() -> None:
    values = np.exp(noise(40_000, 2) - 10)
    own = alone(1.0)
    own.entities[0, OWN_BUDGET] = np.log(20.0)
    raised, of_all, of_one = (at(RAISE, bank.take(samples(values))) for bank in (alone(1.0), alone(20.0), own))
    assert len(of_all) > 1.5 * len(raised) > 0
    assert of_one == of_all


@pytest.mark.parametrize("size", [8.0, 30.0, 1000.0])
def test_a_shift_is_told_at_once_and_ends_by_itself(size: float) -> None:
    values = noise(6000)
    values[4000:] += size
    scored = alone().take(samples(values))
    raised, cleared = ([i for i in at(event, scored) if i >= 4000] for event in (RAISE, CLEAR))
    assert raised
    assert raised[0] <= 4001
    assert len(raised) == len(cleared) <= 2
    assert cleared[-1] <= 4450


def test_coming_back_from_a_spike_is_no_further_alarm() -> None:
    values = noise(6000)
    values[4000:4004] += 25
    scored = alone().take(samples(values))
    assert [i for i in at(RAISE, scored) if i >= 3990] == [4000]
    (cleared,) = (i for i in at(CLEAR, scored) if i >= 4000)
    assert cleared <= 4012


def test_a_second_fault_is_told_again_with_an_onset_of_its_own() -> None:
    values = noise(6000)
    values[4000:4060] += 8
    values[4030:4060] += 60
    scored = alone().take(samples(values))
    raised = [i for i in at(RAISE, scored) if i >= 3990]
    assert raised[0] == 4000
    assert 4030 <= raised[1] <= 4031
    onsets = scored.onset[raised[:2]]
    assert onsets.tolist() == [START + 60_000 * 4000, START + 60_000 * 4030]
    assert [i for i in at(CLEAR, scored) if 4000 <= i <= 4030]


def test_a_peak_that_comes_every_day_is_quiet_from_its_fourth_coming_and_one_at_another_hour_is_not() -> None:
    rng, day = np.random.default_rng(3), 288
    values = rng.normal(50, 2, 12 * day)
    for n in range(12):
        values[n * day + 100 : n * day + 103] += 40 + 2 * rng.normal()
    values[10 * day + 200 : 10 * day + 203] += 60
    scored = alone().take(samples(values, 0, 300))
    raised = np.array(at(RAISE, scored))
    daily = raised[(raised % day >= 99) & (raised % day < 104)] // day
    assert len(daily) >= 1
    assert (daily < 3).all(), daily
    assert 10 * day + 200 in raised


def test_what_the_budget_withholds_is_marked_and_what_is_clearly_stranger_is_told() -> None:
    values = noise(30_000)
    places = 3000 + 300 * np.arange(60)  # sixty spikes in twelve days, at all hours
    values[places] += 7
    values[25_000] += 60
    scored = alone().take(samples(values))
    assert scored.suppressed[places].sum() > 20
    assert len(at(RAISE, scored)) < 25
    assert not scored.suppressed[[i for i in range(30_000) if scored.event[i] == RAISE]].any()
    assert scored.event[25_000] == RAISE


@pytest.mark.parametrize("patterns", [(), (Pattern(entities="other", opens_at=2.0),)])
def test_what_the_budget_withholds_is_told_as_suppressed_and_has_ended(patterns: tuple[Pattern, ...]) -> None:
    values = noise(30_000)
    values[3000 + 300 * np.arange(60)] += 7
    stamps = START + 60_000 * np.arange(len(values), dtype=np.int64)
    found = [
        *PartitionDetector(DetectionSettings(patterns)).take(
            batch_of(Names(), "shop", ["orders"], stamps, values[:, None])
        )
    ]
    withheld = [each for each in found if each.suppressed == "entity"]
    assert len(withheld) > 20
    assert {(each.state, each.onset == each.ts) for each in withheld} == {("cleared", True)}
    told = {each.id for each in found if each.suppressed == "none" and each.detector == "bank"}
    assert told
    assert told.isdisjoint(each.id for each in withheld)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 80), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_alarms_are_the_same_however_the_stream_is_cut(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(10, 1, 600) + np.where(rng.random(600) < 0.02, 30, 0)
    one, two = alone(), alone()
    whole = one.take(samples(values))
    kept = [whole.event.tobytes(), whole.over.tobytes(), whole.suppressed.tobytes()]
    assert np.isfinite(whole.over[1:]).all()
    edges = [0, *[e for e in np.cumsum(cuts).tolist() if e < 600], 600]
    found = [b"", b"", b""]
    for a, b in itertools.pairwise(edges):
        part = two.take(samples(values[a:b], a))
        found[0] += part.event.tobytes()
        found[1] += part.over.tobytes()
        found[2] += part.suppressed.tobytes()
    assert found == kept
    assert one.univariate_rows.tobytes() == two.univariate_rows.tobytes()
