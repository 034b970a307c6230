"""Series that measure one thing count once; what never moves, and what moves one way only, stands alone."""

from __future__ import annotations

import numpy as np
import pytest

from models.detection import columns
from models.detection.bank import Bank
from models.detection.forks import Forks
from models.detection.groups import EVERY, merge
from tests.models.detection.test_bank import bank_of, samples
from topics.batch import Float64, Names, Steer
from topics.learning import Learning

LOOK = int(EVERY)
FIRST = 8  # series of an entity that came before, so that numbers and places are not the same


def groups(values: Float64, bank: Bank | None = None) -> list[float]:
    """The group of each series of an entity after these samples."""
    found = bank or bank_of(1, values.shape[1])[0]
    found.take(samples(values))
    return [float(group) for group in found.series[: values.shape[1], columns.GROUP]]


def noise(samples_: int = 4 * LOOK, series: int = 1, seed: int = 1) -> Float64:
    return np.random.default_rng(seed).normal(0, 1, (samples_, series))


@pytest.mark.parametrize("factor", [3.0, 0.001, -1.0, -250.0])
def test_a_multiple_of_a_series_counts_with_it_once_two_looks_agree(factor: float) -> None:
    one, other = noise(seed=1), noise(seed=2)
    values = np.hstack([one, other, 7.0 + factor * one])
    assert groups(values[: LOOK + 1]) == [0.0, 0.0, -1.0], "one look alone says it"
    assert groups(values[: 2 * LOOK + 1]) == [0.0, 0.0, 1.0]


def test_what_is_alike_but_for_noise_goes_together_and_what_is_half_alike_does_not() -> None:
    one = noise(seed=3)
    close, far = one + 0.05 * noise(seed=4), one + noise(seed=5)
    assert groups(np.hstack([one, close, far])) == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("shape", ["constant", "counter"])
def test_what_does_not_move_both_ways_stands_alone(shape: str) -> None:
    at = np.arange(4 * LOOK, dtype=np.float64)[:, None]
    one = {"constant": np.full_like(at, 5.0), "counter": at * 12.0}[shape]
    assert groups(np.hstack([one, 2.0 * one, one + 1.0])) == [0.0, 0.0, 0.0]


def test_those_that_part_are_each_counted_again_after_two_looks() -> None:
    one, two = noise(seed=6), noise(4 * LOOK, 2, seed=7)
    bank, _ = bank_of(1, 2)
    assert groups(np.hstack([one, -one]), bank) == [0.0, 1.0]
    bank.take(samples(two[: LOOK + 1], first=4 * LOOK))
    assert bank.series[:2, columns.GROUP].tolist() == [0.0, -1.0]
    bank.take(samples(two[LOOK + 1 :], first=5 * LOOK + 1))
    assert bank.series[:2, columns.GROUP].tolist() == [0.0, 0.0]
    assert bank.entities[0, columns.GROUPED] == 0.0


def test_the_largest_of_a_group_stands_where_its_first_does() -> None:
    tiles = np.zeros((1, columns.SERIES_FIELDS, columns.TILE))
    tiles[0, columns.GROUP, :5] = [0.0, 0.0, 1.0, 2.0, -1.0]
    off, held = np.array([2.0, 3.0, 9.0, 1.5, 4.0]), np.zeros(8)
    merge(tiles, np.arange(5, dtype=np.int32), off, held)
    assert off.tolist() == [9.0, 3.0, 0.0, 0.0, 4.0]
    assert not held.any()


def test_a_group_whose_first_did_not_come_stands_where_another_of_it_does() -> None:
    tiles = np.zeros((1, columns.SERIES_FIELDS, columns.TILE))
    tiles[0, columns.GROUP, :3] = [0.0, 1.0, 1.0]
    off, held = np.array([2.0, 9.0]), np.zeros(8)
    merge(tiles, np.array([1, 2], np.int32), off, held)
    assert off.tolist() == [9.0, 0.0]


def test_of_copies_of_one_series_one_counts() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(50, 2, (2000, 8))
    values[:, 2:] = values[:, 1:2] * np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    bank, _ = bank_of(1, 8)
    off = bank.take(samples(values)).off.reshape(2000, 8)
    assert bank.entities[0, columns.GROUPED] == 6.0
    assert (off[LOOK] > 0.0).all()
    assert ((off[200:] > 0.0).sum(axis=1) == 2).all()


def test_a_learner_that_an_incident_forks_keeps_its_groups_under_numbers_of_its_own() -> None:
    """The bank's numbers lie beyond what a copy has room for."""
    names, bank = Names(), Bank()
    names.intern("others", [f"m{at}" for at in range(FIRST)])
    number, series = names.intern("e", ["a", "b", "c"])
    bank.admit(names)
    forks, one = Forks(bank), noise(6 * LOOK)
    given = samples(np.hstack([noise(6 * LOOK, seed=2), one, -2.0 * one]))
    given = given._replace(entity=given.entity + np.int32(number), series=given.series + np.int32(series[0]))
    forks.take(given)
    assert bank.rows(series)[:, columns.GROUP].tolist() == [0.0, 0.0, 1.0 + series[1]]
    forks.steer(Steer(names, Learning(entity="e", ts=1, learning="open", incident="i")))
    assert columns.rows_of(forks.open[number].tiles, 3)[:, columns.GROUP].tolist() == [0.0, 0.0, 2.0]
    forks.take(given._replace(ts=given.ts + 10**7))
    assert columns.rows_of(forks.open[number].tiles, 3)[:, columns.GROUP].tolist() == [0.0, 0.0, 2.0]
    forks.steer(Steer(names, Learning(entity="e", ts=1, learning="close", incident="i", label="expected")))
    assert bank.rows(series)[:, columns.GROUP].tolist() == [0.0, 0.0, 1.0 + series[1]]
    assert bank.entities[number, columns.GROUPED] == 1.0
