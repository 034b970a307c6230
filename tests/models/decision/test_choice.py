"""Choosing: the best by the user's weights, exploring only where it does no harm, and a word on every other option."""

from __future__ import annotations

import msgspec
import pytest

from models.decision.advisor import Advisor, Bounds
from models.decision.base import Case, Context, DecisionKind, DecisionSettings
from models.decision.choice import choose, harmless, propensities
from models.decision.rules import findings
from models.policy.engine import Policies
from models.policy.rego import Rego
from models.safety.settings import SafetySettings
from models.versions import Book
from tests.builders import KNOWN, NOW, hypothesis
from tests.rules import rule
from topics.proposals import Option, Proposal
from topics.spec import derive

SERVICE = "shop/catalog"
AHEAD = Case(
    id="c", kind=DecisionKind.PROVISIONING,
    hypotheses=findings(KNOWN, DecisionKind.PROVISIONING, SERVICE, {"forecast_utilization": 0.9, "hours_ahead": 6}),
)  # fmt: skip
TWO_WAYS = Case(id="c", kind=DecisionKind.INCIDENT_RESPONSE, hypotheses=(hypothesis("bad_configuration"),))


def option(action: str = "restart_service", score: float = 0.5, confidence: float = 0.5) -> Option:
    return Option(
        action=action, target=SERVICE, confidence=confidence, score=score, parts={}, rule=f"x→{action}", cause="x"
    )


def propose(case: Case, settings: DecisionSettings, *, context: Context | None = None) -> Proposal:
    if context:
        case = msgspec.structs.replace(case, context=context)
    made = Advisor(knowledge=KNOWN).propose(case, (), Bounds(settings), NOW)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("settings", "context", "replicas"),
    [
        (DecisionSettings(), Context(), "2"),
        (DecisionSettings(), Context(cost=2.0), "1"),
        (DecisionSettings(weights={"cost": 1.0}), Context(), "1"),
        (DecisionSettings(weights={"cost": 1.0}), Context(budget=0.0), "2"),
    ],
    ids=["the surer one", "replicas are dear", "cost counts more", "the error budget is gone: cost does not count"],
)
def test_weights_and_circumstances_decide_between_two_ways(
    settings: DecisionSettings, context: Context, replicas: str
) -> None:
    assert propose(AHEAD, settings, context=context).parameters == {"replicas": replicas}


def test_an_objective_of_ones_own_counts_and_is_shown() -> None:
    own = DecisionSettings(own={"calm": {"rollback_config": -2.0}})
    made = propose(TWO_WAYS, own)
    assert (made.action, made.options[0].parts["calm"], made.options[1].parts["calm"]) == ("restart_service", 0.0, -2.0)
    assert propose(TWO_WAYS, msgspec.structs.replace(own, weights={"calm": 0.0})).action == "rollback_config"


def test_what_would_harm_more_than_help_is_not_done() -> None:
    own = DecisionSettings(own={"calm": {"rollback_config": -3.0, "restart_service": -3.0}})
    assert Advisor(knowledge=KNOWN).propose(TWO_WAYS, (), Bounds(own), NOW) is None


def test_a_short_outage_counts_more_in_busy_hours_and_under_load() -> None:
    parts = [
        propose(TWO_WAYS, DecisionSettings(), context=context).options[0].parts["performance"]
        for context in (Context(), Context(busy=1.0), Context(busy=1.0, load=2.0))
    ]
    assert parts == sorted(parts, reverse=True)
    assert len(set(parts)) == 3


def test_an_option_that_another_one_beats_in_everything_is_marked() -> None:
    options = propose(TWO_WAYS, DecisionSettings()).options
    assert [(o.action, o.efficient) for o in options] == [("rollback_config", True), ("restart_service", False)]
    assert all(o.efficient for o in propose(AHEAD, DecisionSettings()).options), "one is surer, the other cheaper"


def test_without_exploring_the_best_is_certain() -> None:
    options, chance = choose([option(), option("scale_out", 0.4)], {}, 0.0, derive("x"))
    assert (options[0].action, chance, options[1].propensity) == ("restart_service", 1.0, 0.0)


def test_exploring_is_rarer_the_worse_an_option_is_and_adds_up() -> None:
    chances = propensities([option(), option("scale_out", 0.4), option("rollback_config", 0.1)], 20.0)
    assert chances == pytest.approx([1 - 1 / 5 - 1 / 11, 1 / 5, 1 / 11])


def test_what_takes_capacity_away_is_never_explored() -> None:
    assert not harmless(option("scale_in"))
    assert not harmless(option("delete_everything"))
    assert propensities([option(), option("scale_in", 0.49)], 1.0) == [1.0, 0.0]
    assert propensities([option("scale_in"), option(score=0.49)], 1.0) == [1.0, 0.0], "nor is it a reason to explore"


def test_explored_options_come_up_as_often_as_their_logged_propensity_says() -> None:
    pair, picked = [option(), option("scale_out", 0.4)], 0
    for n in range(2_000):
        options, chance = choose(pair, {}, 20.0, derive("explore", n))
        assert chance == options[0].propensity
        picked += options[0].action == "scale_out"
    assert picked / 2_000 == pytest.approx(1 / (2 + 20 * 0.1), abs=0.03)


def test_an_explored_choice_says_what_it_left_out() -> None:
    seed = next(s for n in range(99) if int(s := derive("explore", n), 16) / 2**80 > 0.9)
    options, _ = choose([option(), option("scale_out", 0.4)], {}, 20.0, seed)
    assert options[0].action == "scale_out"
    assert options[1].why_not == "better (0.50), left out this once to learn about scale_out on shop/catalog"


DENIAL = rule('default allow := false\nreasons contains "not here"', "frozen", actions=["rollback_config"])
GRANT = rule(name="grant", kind="access")


def test_an_option_that_policy_denies_gives_way_to_the_next_one() -> None:
    bounds = Bounds(policies=Policies(Rego(), [GRANT, DENIAL]))
    made = Advisor(policies=Book(), knowledge=KNOWN).propose(TWO_WAYS, (), bounds, NOW)
    assert made is not None
    assert (made.action, made.propensity) == ("restart_service", 1.0)
    assert made.alternatives == ("rollback_config on shop/catalog: policy denies it: frozen: not here",)


def test_when_policy_denies_all_the_best_is_proposed_so_that_its_refusal_is_on_record() -> None:
    bounds = Bounds(DecisionSettings(explore=5.0), policies=Policies(Rego(), [DENIAL]))
    made = Advisor(knowledge=KNOWN).propose(TWO_WAYS, (), bounds, NOW)
    assert made is not None
    assert (made.action, made.propensity) == ("rollback_config", 0.0)


def test_an_action_that_is_not_allowed_gives_way_too() -> None:
    made = Advisor(knowledge=KNOWN).propose(
        TWO_WAYS, (), Bounds(safety=SafetySettings(allowed=("restart_service",))), NOW
    )
    assert made is not None
    assert made.action == "restart_service"
    assert made.options[1].why_not == "not on the list of allowed actions"
