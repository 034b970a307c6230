"""The list of drills names functions that are there."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from app.drills.catalogue import DRILLS, imported
from app.drills.report import Report


@pytest.mark.parametrize("name", sorted(DRILLS))
def test_every_drill_can_be_found(name: str) -> None:
    file, _, function = DRILLS[name].place.partition(".")
    run = getattr(import_module(f"app.drills.{file}"), function)
    assert list(inspect.signature(run).parameters)[:3] == ["folder", "report", "trials"]


def test_a_drill_is_imported_when_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[tuple[Path, str, int]] = []

    def noted(folder: Path, report: Report, trials: int) -> None:
        met.append((folder, report.drill, trials))

    monkeypatch.setattr("app.drills.lane.kill", noted)
    imported("lane.kill")(tmp_path, Report("lane-kill", "I1", 1), 7)
    assert met == [(tmp_path, "lane-kill", 7)]
