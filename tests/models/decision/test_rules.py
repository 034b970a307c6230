"""Rules: every cause has actions of the catalogue, tried from the surest on."""

from __future__ import annotations

import pytest

from models.actions.catalogue import ACTIONS
from models.decision.rules import CURES, propose
from models.diagnosis.hypotheses import BY_SYMPTOM
from tests.builders import CATALOG, NOW, hypothesis, incident


def test_every_cure_is_an_action_with_parameters_that_it_takes() -> None:
    for cause, options in CURES.items():
        for option in options:
            assert option.action in ACTIONS, cause
            assert ACTIONS[option.action].objection(option.parameters) is None
            assert 0 < option.confidence < 1


def test_every_cause_that_diagnosis_names_is_known_to_the_rules() -> None:
    named = {cause.name for cause in BY_SYMPTOM.values()} | {"bad_configuration", "overload"}
    assert named == set(CURES)


@pytest.mark.parametrize(
    ("cause", "action", "target", "parameters"),
    [("process_gone", "restart_service", CATALOG, {}), ("process_hung", "restart_service", CATALOG, {}),
     ("memory_leak", "restart_service", CATALOG, {}), ("faulty_state", "restart_service", CATALOG, {}),
     ("bad_configuration", "rollback_config", "shop/catalog", {}),
     ("overload", "scale_out", "shop/catalog", {"replicas": "1"}), ("slowness", "restart_service", "shop/catalog", {}),
     ("idle_capacity", "scale_in", "shop/catalog", {"replicas": "1"})],
)  # fmt: skip
def test_a_cause_is_met_with_its_best_action(cause: str, action: str, target: str, parameters: dict[str, str]) -> None:
    made = propose(incident(hypotheses=(hypothesis(cause),)), (), NOW)
    assert made is not None
    assert (made.action, made.target, made.parameters, made.cause) == (action, target, parameters, cause)
    assert made.confidence == round(0.98 * CURES[cause][0].confidence, 4)
    assert made.rule == f"{cause}→{action}"
    assert made.reasons[0].startswith(cause)
    assert made.evidence == incident().evidence


def test_what_was_tried_is_not_proposed_again_until_nothing_is_left() -> None:
    wish = incident(hypotheses=(hypothesis("bad_configuration"), hypothesis("memory_leak", score=0.5)))
    tried: list[str] = []
    while (made := propose(wish, tried, NOW)) is not None:
        assert made.attempt == len(tried)
        tried.append(f"{made.action}@{made.target}")
    assert tried == ["rollback_config@shop/catalog", f"restart_service@{CATALOG}", "restart_service@shop/catalog"]


def test_the_alternatives_say_why_not() -> None:
    wish = incident(hypotheses=(hypothesis("bad_configuration"),))
    first, second = propose(wish, (), NOW), propose(wish, ("rollback_config@shop/catalog",), NOW)
    assert first is not None
    assert second is not None
    assert first.alternatives == ("restart_service on shop/catalog: less sure (0.29)",)
    assert second.alternatives == ("rollback_config on shop/catalog: tried before",)


def test_nothing_is_proposed_for_a_cause_without_a_cure() -> None:
    assert propose(incident(hypotheses=(hypothesis("failing_dependency"), hypothesis("nobody_knows"))), (), NOW) is None
    assert propose(incident(hypotheses=()), (), NOW) is None


def test_the_id_is_the_same_whenever_it_is_made_and_another_for_another_attempt() -> None:
    wish = incident()
    first, later = propose(wish, (), NOW), propose(wish, (), NOW + 5_000)
    second = propose(wish, ("something@else",), NOW)
    assert first is not None
    assert later is not None
    assert second is not None
    assert first.id == later.id != second.id
