"""Learning from verdicts: what a rule missed, what a confidence is worth, and how much may still go wrong."""

from __future__ import annotations

import itertools

import pytest

from app.bench.calibration import drifting
from models.decision.advisor import Bounds
from models.decision.base import Context, DecisionSettings
from models.decision.budget import ErrorBudget
from models.decision.calibration import Platt
from models.decision.learned import ARMS_KEPT, Learned
from models.decision.planner import LOAD_MS, Planner
from tests.builders import BUSY, KNOWN, NOW, decision, hypothesis, incident, reread, sample, verdict_on
from topics.decisions import Decision, DecisionState
from topics.incidents import State, SymptomKind
from topics.proposals import Proposal
from topics.spec import DAY_MS, Record
from topics.verdicts import Effect

NIGHT, DAY = Context(busy=0.0).facts(), Context(busy=1.0).facts()


def test_a_rule_without_a_past_is_believed_as_it_stands() -> None:
    assert Learned().expect("a→b", 0.8, NIGHT) == 0.8
    assert Learned().expect("a→b", 1.0, NIGHT) == 0.99


def test_outcomes_move_a_rule_towards_what_happens() -> None:
    learned = Learned()
    before = [learned.expect("a→b", 0.9, NIGHT)]
    for _ in range(100):
        learned.learn("a→b", 0.9, NIGHT, False)
        before.append(learned.expect("a→b", 0.9, NIGHT))
    assert before == sorted(before, reverse=True)
    assert before[1] > 0.84, "one outcome is not the world"
    assert before[-1] < 0.35
    assert learned.expect("other→b", 0.9, NIGHT) == 0.9


def test_circumstances_are_told_apart() -> None:
    learned = Learned()
    for _ in range(200):
        learned.learn("a→b", 0.6, NIGHT, True)
        learned.learn("a→b", 0.6, DAY, False)
    assert learned.expect("a→b", 0.6, NIGHT) > 0.75
    assert learned.expect("a→b", 0.6, DAY) < 0.35


def test_the_book_of_rules_has_a_bound_and_goes_through_a_snapshot() -> None:
    learned = Learned()
    for n in range(ARMS_KEPT + 5):
        learned.learn(f"{n}→b", 0.5, DAY, True)
    assert len(learned.arms) == ARMS_KEPT
    again = reread(learned)
    assert again.expect("9→b", 0.5, DAY) == learned.expect("9→b", 0.5, DAY) != 0.5


@pytest.mark.parametrize("seed", range(3))
def test_confidence_stays_calibrated_while_the_world_drifts(seed: int) -> None:
    """Both how much better than chance a confidence is, and how far it is off, change all the time."""
    raw, calibrated = drifting(seed)
    assert raw > 0.15
    assert calibrated < 0.03


def test_calibration_begins_as_the_identity_keeps_the_order_and_never_runs_away() -> None:
    platt = Platt()
    assert platt(0.9604) == 0.9604
    for n in range(20_000):
        platt.learn(0.96, n % 10 != 0)
    assert platt(0.96) == pytest.approx(0.9, abs=0.03)
    assert all(platt(a) < platt(b) for a, b in itertools.pairwise([0.1, 0.3, 0.5, 0.7, 0.9]))
    assert sum(map(abs, platt.cov)) < 5


def proposed(book: Planner, **changes: object) -> Proposal:
    told = incident(hypotheses=(hypothesis("bad_configuration"),), **changes)
    (made,) = book.incident(told, Bounds(), NOW)
    return made


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
def test_a_verdict_teaches_once_whatever_comes_first_or_twice(order: tuple[int, int]) -> None:
    book = Planner(knowledge=KNOWN)
    made = decision(DecisionState.DISPATCHED, proposed(book))
    told: list[Record] = [made, verdict_on(Effect.INEFFECTIVE, decision=made.id)]
    for record in [told[i] for i in order] * 3:
        if isinstance(record, Decision):
            book.decided(record, NOW)
        else:
            book.verdict(record)  # type: ignore[arg-type]
    assert book.advisor.platt.count == 1
    assert [arm.count for arm in book.advisor.learned.arms.values()] == [1]
    again = proposed(book, id="i2")
    assert again.confidence < made.proposal.confidence
    assert again.options[0].parts["learned"] < 0


@pytest.mark.parametrize("effect", [Effect.SELF_RESOLVED, Effect.MANUAL_REVIEW])
def test_an_effect_that_says_nothing_about_the_action_teaches_nothing(effect: Effect) -> None:
    book = Planner(knowledge=KNOWN)
    made = decision(DecisionState.DISPATCHED, proposed(book))
    book.decided(made, NOW)
    book.verdict(verdict_on(effect, decision=made.id))
    assert book.advisor.platt.count == 0


def test_the_error_budget_is_eaten_by_the_time_a_service_was_unwell_and_comes_back() -> None:
    budget, settings = ErrorBudget(), DecisionSettings()
    allowed = int(30 * DAY_MS * 0.001)
    budget.see(incident(onset=NOW - allowed // 2, state=State.TRIGGERED))
    assert budget.left("shop/catalog", NOW, settings) == pytest.approx(0.5, abs=1e-6)
    assert budget.left("shop/cart", NOW, settings) == 1.0
    budget.see(incident(onset=NOW - allowed // 2, state=State.RESOLVED, ts=NOW))
    assert budget.left("shop/catalog", NOW + DAY_MS, settings) == pytest.approx(0.5, abs=1e-6)
    assert budget.left("shop/catalog", NOW + 31 * DAY_MS, settings) == 1.0
    budget.see(incident(id="i9", onset=NOW, state=State.TRIGGERED, priority=4))
    assert budget.left("shop/catalog", NOW + 31 * DAY_MS, settings) == 1.0, "nobody felt it"


def test_the_load_of_a_service_is_taken_from_looks_at_it_and_goes_stale() -> None:
    book = Planner(knowledge=KNOWN)
    book.observe(sample("shop/catalog/0", NOW, SymptomKind.LATENCY, BUSY))
    assert proposed(book).context["load"] == 3.0
    assert proposed(book, id="i2", entity="shop/cart/0").context["load"] == 1.0
    old = Planner(knowledge=KNOWN)
    old.observe(sample("shop/catalog/0", NOW - LOAD_MS, BUSY))
    assert proposed(old).context["load"] == 1.0


def test_a_context_beyond_all_bounds_teaches_no_more_than_one_within() -> None:
    learned = Learned()
    learned.learn("r", 1e308, {"urgency": 1e308, "busy": -1e308, "load": 1e308, "budget": 1e308}, helped=True)
    assert 0.0 < learned.expect("r", 0.5, {}) < 1.0


def test_outages_of_a_service_that_overlap_are_counted_once() -> None:
    settings, hour, allowed = DecisionSettings(), 3_600_000, DecisionSettings().slo_days * DAY_MS * 0.001
    for spans, down in (
        (((0, 600), (300, 900)), 900), (((0, 900), (300, 600)), 900), (((0, 300), (600, 900)), 600),
        (((0, 300), (0, 300), (300, 400)), 400),
    ):  # fmt: skip
        budget = ErrorBudget()
        for number, (since, until) in enumerate(spans):
            ended = incident(
                id=f"i{number}", onset=NOW + since * 1_000, ts=NOW + until * 1_000, state=State.RESOLVED
            )  # fmt: skip
            budget.see(ended)
        assert budget.left("shop/catalog", NOW + hour, settings) == pytest.approx(1.0 - down * 1_000 / allowed)
