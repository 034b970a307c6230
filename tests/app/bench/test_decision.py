"""The bench of decisions, small: what it prints, and that its policies are asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.bench import calibration, decision
from models.versions import Book


def test_it_prints_every_figure_in_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    decision.run(10, True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    wanted = {
        "decision_p50_ms",
        "decision_p99_ms",
        "policy_p50_ms",
        "policy_p99_ms",
        "gate_per_s",
        "sign_us",
        "audit_us",
    }
    assert wanted <= set(found)
    assert all(found[name] > 0 for name in wanted)
    assert found["policies"] == 100


def test_all_of_its_policies_hold_and_can_be_asked() -> None:
    active = decision.policies().active(Book())
    assert len(active) == 100
    assert all(not isinstance(policy.loaded, Exception) for policy in active)


def test_calibration_prints_every_figure_in_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    calibration.run(10, True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["ece"] < 0.03 < 0.15 < found["ece_raw"]
    assert {"lead_false_demotions", "autonomous_demoted_p95", "automatic_after_good_demoted_p50"} <= set(found)
