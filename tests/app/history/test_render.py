"""Records as sentences: plain words, and what was refused does not look done."""

from __future__ import annotations

import pytest

from app.history.render import STEPS, sentence
from app.testing import sample
from models.incidents.lifecycle import IncidentStep
from tests.builders import decision, incident
from topics.decisions import DecisionState


@pytest.mark.parametrize("step", [step for step in IncidentStep if step is not IncidentStep.REVIEW], ids=str)
def test_each_step_of_an_incident_is_told_in_plain_words(step: IncidentStep) -> None:
    assert f"({STEPS[step]})" in sentence(incident(step=step.value))
    assert f"({step})" not in sentence(incident(step=step.value)) or step is IncidentStep.CURED


@pytest.mark.parametrize(("outcome", "told"), [("refused", "(refused)"), ("failed", "(failed)"), ("succeeded", "")])
def test_a_completed_decision_says_so_when_its_command_was_refused_or_failed(outcome: str, told: str) -> None:
    said = sentence(decision(DecisionState.COMPLETED, outcome=outcome))
    assert told in said
    assert ("(" in said) is bool(told)


@pytest.mark.parametrize("budget", ["none", "entity", "fleet"])
def test_an_anomaly_that_a_budget_suppresses_says_whose(budget: str) -> None:
    said = sentence(sample("shop/db", 1_700_000_000_000, suppressed=budget))
    assert said.endswith(f"suppressed: the budget of the {budget} is spent") is (budget != "none")
    assert ("suppressed" in said) is (budget != "none")
