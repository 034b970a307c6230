"""The bench of one domain: what it counts, on a small one."""

from __future__ import annotations

import json

import pytest

from app.bench import domain


def test_services_alone_have_an_incident_each_and_a_chain_of_calls_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    domain.run(40, json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["entities"], found["alone"]["incidents"], found["related"]["incidents"]) == (40, 40, 4)
    assert all(found[kind][f"{what}_per_s"] > 0 for kind in ("alone", "related") for what in ("first", "again", "well"))
