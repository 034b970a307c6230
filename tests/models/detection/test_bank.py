"""What the bank must do whatever it is given: the same bits for any cut, finite state, a new normal at last."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detection import columns
from models.detection.bank import Bank
from models.detection.columns import CLEAR, QUIET, RAISE, Samples
from topics.batch import Float64, Names

START = 1_700_000_000_000


def bank_of(entities: int, metrics: int) -> tuple[Bank, Names]:
    names, bank = Names(), Bank()
    for entity in range(entities):
        names.intern(f"e{entity}", [f"m{m}" for m in range(metrics)])
    bank.admit(names)
    return bank, names


def samples(values: Float64, entity: np.ndarray | None = None, period_ms: int = 1000, first: int = 0) -> Samples:
    """values: (n, k), a sample a row; of one entity, or of the entities named row by row."""
    n, k = values.shape
    whose = np.zeros(n, np.int32) if entity is None else entity.astype(np.int32)
    series = (whose[:, None] * k + np.arange(k)).astype(np.int32).ravel()
    ts = START + period_ms * np.arange(first, first + n, dtype=np.int64)
    return Samples(whose, ts, np.arange(0, n * k + 1, k, dtype=np.int32), series, np.ascontiguousarray(values).ravel())


def part(given: Samples, a: int, b: int) -> Samples:
    low, high = int(given.start[a]), int(given.start[b])
    return Samples(
        given.entity[a:b], given.ts[a:b], given.start[a : b + 1] - np.int32(low), given.series[low:high],
        given.value[low:high],
    )  # fmt: skip


def alarms(bank: Bank, given: Samples) -> list[tuple[int, int]]:
    events = bank.take(given).event
    return [(int(at), int(events[at])) for at in np.flatnonzero(events) if events[at] in (RAISE, CLEAR)]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 60), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_scores_are_the_same_bits_however_the_stream_is_cut(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (300, 4)) * rng.choice([1, 1, 1, 50], (300, 1))
    given_whole = samples(values, rng.integers(0, 3, 300))
    (one, _), (two, _) = bank_of(3, 4), bank_of(3, 4)
    whole = one.take(given_whole).score.copy()
    edges = [0, *[e for e in np.cumsum(cuts).tolist() if e < 300], 300]
    pieces = [two.take(part(given_whole, a, b)).score.copy() for a, b in itertools.pairwise(edges)]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert one.series.tobytes() == two.series.tobytes()
    assert one.entities.tobytes() == two.entities.tobytes()


@given(st.lists(st.floats(-1e100, 1e100), min_size=2, max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_finite_value_makes_the_state_anything_but_finite(values: list[float]) -> None:
    bank, _ = bank_of(1, 1)
    scored = bank.take(samples(np.array(values).reshape(-1, 1)))
    assert np.isfinite(scored.score).all()
    assert np.isfinite(bank.series).all()
    assert np.isfinite(bank.entities).all()
    assert np.isfinite(bank.univariate).all()


def test_one_wild_value_does_not_blind_a_series_to_the_next_fault() -> None:
    rng = np.random.default_rng(1)
    bank, _ = bank_of(1, 6)
    values = rng.normal(50, 2, (800, 6))
    values[300] = 1e12
    values[700:720] += 40
    raised = [at for at, event in alarms(bank, samples(values)) if event == RAISE]
    assert raised[0] == 300
    assert any(700 <= at < 705 for at in raised)


@pytest.mark.parametrize("shape", ["counter", "daily", "constant"])
def test_an_ordinary_shape_is_no_alarm(shape: str) -> None:
    rng, at = np.random.default_rng(2), np.arange(3000)[:, None]
    values = {
        "counter": at * 12.0 + rng.integers(0, 5, (3000, 6)),
        "daily": 50 + 30 * np.sin(2 * np.pi * at / 288) + rng.normal(0, 1, (3000, 6)),
        "constant": np.full((3000, 6), 7.0),
    }[shape]
    bank, _ = bank_of(1, 6)
    raised = [at for at, event in alarms(bank, samples(values)) if event == RAISE]
    assert len(raised) <= 1, raised


def test_a_level_that_stays_is_accepted_at_last() -> None:
    rng = np.random.default_rng(3)
    bank, _ = bank_of(1, 6)
    values = rng.normal(50, 2, (8000, 6))
    values[500:] += 30
    found = alarms(bank, samples(values))
    assert found[0] == (found[0][0], RAISE)
    assert 500 <= found[0][0] <= 504
    assert found[-1][1] == CLEAR
    assert 500 + 30 < found[-1][0] < 500 + 300, "not in a few looks, but in a bounded time"
    assert sum(event == RAISE for _, event in found) == 1


def test_a_value_that_is_not_newer_is_neither_scored_nor_learned() -> None:
    bank, _ = bank_of(1, 3)
    given_once = samples(np.random.default_rng(4).normal(0, 1, (50, 3)))
    bank.take(given_once)
    before = bank.series.tobytes(), bank.entities.tobytes()
    assert not bank.take(given_once).z.any()
    assert (bank.series.tobytes(), bank.entities.tobytes()) == before


def test_growth_keeps_what_was_learned() -> None:
    bank, names = bank_of(1, 3)
    bank.take(samples(np.random.default_rng(5).normal(0, 1, (50, 3))))
    before = bank.series[:3].copy()
    for entity in range(1, 400):
        names.intern(f"e{entity}", ["m0", "m1"])
    bank.admit(names)
    assert bank.n_series == 3 + 399 * 2
    assert bank.series[:3].tobytes() == before.tobytes()
    assert not bank.series[3 : bank.n_series, columns.COUNT].any()


@pytest.mark.parametrize("metrics", [3, 10, 21, 200])
def test_no_bit_depends_on_the_order_in_which_series_and_entities_come(metrics: int) -> None:
    rng = np.random.default_rng(6)
    (one, _), (two, _) = bank_of(20, metrics), bank_of(20, metrics)
    for scored_sample in range(30):
        values = rng.normal(0, 1, (20, metrics)) * rng.choice([1.0, 9.0])
        straight = samples(values, np.arange(20), period_ms=0, first=0)
        straight = straight._replace(ts=straight.ts + 1000 * scored_sample)
        entities, series = rng.permutation(20), rng.permutation(metrics)
        mixed = samples(values[entities][:, series], entities, period_ms=0)._replace(ts=straight.ts)
        mixed = mixed._replace(series=straight.series.reshape(20, metrics)[entities][:, series].ravel())
        expected, found = one.take(straight), two.take(mixed)
        assert found.score.tobytes() == expected.score[entities].tobytes()
        assert found.z.tobytes() == expected.z.reshape(20, metrics)[entities][:, series].tobytes()
    assert one.series.tobytes() == two.series.tobytes()
    assert one.entities.tobytes() == two.entities.tobytes()


def test_a_series_that_comes_twice_in_a_sample_is_taken_once() -> None:
    (one, _), (two, _) = bank_of(1, 9), bank_of(1, 9)
    values = np.random.default_rng(7).normal(0, 1, (40, 9))
    once = samples(values)
    twice = samples(np.repeat(values, 2, axis=1))._replace(series=np.repeat(once.series, 2))
    one.take(once)
    scored = two.take(twice)
    assert not scored.z[1::2].any()
    assert one.series.tobytes() == two.series.tobytes()
    assert np.isfinite(scored.score).all()


@pytest.mark.parametrize("series", [0, 1, 8, 21])
def test_rows_come_back_from_tiles_as_they_were(series: int) -> None:
    rows = np.random.default_rng(8).normal(0, 1, (series, columns.SERIES_FIELDS))
    assert columns.rows_of(columns.tiles_of(rows), series).tobytes() == rows.tobytes()


@pytest.mark.parametrize(("metric", "usual", "off"), [("up", 1.0, 0.0), ("up.refused", 0.0, 1.0)])
def test_a_series_whose_name_says_where_it_is_is_scored_from_its_first_value(
    metric: str, usual: float, off: float
) -> None:
    """It comes to an entity that has long been there; beside it comes one of whose name nothing is known."""
    rows = np.random.default_rng(5).normal(0.5, 0.02, (61, 2))
    for value, event in ((usual, QUIET), (off, RAISE)):
        bank, names = Bank(), Names()
        names.intern("e0", ["process.cpu.utilization", "http.server.request.duration"])
        bank.admit(names)
        assert not alarms(bank, samples(rows[:60]))
        names.intern("e0", [metric, "unknown"])
        bank.admit(names)
        scored = bank.take(samples(np.array([[*rows[60], value, 1e6]]), first=60))
        assert (scored.event[0], scored.z[3]) == (event, 0.0)
