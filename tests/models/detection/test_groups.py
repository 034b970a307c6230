"""Series that measure one thing count once; what never moves, and what moves one way only, stands alone."""

from __future__ import annotations

import numpy as np
import pytest

from models.detection import columns
from models.detection.bank import Bank
from models.detection.forks import Forks
from models.detection.groups import EVERY, NEAREST, merge
from tests.models.detection.test_bank import bank_of, samples
from topics.batch import Float64, Names, Steer
from topics.learning import Learning

LOOK = int(EVERY) + 1  # samples from one look at who goes together to the next
FIRST = 8  # series of an entity that came before, so that numbers and places are not the same


def lettered(marks: Float64) -> list[str]:
    """Who goes together: a letter for each mark, in order; "-a" where one look alone says so, "" who stands alone."""
    letters: dict[float, str] = {}
    return [
        "-" * (mark < 0.0) + letters.setdefault(abs(mark), "abcdefgh"[len(letters)]) if mark else ""
        for mark in marks.tolist()
    ]


def groups(values: Float64, bank: Bank | None = None, first: int = 0) -> list[str]:
    """The groups of an entity's series after these samples, of which `first` came before."""
    found = bank or bank_of(1, values.shape[1])[0]
    found.take(samples(values, first=first))
    return lettered(found.series[: values.shape[1], columns.GROUP])


def noise(samples_: int = 4 * LOOK, series: int = 1, seed: int = 1) -> Float64:
    return np.random.default_rng(seed).normal(0, 1, (samples_, series))


@pytest.mark.parametrize("factor", [3.0, 0.001, -1.0, -250.0])
def test_a_multiple_of_a_series_counts_with_it_once_two_looks_agree(factor: float) -> None:
    one, other = noise(seed=1), noise(seed=2)
    values = np.hstack([one, other, 7.0 + factor * one])
    assert groups(values[: LOOK - 1]) == ["", "", ""], "nobody has looked yet"
    assert groups(values[:LOOK]) == groups(values[: 2 * LOOK - 1]) == ["a", "b", "-a"], "one look alone says it"
    assert groups(values[: 2 * LOOK]) == groups(values[: 4 * LOOK]) == ["a", "b", "a"]


def test_what_is_alike_but_for_noise_goes_together_and_what_is_half_alike_does_not() -> None:
    one = noise(seed=3)
    close, far = one + 0.05 * noise(seed=4), one + noise(seed=5)
    assert groups(np.hstack([one, close, far])) == ["a", "a", "b"]


@pytest.mark.parametrize("shape", ["constant", "counter", "faster and faster"])
def test_what_does_not_move_both_ways_stands_alone(shape: str) -> None:
    at = np.arange(4 * LOOK, dtype=np.float64)[:, None]
    one = {"constant": np.full_like(at, 5.0), "counter": at * 12.0, "faster and faster": at**2}[shape]
    assert groups(np.hstack([one, 2.0 * one, one + 1.0])) == ["", "", ""]


def test_a_mark_is_the_signs_of_the_first_when_it_was_found_and_stays_whatever_comes_first_later() -> None:
    one, bank = noise(seed=6), bank_of(1, 2)[0]
    values = np.hstack([one, -one])
    bank.take(samples(values[:LOOK]))
    mark = float(bank.series[0, columns.SIGNS])
    assert bank.series[:2, columns.GROUP].tolist() == [mark, -mark]
    bank.take(samples(values[LOOK : 2 * LOOK], first=LOOK))
    assert mark not in np.abs(bank.series[:2, columns.SIGNS]), "they have moved since"
    swapped = samples(values[2 * LOOK :, ::-1], first=2 * LOOK)
    bank.take(swapped._replace(series=np.ascontiguousarray(swapped.series.reshape(-1, 2)[:, ::-1]).ravel()))
    assert bank.series[:2, columns.GROUP].tolist() == [mark, mark]
    assert bank.entities[0, columns.GROUPED] == 1.0


def test_those_that_part_are_each_counted_again_at_the_next_look() -> None:
    one, two = noise(seed=6), noise(LOOK, 2, seed=7)
    bank, _ = bank_of(1, 2)
    assert groups(np.hstack([one, -one]), bank) == ["a", "a"]
    assert groups(two, bank, first=4 * LOOK) == ["a", "b"]
    assert bank.entities[0, columns.GROUPED] == 0.0


