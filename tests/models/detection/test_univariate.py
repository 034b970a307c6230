"""An entity with one series: told by what is rare for it, once, and by the hour of the day where there is one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detection import columns
from models.detection.bank import Bank
from models.detection.columns import RAISE, Samples
from models.detection.forks import Forks
from models.detection.one_series import LOUD
from models.detection.univariate import FIELDS, NEXT_FREE, ROWS, close_row, open_row, rested
from models.detection.univariate import Univariate as UnivariateConfig
from topics.batch import Float64, Names, Steer
from topics.learning import Learning

START = 1_699_920_000_000  # midnight
FIVE_MINUTES = 300_000
DAY = 288
DAMPED = 0.4 * LOUD  # what the score of a repeat stays below


def alone() -> tuple[Bank, Names]:
    names, bank = Names(), Bank()
    names.intern("web", ["requests"])
    bank.admit(names)
    return bank, names


def samples(values: Float64, first: int = 0, series: int = 1) -> Samples:
    """values: (n,) of one series, or (n * series,) of several, a sample every five minutes."""
    n = len(values) // series
    ts = START + FIVE_MINUTES * np.arange(first, first + n, dtype=np.int64)
    numbers = np.tile(np.arange(series, dtype=np.int32), n)
    start = np.arange(0, n * series + 1, series, dtype=np.int32)
    return Samples(np.zeros(n, np.int32), ts, start, numbers, values)


def raised(bank: Bank, values: Float64, first: int = 0) -> list[int]:
    return np.flatnonzero(bank.take(samples(values, first)).event == RAISE).tolist()


def spiky(n: int, seed: int) -> Float64:
    rng = np.random.default_rng(seed)
    return rng.normal(10, 1, n) + np.where(rng.random(n) < 0.02, rng.exponential(20, n), 0.0)


def days(n: int, seed: int = 1) -> Float64:
    """Busy from nine to six."""
    hour = np.arange(n) % DAY // 12
    return np.where((hour >= 9) & (hour < 18), 80.0, 20.0) + np.random.default_rng(seed).normal(0, 1, n)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 60), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_scores_are_the_same_bits_however_the_stream_is_cut(seed: int, cuts: list[int]) -> None:
    values = spiky(300, seed)
    (one, _), (two, _) = alone(), alone()
    whole = one.take(samples(values)).score.copy()
    edges = [0, *[e for e in np.cumsum(cuts).tolist() if e < 300], 300]
    pieces = [two.take(samples(values[a:b], a)).score.copy() for a, b in itertools.pairwise(edges)]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert one.univariate_rows.tobytes() == two.univariate_rows.tobytes()


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 80), min_size=1, max_size=10))
@settings(max_examples=25, deadline=None)
def test_entities_of_one_series_among_others_have_the_same_bits_for_any_cut(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    scored, width = 60, np.array([1, 1, 1, 3, 1, 2])
    widths = np.tile(width, scored)
    widths[30 * 6 + 1 :: 6] = 2  # the second shows another series half way
    first = np.concatenate(([0], np.cumsum(np.maximum(width, 2))))[:-1]
    start = np.concatenate(([0], np.cumsum(widths))).astype(np.int32)
    whose = np.tile(np.arange(6, dtype=np.int32), scored)
    series = np.concatenate([first[e] + np.arange(w) for e, w in zip(whose, widths, strict=True)]).astype(np.int32)
    ts = START + FIVE_MINUTES * np.repeat(np.arange(scored, dtype=np.int64), 6)
    values = rng.normal(10, 1, len(series)) * rng.choice([1, 1, 1, 9], len(series))

    def run(edges: list[int]) -> bytes:
        names, bank = Names(), Bank()
        for entity, size in enumerate(np.maximum(width, 2).tolist()):
            names.intern(str(entity), map(str, range(size)))
        bank.admit(names)
        found = []
        for a, b in itertools.pairwise(edges):
            low, high = start[a], start[b]
            batch = Samples(whose[a:b], ts[a:b], start[a : b + 1] - low, series[low:high], values[low:high])
            found.append(bank.take(batch).score.tobytes())
        assert bank.entities[:6, columns.UNIVARIATE].tolist() == [1, -1, 3, -1, 4, -1]  # the second had row 2
        return b"".join(found) + bank.univariate_rows.tobytes() + bank.series.tobytes() + bank.entities.tobytes()

    inside = [e for e in np.cumsum(cuts).tolist() if e < len(whose)]
    assert run([0, *inside, len(whose)]) == run([0, len(whose)])


def test_most_spikes_of_a_spiky_series_are_no_alarm_and_a_new_level_is_one() -> None:
    bank, _ = alone()
    values = spiky(3000, 3)
    values[2500:2520] += 300
    found = raised(bank, values)
    spikes = int((values[500:2500] > 20).sum())
    assert len([at for at in found if 500 <= at < 2500]) < spikes / 3, (spikes, found)
    assert any(2500 <= at < 2503 for at in found)


def test_a_day_without_its_busy_hours_is_told_by_what_is_usual_at_that_hour() -> None:
    bank, _ = alone()
    values = days(10 * DAY)
    quiet = 8 * DAY + 9 * 12
    values[quiet : quiet + 9 * 12] = 20.0 + np.random.default_rng(2).normal(0, 1, 9 * 12)
    found = [at for at in raised(bank, values) if at >= 4 * DAY]
    assert found
    assert quiet <= found[0] < quiet + 6, found


def test_a_weekend_soon_is_no_alarm_and_a_workday_like_a_weekend_is_one() -> None:
    bank, _ = alone()
    n = 35 * DAY
    weekend = (np.arange(n) // DAY + 1) % 7 >= 5  # START is a Tuesday
    values = np.where(weekend, 20.0 + np.random.default_rng(3).normal(0, 1, n), days(n))
    holiday = 29 * DAY + 9 * 12
    values[holiday : holiday + 9 * 12] = 20.0 + np.random.default_rng(2).normal(0, 1, 9 * 12)
    found = [at for at in raised(bank, values) if at >= 18 * DAY]
    assert not [at for at in found if weekend[at]], found
    assert [at for at in found if holiday <= at < holiday + 6], found


def test_a_fault_is_told_loudly_once_and_ranks_above_what_is_ordinary_while_it_lasts() -> None:
    bank, _ = alone()
    values = np.random.default_rng(4).normal(10, 1, 1200)
    values[1000:1050] += 30
    scored = bank.take(samples(values))
    assert np.flatnonzero(scored.event[:1050] == RAISE).tolist() == [1000]
    assert scored.score[1000] > 2.0 * scored.score[:1000].max()
    damped = scored.score[1001:1050]
    assert damped.max() < DAMPED
    assert damped[:30].min() > np.quantile(scored.score[500:1000], 0.99)
    assert (scored.over[[1000, 1001, 1200 - 1]] > 0.0).tolist() == [True, True, False], (
        "how far it is over is not damped"
    )


def test_what_is_less_strange_than_what_came_of_late_is_damped_in_its_order_until_that_is_long_ago() -> None:
    rows, config = np.zeros((1, FIELDS)), UnivariateConfig()
    given = [0.1, 1.0, 3.0, 8.9, 9.0]
    assert rested(rows, 0, 9.0, LOUD, 1.0, config) == 9.0
    found = [rested(rows, 0, score, LOUD, 2.0 + at, config) for at, score in enumerate(given)]
    assert found == sorted(set(found))
    assert all(damped < min(score, DAMPED) for damped, score in zip(found, given, strict=True))
    assert rested(rows, 0, 9.1, LOUD, 7.0, config) == 9.1
    late = int(4 * config.stretch)
    assert max(rested(rows, 0, 3.0, LOUD, float(at), config) for at in range(8, late)) < DAMPED
    assert rested(rows, 0, 3.1, LOUD, float(late), config) == 3.1


def test_an_entity_that_shows_a_second_series_is_one_of_many_from_then_on() -> None:
    bank, names = alone()
    bank.take(samples(spiky(100, 5)))
    assert bank.entities[0, columns.UNIVARIATE] == 1.0
    names.intern("web", ["requests", "errors"])
    bank.admit(names)
    bank.take(samples(spiky(200, 6), 100, series=2))
    assert bank.entities[0, columns.UNIVARIATE] == -1.0


def test_when_no_row_is_left_an_entity_is_scored_as_before() -> None:
    full = np.zeros((3, FIELDS))
    full[0, 0] = 20_000
    assert open_row(full, 0.0, UnivariateConfig()) == -1
    assert full[0, 0] == 20_000


def steer(names: Names, word: str, label: str) -> Steer:
    return Steer(names, Learning(incident="i", entity="web", learning=word, ts=START, label=label))


def test_a_confirmed_fault_is_as_strange_the_second_time_and_a_new_trend_is_accepted() -> None:
    calm, fault = np.random.default_rng(7).normal(10, 1, 1000), np.random.default_rng(8).normal(40, 1, 300)
    ends = {}
    for label in ("confirmed", "new_trend"):
        bank, names = alone()
        forks = Forks(bank)
        forks.take(samples(calm))
        before = bank.univariate_rows.copy()
        forks.take(samples(fault[:2], 1000))
        forks.steer(steer(names, "open", "confirmed"))
        forks.take(samples(fault[2:], 1002))
        forks.steer(steer(names, "close", label))
        forks.take(samples(calm[:400] if label == "confirmed" else fault, 1300))
        second = forks.take(samples(fault[:20], 1700 if label == "confirmed" else 1600))
        ends[label] = math.exp(second.over.max())
        assert before.shape == bank.univariate_rows.shape
    assert ends["confirmed"] > 1.0
    assert ends["new_trend"] < 0.5


@pytest.mark.parametrize(("word", "label", "opened"), [("pause", "confirmed", 1), ("close", "duplicate", 0)])
def test_a_control_that_is_not_known_changes_nothing_and_a_label_that_is_not_known_teaches_nothing(
    word: str, label: str, opened: int
) -> None:
    bank, names = alone()
    forks = Forks(bank)
    forks.take(samples(np.random.default_rng(7).normal(10, 1, 500)))
    forks.steer(steer(names, "open", "confirmed"))
    before = bank.univariate_rows.copy()
    assert forks.steer(steer(names, word, label)) == (None if opened else (0, "confirmed")), "no copy is the baseline"
    assert len(forks.open) == opened
    assert np.array_equal(bank.univariate_rows, before)


def test_a_copy_that_is_made_before_its_entity_has_a_row_takes_the_one_row_that_it_has() -> None:
    """An incident opens within the first samples: the copy has room for one row, and writes beyond it break memory."""
    bank, names = alone()
    forks = Forks(bank)
    values = np.random.default_rng(5).normal(10, 1, 100)
    forks.take(samples(values[:4]))
    forks.steer(Steer(names, Learning(entity="web", ts=START, learning="open", incident="i")))
    forks.take(samples(values[4:], 4))
    (fork,) = forks.open.values()
    assert fork.univariate[0, ROWS] == fork.entity[0, columns.UNIVARIATE] == 1.0
    assert fork.univariate.shape == (2, FIELDS)
    forks.steer(Steer(names, Learning(entity="web", ts=START, learning="close", incident="i", label="expected")))
    assert bank.univariate_rows.tobytes() == fork.univariate.tobytes()


def test_rows_are_used_again_once_their_entity_has_a_second_series_or_is_forgotten() -> None:
    rows = np.zeros((6, FIELDS))
    assert [open_row(rows, START, UnivariateConfig()) for _ in range(6)] == [1, 2, 3, 4, 5, -1]
    for at in (4, 2, 0, -1):
        close_row(rows, at)
    assert [open_row(rows, START, UnivariateConfig()) for _ in range(3)] == [2, 4, -1]
    bank, names = alone()
    bank.take(samples(np.full(20, 1.0)))
    names.intern("web", ["requests", "errors"])
    bank.admit(names)
    assert bank.univariate[0, NEXT_FREE] == 0.0
    bank.take(samples(np.full(8, 1.0), 20, series=2))
    assert bank.univariate[0, NEXT_FREE] == 1.0
