"""What alarms cost of a budget of false alarms, and which are told when it is spent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from models.detection.alarms import FIRST, FLEET, PARTS_KEPT, REPEATED, Alarms, Deviation, Purse, ScoredSample
from models.detection.columns import AGAIN, CLEAR, CONTINUE, QUIET, RAISE
from models.detection.settings import DetectionSettings, Pattern

MINUTE, HOUR, WEEK = 60_000, 3_600_000, 604_800_000  # ms
BEGIN = 10**12
MARKED = (RAISE, "entity")
PAID = (RAISE, "none")


def with_left(left: float, *entities: str, settings: DetectionSettings | None = None) -> Alarms:
    """Alarms with so much left of the budgets of some entities, `FLEET` among them perhaps."""
    book = Alarms(settings or DetectionSettings())
    book.purses = {entity: Purse(left) for entity in entities}
    return book


def begins(
    book: Alarms, entity: str, ts: int, ratio: float = 1.0, metrics: tuple[str, ...] = ("m",), **sample: Any
) -> tuple[int, str]:
    """What is told of an alarm that begins now, of an entity with eight series."""
    given = ScoredSample(**{"ts": ts, "onset": ts, "ratio": ratio, "series": 8} | sample)
    return book.heard(entity, RAISE, given, [Deviation(metric, 2.0, 1.0) for metric in metrics])


def goes_on(book: Alarms, entity: str, onset: int, after: int, ratio: float) -> tuple[int, str]:
    return book.heard(entity, CONTINUE, ScoredSample(onset + after, onset, ratio, 8), [Deviation("m", 2.0, 1.0)])


def ends(book: Alarms, entity: str, onset: int, after: int = 1000) -> tuple[int, str]:
    return book.heard(entity, CLEAR, ScoredSample(onset + after, onset, 0.1, 8), [Deviation("m", 1.0, 1.0)])


def told_after(book: Alarms, ts: int, ratios: list[float], period_ms: int = 1000) -> int | None:
    """Which sample of an alarm that is so far beyond its boundary is the first that is told."""
    for sample, ratio in enumerate(ratios):
        heard = goes_on(book, "db", ts, sample * period_ms, ratio) if sample else begins(book, "db", ts, ratio)
        if heard == PAID:
            return sample
    return None


def brief(book: Alarms, entity: str, ts: int, ratio: float = 1.0, **sample: Any) -> tuple[int, str]:
    """What is told of the beginning of an alarm that ends as it began: told, or marked."""
    begun = begins(book, entity, ts, ratio, **sample)
    assert ends(book, entity, ts) == (CLEAR, begun[1])
    return begun


def test_an_alarm_that_its_budget_cannot_pay_is_marked_and_told_once_it_is_severe() -> None:
    book = with_left(1.0, "db")
    found = [brief(book, "db", BEGIN + MINUTE * number) for number in range(8)]
    assert found == [PAID] * 2 + [MARKED] * 6, "one false alarm, of such as are so to a half"
    ts = BEGIN + HOUR
    assert begins(book, "db", ts) == MARKED
    assert goes_on(book, "db", ts, 2, 1.5) == (QUIET, "entity")
    assert goes_on(book, "db", ts, 3, 25.0) == PAID
    assert goes_on(book, "db", ts, 4, 1.5) == (CONTINUE, "none")
    assert ends(book, "db", ts) == (CLEAR, "none")
    assert brief(book, "db", ts + MINUTE, 20.0) == MARKED, "of the strength that the one before had at last"


def test_a_second_fault_in_an_alarm_that_is_told_goes_on_with_it_when_the_budget_is_spent() -> None:
    book = with_left(1.0, "db")
    assert brief(book, "db", BEGIN) == PAID
    assert begins(book, "db", BEGIN + MINUTE) == PAID
    again = ScoredSample(BEGIN + 2 * MINUTE, BEGIN + 2 * MINUTE, 1.4, 8)
    assert book.heard("db", AGAIN, again, [Deviation("m", 2.0, 1.0)]) == (CONTINUE, "none")
    strong = again._replace(ts=BEGIN + 3 * MINUTE, onset=BEGIN + 3 * MINUTE, ratio=25.0)
    assert book.heard("db", AGAIN, strong, [Deviation("m", 2.0, 1.0)]) == (AGAIN, "none")


def test_a_budget_is_filled_by_event_time_up_to_three_weeks_of_it() -> None:
    book = Alarms(DetectionSettings())
    for after, paid in ((0, 0), (1, 2), (11, 6), (11, 0), (12, 2)):
        found = [brief(book, "db", BEGIN + WEEK * after + MINUTE * number) for number in range(8)]
        assert found == [PAID] * paid + [MARKED] * (8 - paid), after
    assert brief(book, "db", BEGIN) == MARKED
    assert brief(book, "db", BEGIN + 12 * WEEK + HOUR) == MARKED, "a late sample does not turn time back"


def test_the_budget_of_an_entity_is_its_own() -> None:
    names = ("loud", "db", *(f"db-{number}" for number in range(8)))
    settings = DetectionSettings((Pattern(entities="loud", false_alarms_a_week=84.0),))
    book = with_left(1.0, *names, settings=settings)
    for number in range(8):
        assert brief(book, "loud", BEGIN + HOUR * number) == PAID, "it has half a false alarm an hour"
        assert brief(book, "db", BEGIN + HOUR * number) == (PAID if number < 2 else MARKED)
        assert brief(book, f"db-{number}", BEGIN + HOUR * number) == PAID


def test_the_budget_of_an_entity_with_one_series_is_minded_where_it_is_scored() -> None:
    book = Alarms(DetectionSettings(false_alarms_a_week_per_fleet=0.1))
    assert [brief(book, "db", BEGIN + number, series=1) for number in range(9)] == [PAID] * 9
    assert not book.purses


def test_the_budget_of_the_fleet_is_shared_by_its_entities_and_costs_none_of_them_what_it_cannot_pay() -> None:
    names, settings = [f"db-{number}" for number in range(20)], DetectionSettings(false_alarms_a_week_per_fleet=2.0)
    book = with_left(1.0, FLEET, *names, settings=settings)
    said = [begins(book, name, BEGIN) for name in names]
    assert said == [PAID] * 2 + [(RAISE, "fleet")] * 18
    assert [book.purses[name].left for name in names] == [0.5] * 2 + [1.0] * 18
    assert begins(book, "severe", BEGIN, 25.0) == PAID
    assert len(book.purses) == 22


@pytest.mark.parametrize(("share", "hours"), [(1.0, 1), (0.5, 2), (0.25, 4)])
def test_a_partition_has_its_share_of_what_comes_into_the_budget_of_the_fleet(share: float, hours: int) -> None:
    book = Alarms(DetectionSettings(false_alarms_a_week_per_fleet=84.0), share)  # half a false alarm an hour
    book.purses = {FLEET: Purse(0.0, BEGIN), **{f"db-{number}": Purse(1.0) for number in range(1, 13)}}
    said = [begins(book, f"db-{number}", BEGIN + HOUR * number)[1] for number in range(1, 13)]
    assert said == ["fleet" if number % hours else "none" for number in range(1, 13)]


@pytest.mark.parametrize(
    ("ratio", "tail", "cost"),
    [(1.0, 1.0, 1 / 2), (4.0, 1.0, 1 / 5), (4.0, 0.5, 1 / 17), (19.0, 1.0, 1 / 20), (20.0, 1.0, 0)],
)
def test_an_alarm_costs_as_much_as_it_is_likely_to_be_false_by_the_tail_of_its_entity(
    ratio: float, tail: float, cost: float
) -> None:
    book = with_left(1.0, "db")
    assert begins(book, "db", BEGIN, ratio, tail=tail) == PAID
    assert book.purses["db"].left == pytest.approx(1.0 - cost)


def test_an_alarm_that_is_not_much_stronger_than_one_before_costs_a_half_until_that_has_faded() -> None:
    book = with_left(3.0, "db", settings=DetectionSettings(false_alarms_a_week=1e-6))  # nothing comes back
    left = 3.0
    for after, ratio, cost in (
        (0, 4.0, 1 / 5),
        (MINUTE, 6.0 - 0.01, 1 / 2),  # of at most one and a half times 4
        (2 * MINUTE, 9.0, 1 / 10),  # more than that, of 5.99
        (3 * MINUTE, 2.0, 1 / 2),
        (4 * MINUTE, 9.0, 1 / 2),  # the strongest counts, not the last
        (WEEK, 7.0, 1 / 8),  # of 4.5
        (WEEK + MINUTE, 7.0, 1 / 2),
    ):
        assert brief(book, "db", BEGIN + after, ratio) == PAID
        left -= cost
        assert book.purses["db"].left == pytest.approx(left, abs=1e-3), after
    assert brief(book, "web", BEGIN + WEEK + MINUTE, 7.0) == PAID
    assert book.purses["web"].left == pytest.approx(FIRST - 1 / 8), "what another entity did says nothing of it"


def test_at_first_a_budget_pays_no_alarm_at_its_boundary_and_one_that_is_clearly_beyond() -> None:
    book = Alarms(DetectionSettings())
    assert begins(book, "db", BEGIN) == begins(book, "web", BEGIN, 1.8) == MARKED
    assert book.purses["db"].left == FIRST == 0.35
    assert begins(book, "api", BEGIN, 2.5) == PAID
    assert book.purses["api"].left == pytest.approx(0.35 - 1 / 3.5)


@pytest.mark.parametrize(("left", "ratio", "sample"), [(0.3, 1.0, 1), (0.1, 1.0, 4), (0.01, 1.0, 8), (0.01, 4.0, 6)])
def test_an_alarm_that_lasts_is_told_after_some_samples_also_when_the_budget_is_spent(
    left: float, ratio: float, sample: int
) -> None:
    """Each of them makes it .6 times as likely that it is false, whatever the period."""
    for period_ms in (250, 1000, 5000):
        book = with_left(left, "db")
        assert told_after(book, BEGIN, [ratio] * 20, period_ms) == sample
        assert book.purses["db"].left == pytest.approx(left - 0.6**sample / (1 + ratio), abs=1e-4)


def test_what_is_below_the_boundary_or_later_than_a_minute_bears_no_alarm_out() -> None:
    assert told_after(with_left(0.1, "db"), BEGIN, [1.0, *[0.9] * 3, *[1.0] * 4]) == 7, "five of eight are beyond"
    assert told_after(with_left(0.1, "db"), BEGIN, [1.0] * 3 + [0.99] * 40) is None
    assert told_after(with_left(0.1, "db"), BEGIN, [1.0] * 60, MINUTE) is None
    assert told_after(with_left(0.1, "db"), BEGIN, [1.0] * 60, MINUTE // 3) is None
    assert told_after(with_left(0.12, "db"), BEGIN, [1.0] * 60, MINUTE // 4) == 3


@pytest.mark.parametrize(("lasted_s", "told_s"), [(4, 6), (10, 15), (39, 59), (40, 60), (4000, 60)])
def test_a_repeat_has_to_last_half_as_long_again_but_no_longer_than_a_minute(lasted_s: int, told_s: int) -> None:
    book = with_left(0.2, "db")
    assert begins(book, "db", BEGIN, 5.0) == PAID
    ends(book, "db", BEGIN, 1000 * lasted_s)
    assert told_after(book, BEGIN + HOUR * 2, [5.0] * 100) == told_s


def test_a_repeat_that_is_over_is_not_told_when_it_has_lasted() -> None:
    book = with_left(0.2, "db")
    assert begins(book, "db", BEGIN, 5.0) == PAID
    ends(book, "db", BEGIN, 10_000)
    assert told_after(book, BEGIN + HOUR, [5.0] * 12 + [0.5] * 8) is None


def test_a_fault_of_other_metrics_than_before_is_told_at_once() -> None:
    """The strongest decides: what comes along with it may have been in an alarm before."""
    for metrics, said in ((("m", "x"), MARKED), (("x", "m"), PAID), (("n",), MARKED)):
        book = with_left(0.4, "db")
        assert brief(book, "db", BEGIN, 5.0, metrics=("m", "n")) == PAID
        assert begins(book, "db", BEGIN + HOUR, 5.0, metrics=metrics) == said


def test_of_many_metrics_the_last_are_known_in_little_room() -> None:
    book = with_left(3.0, "db")
    for number in range(40):
        brief(book, "db", BEGIN + HOUR * number, 30.0, metrics=tuple(f"{number + n}" * 256 for n in range(10)))
    purse = book.purses["db"]
    assert len(purse.parts) == PARTS_KEPT
    assert len(msgspec.msgpack.encode(purse)) < 700
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(purse), type=Purse) == purse
    for number, cost in ((39, REPEATED), (0, 0.0)):
        purse.left = 1.0
        assert brief(book, "db", BEGIN + (100 - number) * HOUR, 30.0, metrics=(f"{number}" * 256,)) == PAID
        assert purse.paid == cost


@pytest.mark.parametrize("over", [False, True])
def test_an_alarm_that_was_a_fault_costs_nothing_and_its_repeat_is_told_at_once(over: bool) -> None:
    """Whether its incident ends before it or after."""
    book = with_left(0.3, FLEET, "db", settings=DetectionSettings(false_alarms_a_week_per_fleet=1e-6))
    assert begins(book, "db", BEGIN, 5.0) == PAID
    assert book.purses["db"].left == book.purses[FLEET].left == pytest.approx(0.3 - 1 / 6)
    if over:
        ends(book, "db", BEGIN, HOUR)
    book.confirm("db")
    book.confirm("db")
    book.confirm("nobody")
    if not over:
        assert goes_on(book, "db", BEGIN, 1000, 5.0) == (CONTINUE, "none")
        ends(book, "db", BEGIN, HOUR)
    assert book.purses["db"].left == book.purses[FLEET].left == pytest.approx(0.3)
    assert begins(book, "db", BEGIN + 2 * HOUR, 5.0) == PAID
    ends(book, "db", BEGIN + 2 * HOUR)
    assert begins(book, "db", BEGIN + 3 * HOUR, 5.0) == MARKED, "nobody has said that the second was a fault"


def test_a_repeat_has_to_last_where_the_budget_cannot_pay_one_half() -> None:
    book = with_left(1.0, "db")
    assert [brief(book, "db", BEGIN + MINUTE * number) for number in range(2)] == [PAID] * 2
    assert brief(book, "db", BEGIN + 2 * MINUTE, 25.0) == PAID
    assert begins(book, "db", BEGIN + 3 * MINUTE, 25.0) == MARKED
    assert goes_on(book, "db", BEGIN + 3 * MINUTE, 1000, 25.0) == (QUIET, "entity")
    assert goes_on(book, "db", BEGIN + 3 * MINUTE, 1500, 25.0) == PAID
    assert ends(book, "db", BEGIN + 3 * MINUTE) == (CLEAR, "none")
    assert begins(book, "db", BEGIN + 9 * MINUTE, 80.0) == PAID, "it is clearly stronger"