def test_when_the_first_of_a_group_parts_from_it_the_others_stay_together_as_two_looks_say() -> None:
    one, two = noise(6 * LOOK, seed=6), noise(6 * LOOK, seed=7)
    parted = np.vstack([one[: 4 * LOOK], two[4 * LOOK :]])
    values, bank = np.hstack([parted, one, -one]), bank_of(1, 3)[0]
    assert groups(values[: 4 * LOOK], bank) == ["a", "a", "a"]
    assert groups(values[4 * LOOK : 5 * LOOK], bank, first=4 * LOOK) == ["a", "b", "-b"]
    assert groups(values[5 * LOOK :], bank, first=5 * LOOK) == ["a", "b", "b"]


def merged(marks: list[float], come: list[int], off: list[float]) -> list[float]:
    """What is left of `off` of those of some series that come in a sample."""
    tiles = np.zeros((1, columns.SERIES_FIELDS, columns.TILE))
    tiles[0, columns.GROUP, : len(marks)] = marks
    left = np.array(off)
    merge(tiles, np.array(come, np.int32), left, np.full(2 * NEAREST, -7))
    found: list[float] = left.tolist()
    return found


def test_the_largest_of_a_group_stands_where_its_first_does() -> None:
    marks = [5.0, 0.0, 5.0, 5.0, -5.0, -5.0, 9.0, 0.0]
    off = [2.0, 3.0, 9.0, 1.5, 4.0, 6.0, 8.0, 7.0]
    assert merged(marks, [*range(8)], off) == [9.0, 3.0, 0.0, 0.0, 4.0, 6.0, 8.0, 7.0]


def test_a_group_whose_first_did_not_come_stands_where_another_of_it_does() -> None:
    assert merged([5.0, 5.0, 5.0], [1, 2], [2.0, 9.0]) == [9.0, 0.0]


def copies(series: int, first: int) -> tuple[Bank, Float64]:
    """An entity whose series from `first` on are multiples of the one before that, and how far off each is, by sample.

    Samples begin after the third look.
    """
    values = np.random.default_rng(8).normal(50, 2, (1000, series))
    values[:, first:] = values[:, first - 1 : first] * [(-1.0) ** at * (at + 1) for at in range(series - first)]
    bank, _ = bank_of(1, series)
    off = bank.take(samples(values)).off.reshape(1000, series)
    assert (off[LOOK] > 0.0).all()
    return bank, off[3 * LOOK :]


def test_of_copies_of_one_series_one_counts() -> None:
    bank, off = copies(8, 2)
    assert bank.entities[0, columns.GROUPED] == 6.0
    assert (off[:, :2] > 0.0).all()
    assert not off[:, 2:].any()


def test_copies_count_once_among_more_series_than_are_looked_at_together() -> None:
    bank, off = copies(NEAREST + 8, NEAREST + 6)
    assert bank.entities[0, columns.GROUPED] == 2.0
    assert (off[:, : NEAREST + 6] > 0.0).all()
    assert not off[:, NEAREST + 6 :].any()


def test_a_learner_that_an_incident_forks_keeps_its_groups() -> None:
    """They are known by marks, which mean the same whatever numbers series have: in a copy, and back in the bank."""
    names, bank, alone = Names(), Bank(), bank_of(1, 3)[0]
    names.intern("others", [f"m{at}" for at in range(FIRST)])
    number, series = names.intern("e", ["a", "b", "c"])
    bank.admit(names)
    forks, one = Forks(bank), noise(6 * LOOK)
    plain = samples(np.hstack([noise(6 * LOOK, seed=2), one, -2.0 * one]))
    given = plain._replace(entity=plain.entity + np.int32(number), series=plain.series + np.int32(series[0]))
    forks.take(given)
    alone.take(plain)
    marks = bank.rows(series)[:, columns.GROUP].tolist()
    assert lettered(np.array(marks)) == ["a", "b", "b"]
    assert alone.series[:3, columns.GROUP].tolist() == marks, "whatever numbers they have"
    forks.steer(Steer(names, Learning(entity="e", ts=1, learning="open", incident="i")))
    fork = forks.open[number]
    assert columns.rows_of(fork.tiles, 3)[:, columns.GROUP].tolist() == marks
    forks.take(given._replace(ts=given.ts + 10**7))
    assert columns.rows_of(fork.tiles, 3)[:, columns.GROUP].tolist() == marks
    assert fork.entity[0, columns.GROUPED] == 1.0
    forks.steer(Steer(names, Learning(entity="e", ts=1, learning="close", incident="i", label="expected")))
    assert bank.rows(series)[:, columns.GROUP].tolist() == marks
    assert bank.entities[number, columns.GROUPED] == 1.0
