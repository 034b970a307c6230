"""When an alarm begins and ends, by which path, and how boundaries follow from the budget and the rate of sampling."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from agents.detect import Detect
from app.offline.score import batch_of
from models.detection import columns
from models.detection.bank import Bank
from models.detection.columns import AGAIN, BY_BREADTH, BY_FEW, BY_ONE, CLEAR, CONTINUE, QUIET, RAISE, Scored
from models.detection.config import DetectorConfig
from models.detection.judge import judge
from models.detection.points import _own_tail
from models.detection.settings import DetectionSettings
from tests.models.detection.test_bank import START, bank_of, samples
from topics.batch import Float64, Names
from topics.signals import Anomaly

MINUTE, KNOWN = 60_000, 6_000  # ms; samples after which the tails of an entity are known
Change = Callable[[Float64], object]


def site(series: int, after: int, seed: int = 1) -> Float64:
    """Noise around 50 of spread 2."""
    return np.random.default_rng(seed).normal(50, 2, (KNOWN + after, series))


def scored_of(values: Float64, period_ms: int = MINUTE) -> tuple[Bank, Scored]:
    bank, _ = bank_of(1, values.shape[1])
    return bank, bank.take(samples(values, period_ms=period_ms))


def events(scored: Scored, *kinds: int) -> list[int]:
    return [int(at) - KNOWN for at in np.flatnonzero(np.isin(scored.event, kinds))]


def on_at_the_end(scored: Scored) -> bool:
    edges = [event for event in scored.event.tolist() if event in (RAISE, AGAIN, CLEAR)]
    return bool(edges) and edges[-1] != CLEAR


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_of_all_is_told_within_two_samples_with_its_onset_and_ends_by_itself(seed: int) -> None:
    values = site(20, 400, seed)
    values[KNOWN:] += 16.0
    _, scored = scored_of(values)
    (begun,), (ended, *_) = events(scored, RAISE, AGAIN), events(scored, CLEAR)
    assert 0 <= begun <= 1
    assert scored.onset[KNOWN + begun] == START + MINUTE * KNOWN
    assert 8 < ended < 200
    assert not on_at_the_end(scored)


def told(values: Float64, settings: DetectionSettings | None = None) -> list[Anomaly]:
    metrics = [f"m{at}" for at in range(values.shape[1])]
    ts = START + MINUTE * np.arange(len(values), dtype=np.int64)
    found = Detect(settings).step([batch_of(Names(), "e", metrics, ts, values)], 0)
    return [a for a in found if a.detector == "bank" and a.state != "continuing"]


def test_what_stays_where_it_went_is_a_change_of_level_at_the_end_of_its_alarm_and_what_comes_back_is_none() -> None:
    stays, back = site(20, 400), site(20, 400)
    stays[KNOWN:] += 16.0
    back[KNOWN : KNOWN + 5] += 16.0
    for values, kind in ((stays, "change_point"), (back, "point")):
        raised, cleared = told(values)
        assert (raised.state, raised.kind, raised.path) == ("raised", "point", "narrow")
        assert (cleared.state, cleared.kind, cleared.id) == ("cleared", kind, raised.id)


def test_a_second_fault_in_an_alarm_ends_the_first_and_has_an_id_of_its_own() -> None:
    values = site(20, 400)
    values[KNOWN:] += np.r_[np.full(40, 16.0), np.full(360, 200.0)][:, None]
    _, scored = scored_of(values)
    begun = events(scored, RAISE, AGAIN)
    assert begun[0] <= 1
    assert 40 <= begun[1] <= 42
    found = told(values)
    first, second = (a for a in found[:4] if a.state == "raised")
    assert first.id != second.id
    assert [a.id for a in found if a.state == "cleared"][:2] == [first.id, second.id]


SHAPES: dict[str, Change] = {
    "step": lambda v: v.__iadd__(100.0),
    "ramp": lambda v: v.__iadd__(0.5 * np.arange(len(v))[:, None]),
    "square wave": lambda v: v.__iadd__(40.0 * (np.arange(len(v))[:, None] // 50 % 2)),
    "constant after noise": lambda v: v.__setitem__(slice(None), 50.0),
    "another constant after noise": lambda v: v.__setitem__(slice(None), 90.0),
    "alternating": lambda v: v.__iadd__(40.0 * (np.arange(len(v))[:, None] % 2)),
    "wider": lambda v: v.__isub__(50.0).__imul__(8.0).__iadd__(50.0),
    "another unit": lambda v: v.__imul__(1000.0),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_alarm_is_on_for_ever(shape: str) -> None:
    values = site(8, 6_000)
    SHAPES[shape](values[KNOWN:])
    _, scored = scored_of(values)
    ends = [at for at in events(scored, CLEAR) if at >= 0]
    begins = [at for at in events(scored, RAISE) if at >= 0]
    assert bool(begins) is (shape != "constant after noise")
    assert not on_at_the_end(scored)
    assert all(end - begin < 2_000 for begin, end in zip(begins, ends, strict=True))


def test_no_alarm_is_on_for_ever_after_a_gap() -> None:
    values = site(8, 3_000)
    values[KNOWN:] += 30.0
    given = samples(values, period_ms=MINUTE)
    bank, _ = bank_of(1, 8)
    scored = bank.take(given._replace(ts=given.ts + np.where(np.arange(len(values)) < KNOWN + 2, 0, 10 * 86_400_000)))
    assert events(scored, RAISE, AGAIN)
    assert not on_at_the_end(scored)


def test_brief_faults_of_few_series_are_found_and_come_by_the_narrow_path() -> None:
    found = 0
    for seed in range(10):
        values = site(38, 50, seed)
        values[KNOWN : KNOWN + 3, 5:8] += 12.0
        _, scored = scored_of(values)
        raised = [at for at in events(scored, RAISE) if 0 <= at < 5]
        found += bool(raised)
        assert all(scored.path[KNOWN + at] == BY_FEW for at in raised)
    assert found >= 8


def test_what_shakes_all_comes_by_the_broad_path() -> None:
    values = np.random.default_rng(3).standard_t(2, (KNOWN + 50, 38)) + 50  # of a few far ones it is used
    values[KNOWN:] += 30.0
    _, scored = scored_of(values)
    (raised, *_) = [at for at in events(scored, RAISE) if at >= 0]
    assert raised < 10
    assert scored.path[KNOWN + raised] == BY_BREADTH


@pytest.mark.parametrize("known", [40, KNOWN])
def test_one_series_of_many_that_is_off_by_thousands_of_spreads_is_told_whatever_its_name(known: int) -> None:
    values = site(38, 10)[KNOWN - known :]
    values[known:, 7] += 3_000 * 2.0
    _, scored = scored_of(values)
    (raised, *_) = np.flatnonzero(scored.event == RAISE)
    assert (int(raised), int(scored.path[raised])) == (known, BY_ONE)


def test_a_series_begins_where_its_first_value_is_in_all_its_memories() -> None:
    """Else the spread of the short one is that of the way from nothing to its level, for hundreds of samples."""
    bank, scored = scored_of(site(8, 0)[:40])
    assert bank.series[:, columns.FAST] == pytest.approx(50.0, abs=2.0)
    assert bank.series[:, columns.FAST_VARIANCE] == pytest.approx(4.0, abs=3.0)
    assert scored.event.max() == 0


@pytest.mark.parametrize(("path", "first"), [(BY_BREADTH, 65), (BY_FEW, 65), (BY_ONE, 17)])
def test_the_first_alarm_of_an_entity_is_from_its_65th_sample_on_and_by_one_series_alone_from_its_17th(
    path: int, first: int
) -> None:
    row, strangest = known_row(0.0), (100.0, 0.0) if path == BY_ONE else (0.0, 0.0)
    logs = (9.0, -9.0) if path == BY_BREADTH else (-9.0, 9.0) if path == BY_FEW else (-9.0, -9.0)
    for sample in range(1, first + 1):
        event, by, over = judge(row, logs, strangest, 1e12 + sample * MINUTE, DetectorConfig())
        assert (by, over > 0.0) == (path, True)
        assert event == (RAISE if sample == first else QUIET)


def test_a_series_that_is_an_alarm_alone_is_so_in_a_young_entity_also_when_more_are_off() -> None:
    for strangest, event in (((0.0, 0.0), QUIET), ((7.0, 0.0), RAISE), ((0.0, 1001.0), RAISE)):
        found, by, _ = judge(known_row(20.0), (-9.0, 9.0), strangest, 1e12, DetectorConfig())
        assert (found, by) == (event, BY_FEW)


@pytest.mark.parametrize(("period_ms", "boundary"), [(60_000, 2.2), (15_000, 2.547), (1_000, 3.224), (600_000, 2.2)])
def test_a_series_alone_is_an_alarm_the_farther_off_the_more_samples_there_are(period_ms: int, boundary: float) -> None:
    for over in (0.999, 1.001):
        row = known_row()
        row[columns.RARER], row[columns.TRUSTED] = math.log(MINUTE / period_ms), over * boundary
        event, by, _ = judge(row, (-9.0, -9.0), (over * boundary, 0.0), 1e12, DetectorConfig())
        assert (event, by == BY_ONE) == ((RAISE, True) if over > 1.0 else (QUIET, False))


def test_the_tail_of_a_young_series_is_taken_to_be_longer() -> None:
    tile = np.zeros((columns.SERIES_FIELDS, columns.TILE))
    tile[columns.TAIL], tile[columns.TRUST] = 5.0, 1.5
    for count, tails in ((10.0, 5.0), (40.0, 2.0), (1e9, 1.0)):
        tile[columns.COUNT] = count
        assert _own_tail(tile.copy(), 0, 20.0, 0.0, DetectorConfig()) == pytest.approx(1.5 * 20.0 / 5.0 / tails)


@pytest.mark.parametrize(("known", "spreads"), [(64, 8), (100, 5)])
def test_a_young_entity_hears_a_fault_within_three_samples_once(known: int, spreads: float) -> None:
    for seed in range(10):
        values = site(8, 100, seed)[KNOWN - known :]
        values[known : known + 40] += 2.0 * spreads
        _, scored = scored_of(values)
        (begun,) = np.flatnonzero(np.isin(scored.event, (RAISE, AGAIN))).tolist()
        assert known <= begun < known + 3
        assert scored.onset[begun] == START + MINUTE * known


def test_an_entity_that_is_new_begins_with_the_first_tail_on_both_paths() -> None:
    bank, names = bank_of(1, 2)
    for entity in range(200):  # more than there was room for
        names.intern(f"f{entity}", ["m"])
    bank.admit(names)
    for tail in ([columns.USUAL, columns.STRETCH], [columns.NARROW_USUAL, columns.NARROW_STRETCH]):
        assert (bank.entities[: len(names.entities), tail] == (math.log(3.0), 0.2)).all()


@pytest.mark.parametrize("period_ms", [1_000, 15_000, 60_000])
@pytest.mark.parametrize("budget", [0.1, 1.0, 10.0])
def test_boundaries_follow_the_rate_of_sampling_and_the_budget(period_ms: int, budget: float) -> None:
    found = []
    for of_all, own, period in ((1.0, 1.0, MINUTE), (budget, 1.0, period_ms), (1.0, budget, period_ms)):
        bank, names = Bank(DetectorConfig(budget=of_all)), Names()
        names.intern("e0", [f"m{at}" for at in range(8)])
        bank.admit(names)
        bank.entities[0, columns.OWN_BUDGET] = math.log(own)
        scored = bank.take(samples(site(8, 0)[:320], period_ms=period))
        series = bank.series.copy()
        series[:, columns.SEEN] = 0.0
        found.append((scored.score.tobytes(), series.tobytes()))
        assert bank.entities[0, columns.RARER] == pytest.approx(math.log(MINUTE / period / of_all / own))
    assert found[0] == found[1] == found[2], "neither ranks samples otherwise, nor learns of series otherwise"


def test_the_rarer_false_alarms_are_to_be_the_farther_both_boundaries_are() -> None:
    values = site(8, 1)
    over = [float(scored_of(values, period_ms)[1].over[-1]) for period_ms in (60_000, 15_000, 1_000)]
    assert over[0] > over[1] > over[2]


PATHS = {  # where the tail begins, its length, samples in it; lengths to the boundary, and for each e-fold of budget
    BY_BREADTH: ([columns.USUAL, columns.STRETCH, columns.HITS], 2.2, 0.75),
    BY_FEW: ([columns.NARROW_USUAL, columns.NARROW_STRETCH, columns.NARROW_HITS], 5.7, 1.0),
}


def known_row(count: float = 1e9) -> Float64:
    """An entity whose two tails begin at 1, are .2 long, and have as many samples in them as should."""
    row = np.zeros(columns.ENTITY_FIELDS)
    row[columns.SAMPLES], row[columns.BROAD] = count, 1.0
    for tail, _, _ in PATHS.values():
        row[tail] = 1.0, 0.2, count
    return row


def judged(path: int, log: float, tail: tuple[float, float, float], count: float = 1e9, **fields: float) -> float:
    """How far a log score that has long been so is beyond the boundary of its path, whose other has nothing to say."""
    row, below, by_breadth = known_row(count), -9.0, path == BY_BREADTH
    logs = (log, below) if by_breadth else (below, log)
    row[columns.BROAD], row[columns.NARROW] = math.exp(logs[0]), logs[1]
    row[PATHS[path][0]] = tail
    for field, value in fields.items():
        row[getattr(columns, field)] = value
    _, by, over = judge(row, logs, (0.0, 0.0), float(START), DetectorConfig())
    assert by == path
    return over


@pytest.mark.parametrize("path", PATHS)
def test_a_boundary_is_so_many_mean_lengths_beyond_where_its_tail_begins_and_farther_for_fewer_false_alarms(
    path: int,
) -> None:
    _, units, rarer = PATHS[path]
    for budget in (-1.0, 0.0, 1.0):
        boundary = 1.0 + (units + rarer * budget) * 0.2
        assert judged(path, 2.0, (1.0, 0.2, 1e9), RARER=budget) == pytest.approx(2.0 - boundary)
    assert judged(path, 2.0, (1.0, 0.2, 1e9), WIDE=0.25) == pytest.approx(2.0 - 1.0 - units * 0.2 - math.log(1.25))
    assert judged(path, 2.0, (0.1, 0.05, 1e9)) == pytest.approx(2.0 - 0.9), "it is never lower"
    assert judged(path, 2.0, (1.0, 2.0, 1e9)) == pytest.approx(2.0 - 2.7), "nor higher"


@pytest.mark.parametrize("path", PATHS)
def test_a_tail_that_fewer_samples_reach_than_should_is_shorter_and_one_of_few_samples_longer(path: int) -> None:
    _, units, _ = PATHS[path]
    count = 100_000.0  # of which two in a hundred should reach it
    for hits, length in ((2_000.0, 0.2), (1_500.0, 0.15), (1_000.0, 0.1), (0.0, 0.05)):
        found = judged(path, 2.0, (1.0, 0.2, hits), count)
        assert found == pytest.approx(2.0 - 1.0 - units * length, abs=2e-3)
    assert judged(path, 2.0, (0.5, 0.1, 1e9), 34.0) == pytest.approx(2.0 - max(0.9, 0.5 + 2.0 * units * 0.1))


def test_an_alarm_ends_after_eight_samples_in_a_row_below_it_and_the_next_has_an_onset_of_its_own() -> None:
    row, at = known_row(), 0

    def take(over: float) -> tuple[int, int]:
        """A sample so many times its boundary: the event, and the onset as the number of a sample."""
        nonlocal at
        at += 1
        row[columns.NARROW] = log = 1.0 + 5.7 * 0.2 + math.log(over)
        event, _, found = judge(row, (0.0, log), (0.0, 0.0), 1e12 + at * MINUTE, DetectorConfig())
        assert found == pytest.approx(math.log(over), abs=0.05)
        return event, int(max(row[columns.ONSET] - 1e12, 0.0)) // MINUTE

    assert [take(over) for over in (0.9, 1.3)] == [(QUIET, 0), (RAISE, 2)]
    assert [take(over) for over in (1.2, *[0.8] * 7, 0.95, *[0.8] * 7)] == [(CONTINUE, 2)] * 16
    assert [take(over) for over in (0.8, 1.3)] == [(CLEAR, 2), (RAISE, 20)], "its onset is still told with its end"
    assert [take(0.8) for _ in range(8)] == [(CONTINUE, 20)] * 7 + [(CLEAR, 20)]
    assert [take(over) for over in (0.9, 1.3)] == [(QUIET, 0), (RAISE, 30)]


def edges(path: int, log: Float64) -> list[tuple[int, int]]:
    """(sample, event) of the beginnings and ends of alarms where one path has these log scores and the other none."""
    row, found = known_row(10_000.0), []
    for at, each in enumerate(log.tolist()):
        logs = (each, 0.0) if path == BY_BREADTH else (0.0, each)
        event, _, _ = judge(row, logs, (0.0, 0.0), 1e12 + at * MINUTE, DetectorConfig())
        found += [(at, event)] if event in (RAISE, AGAIN, CLEAR) else []
    return found


@pytest.mark.parametrize(("path", "slow"), [(BY_BREADTH, 3), (BY_FEW, 0)])
def test_what_was_far_beyond_does_not_hold_an_alarm_on_when_it_is_over(path: int, slow: int) -> None:
    """slow: samples that the smoothed score takes to fall below the boundary, from where it is held."""
    log = np.r_[np.full(20, 4.6), np.zeros(40)]  # a hundred times as far off as is usual
    assert edges(path, log) == [(0, RAISE), (20 + slow + 8 - 1, CLEAR)]


@pytest.mark.parametrize("path", PATHS)
def test_log_scores_that_stay_high_are_usual_at_last_but_are_learned_slowly_while_an_alarm_is_on(path: int) -> None:
    (begun, _), (cleared, event) = edges(path, np.full(2_000, 2.4))
    assert begun < 5
    assert event == CLEAR
    assert 100 < cleared < 1_000
