"""`opsloop policy simulate`, `conflicts`, `recommend`: as a person types them, on what a broker has recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import build
from app.client import Publisher
from app.errors import UserError
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from app.policy.shipped import texts
from models.policy.examples import examples
from tests.builders import decision, proposal, verdict_on
from tests.rules import rule
from topics.decisions import DecisionState
from topics.verdicts import Effect

QUOTA = rule("default allow := true\nallow := false if input.system.actions > 3", name="quota", kind="quota")


@pytest.fixture
def recorded(embedded: Embedded) -> Embedded:
    """A hundred decisions, two states of each, with verdicts on every second."""
    with Publisher(Broker(embedded.bootstrap)) as publisher:
        for n, facts in enumerate(examples(100)):
            proposed = proposal(id=f"p{n}", action="restart_service", target=facts.target.id)
            first = decision(DecisionState.APPROVED, proposed, facts=facts)
            for state in (first, decision(DecisionState.COMPLETED, proposed, facts=facts)):
                publisher.send(state)
            if n % 2:
                publisher.send(verdict_on(Effect.REMEDIATED, id=f"v{n}", decision=first.id, entity=facts.target.id))
    return embedded


def typed(cluster: Embedded, *words: str, code: int = 0) -> str:
    line = ["policy", *words, "--broker", cluster.bootstrap]
    result = CliRunner().invoke(build(), line, env={"COLUMNS": "200"})
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def last(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


def written(folder: Path, source: str, name: str = "quota") -> str:
    file = folder / f"{name}.rego"
    file.write_text(source)
    return str(file)


def test_a_changed_policy_is_simulated_on_each_decision_once(recorded: Embedded, tmp_path: Path) -> None:
    found = last(typed(recorded, "simulate", written(tmp_path, QUOTA), "--json", code=1))
    assert (found["decisions"], found["newly_allowed"]) == (100, 0)
    assert found["newly_blocked"] == len(found["changes"]) > 5
    assert found["changes"][0]["why"] == ["quota: not allowed"]
    told = typed(recorded, "simulate", written(tmp_path, QUOTA), code=1)
    assert "100 decisions: 0 newly allowed" in told
    assert "newly blocked" in told


def test_an_unchanged_policy_changes_nothing(recorded: Embedded, tmp_path: Path) -> None:
    found = last(typed(recorded, "simulate", written(tmp_path, texts()[2], "storm"), "--json"))
    assert (found["decisions"], found["changes"]) == (100, [])


def test_a_time_without_decisions_and_a_bad_policy_are_told(recorded: Embedded, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recorded decision"):
        typed(recorded, "simulate", written(tmp_path, QUOTA), "--to", "2001-01-01")
    with pytest.raises(UserError, match="undefined"):
        typed(recorded, "simulate", written(tmp_path, rule("allow if input.system.storm", name="quota")))


def test_conflicts_are_shown_with_their_witness(recorded: Embedded) -> None:
    assert last(typed(recorded, "conflicts", "--json", "--generated", "50")) == {"policies": 3, "conflicts": []}
    assert "3 policies, 0 contradictions" in typed(recorded, "conflicts", "--generated", "50")


def test_a_recommended_policy_is_a_file_that_can_be_tried(recorded: Embedded, tmp_path: Path) -> None:
    file = tmp_path / "recommended.rego"
    told = typed(recorded, "recommend", "--out", str(file))
    assert "rules from 100 decisions" in told.replace("\n", " ")
    assert "enforcement: monitor" in file.read_text()
    assert "quotas" not in told
    tried = CliRunner().invoke(build(), ["policy", "test", str(file)])
    assert tried.exit_code == 0, tried.output
    with pytest.raises(UserError, match="no name of a policy's file"):
        typed(recorded, "recommend", "--out", str(tmp_path / "Not A Name.txt"))
