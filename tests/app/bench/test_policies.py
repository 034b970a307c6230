"""The bench of policies, small."""

from __future__ import annotations

import json

import pytest

from app.bench.policies import hundred, run
from models.policy.engine import Policies
from models.policy.rego import Rego


def test_it_prints_the_figures_that_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    run(60, 80, json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["policies"], found["decisions"], found["unchanged_differences"]) == (100, 80, 0)
    assert found["covering"] > 50
    assert 0 < found["policy_p50_ms"] <= found["policy_p99_ms"]
    assert found["simulate_s"] > 0


def test_all_hundred_are_different_policies_that_may_be_registered() -> None:
    ready = Policies(Rego())
    assert len({ready.load(source).header.id for source in hundred()}) == 100
