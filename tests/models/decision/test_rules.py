"""Rules: every cause has actions of the catalogue, and every kind of decision a worked example."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from models.actions.catalogue import ACTIONS
from models.decision.advisor import Advisor, Bounds
from models.decision.base import Case, Context, DecisionKind
from models.decision.rules import facts_of, findings
from tests.builders import CATALOG, KNOWN, NOW, hypothesis
from topics.incidents import Hypothesis
from topics.proposals import Proposal

DEMO = next(pack for pack in KNOWN.packs if pack.name == "demo")
CURES = {
    name: [c for c in DEMO.cures if c.cause == name]
    for name in {c.name for c in DEMO.causes} | {f.cause for f in DEMO.findings}
}
FINDINGS = DEMO.findings
FILLED = {"{approved_revision}": "3"}


def case(*hypotheses: Hypothesis, **changes: object) -> Case:
    fields: dict[str, object] = {
        "id": "i1",
        "kind": DecisionKind.INCIDENT_RESPONSE,
        "hypotheses": hypotheses,
        "incident": "i1",
    }
    return Case(**fields | changes)  # type: ignore[arg-type]


def propose(wanted: Case, *tried: str) -> Proposal | None:
    return Advisor(knowledge=KNOWN).propose(wanted, tried, Bounds(), NOW)


def test_every_cure_is_an_action_with_parameters_that_it_takes() -> None:
    for cause, cures in CURES.items():
        for cure in cures:
            assert cure.action in ACTIONS, cause
            values = {name: FILLED.get(value, value) for name, value in cure.parameters.items()}
            assert ACTIONS[cure.action].objection(values) is None
            assert 0 < cure.confidence < 1


@pytest.mark.parametrize("kind", DecisionKind)
def test_every_kind_has_findings_whose_causes_can_be_cured(kind: DecisionKind) -> None:
    own = [f for f in FINDINGS if f.kind is kind]
    assert own
    assert all(CURES[f.cause] and f.when and 0 < f.score < 1 for f in own)
    assert facts_of(KNOWN, kind)


@pytest.mark.parametrize(
    ("cause", "action", "target", "parameters"),
    [("process_gone", "restart_service", CATALOG, {}), ("process_hung", "restart_service", CATALOG, {}),
     ("memory_leak", "restart_service", CATALOG, {}), ("faulty_state", "restart_service", CATALOG, {}),
     ("bad_configuration", "rollback_config", "shop/catalog", {}),
     ("overload", "scale_out", "shop/catalog", {"replicas": "1"}), ("slowness", "restart_service", "shop/catalog", {}),
     ("idle_capacity", "scale_in", "shop/catalog", {"replicas": "1"})],
)  # fmt: skip
def test_a_cause_of_an_incident_is_met_with_its_best_action(
    cause: str, action: str, target: str, parameters: dict[str, str]
) -> None:
    made = propose(case(hypothesis(cause), evidence=("opsloop.incidents-0-1",)))
    assert made is not None
    assert (made.action, made.target, made.parameters, made.cause) == (action, target, parameters, cause)
    assert made.confidence == made.raw == round(0.98 * CURES[cause][0].confidence, 4)
    assert made.rule == f"{cause}→{action}"
    assert made.reasons[0].startswith(cause)
    assert made.evidence == ("opsloop.incidents-0-1",)
    assert (made.options[0].why_not, made.propensity) == ("", 1.0)


# what is asked, and what is answered; docs/decisions.md has them as commands
EXAMPLES: tuple[tuple[DecisionKind, dict[str, float], str], ...] = (
    (DecisionKind.SCALING, {"utilization": 0.91}, "scale_out replicas=1 on shop/catalog"),
    (
        DecisionKind.PROVISIONING,
        {"forecast_utilization": 0.93, "hours_ahead": 12},
        "scale_out replicas=2 on shop/catalog",
    ),
    (DecisionKind.INCIDENT_RESPONSE, {"up": 1, "answers": 0}, "restart_service on shop/catalog/0"),
    (
        DecisionKind.OPTIMISATION,
        {"cost_per_request": 1.6, "utilization": 0.2, "replicas": 3},
        "scale_in replicas=1 on shop/catalog",
    ),
    (DecisionKind.SECURITY_RESPONSE, {"signed_revision": 0}, "rollback_config revision=3 on shop/catalog"),
    (DecisionKind.COMPLIANCE, {"revision_approved": 0}, "rollback_config revision=3 on shop/catalog"),
    (DecisionKind.MAINTENANCE, {"uptime_days": 41, "in_window": 1}, "restart_service on shop/catalog/0"),
    (DecisionKind.DISASTER_RECOVERY, {"lost_share": 0.67, "survivors": 1}, "scale_out replicas=3 on shop/catalog"),
)


def test_there_is_an_example_of_each_kind() -> None:
    assert [kind for kind, _, _ in EXAMPLES] == list(DecisionKind)


@pytest.mark.parametrize(("kind", "facts", "answer"), EXAMPLES, ids=[kind for kind, _, _ in EXAMPLES])
def test_a_worked_example(kind: DecisionKind, facts: Mapping[str, float], answer: str) -> None:
    found = findings(KNOWN, kind, CATALOG, facts)
    made = propose(case(*found, kind=kind, incident="", parameters={"approved_revision": "3"}))
    assert made is not None
    values = "".join(f" {name}={value}" for name, value in made.parameters.items())
    assert f"{made.action}{values} on {made.target}" == answer
    assert made.kind == kind
    for fact in facts:
        assert any(reason.startswith(f"{fact} is ") for reason in made.reasons)


def test_a_fact_that_is_not_known_or_not_so_means_nothing() -> None:
    assert findings(KNOWN, DecisionKind.SCALING, CATALOG, {"utilization": 0.5}) == ()
    assert findings(KNOWN, DecisionKind.SCALING, CATALOG, {}) == ()
    assert findings(KNOWN, DecisionKind.MAINTENANCE, CATALOG, {"uptime_days": 90}) == (), "outside its window"


def test_a_rule_whose_parameter_nobody_brings_is_silent() -> None:
    made = propose(case(*findings(KNOWN, DecisionKind.COMPLIANCE, CATALOG, {"revision_approved": 0})))
    assert made is not None
    assert (made.action, made.parameters, len(made.options)) == ("rollback_config", {}, 1)


def test_what_was_tried_is_not_proposed_again_until_nothing_is_left() -> None:
    proposed = case(hypothesis("bad_configuration"), hypothesis("memory_leak", score=0.5))
    tried: list[str] = []
    while (made := propose(proposed, *tried)) is not None:
        tried.append(f"{made.action}@{made.target}")
    assert tried == ["rollback_config@shop/catalog", f"restart_service@{CATALOG}", "restart_service@shop/catalog"]


def test_the_alternatives_say_why_not() -> None:
    proposed = case(hypothesis("bad_configuration"))
    first, second = propose(proposed), propose(proposed, "rollback_config@shop/catalog")
    assert first is not None
    assert second is not None
    assert first.alternatives == ("restart_service on shop/catalog: less sure (0.29)",)
    assert second.alternatives == ("rollback_config on shop/catalog: tried before",)


def test_nothing_is_proposed_for_a_cause_without_a_cure() -> None:
    assert propose(case(hypothesis("failing_dependency"), hypothesis("nobody_knows"))) is None
    assert propose(case()) is None


def test_the_id_is_the_same_whenever_it_is_made_and_another_for_another_attempt() -> None:
    proposed = case(hypothesis())
    again = case(hypothesis(), context=Context(attempt=1))
    ids = {made.id for made in (propose(proposed), propose(proposed), propose(again)) if made}
    assert len(ids) == 2
