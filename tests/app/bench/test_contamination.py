"""The contamination bench: a fault that comes again is caught where learners fork, and not where they do not."""

from __future__ import annotations

import json

import pytest

from app.bench import contamination


def test_it_tells_a_forked_learner_from_a_plain_one(capsys: pytest.CaptureFixture[str]) -> None:
    contamination.run(entities=4, seeds=1, json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["entities"], found["series"], found["trials"]) == (4, 16, 4)
    assert found["first_caught"] == 1.0
    assert found["again_caught"] == 1.0
    assert found["again_caught_plain"] < 0.5
    assert found["new_trend_accepted"] == 1.0
