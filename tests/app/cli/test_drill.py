"""`opsloop drill`: what is tried again, what is not, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import build
from app.cli import drill as command
from app.drills.catalogue import DRILLS, Drill
from app.drills.report import LeftOut, Report
from app.errors import UserError


def made(*ends: Exception | str | None) -> tuple[Drill, list[Path]]:
    """A drill whose runs end so, one after the other: an error, a violation in words, or well."""
    folders: list[Path] = []

    def run(folder: Path, report: Report, trials: int) -> None:
        end = ends[len(folders)]
        folders.append(folder)
        if isinstance(end, Exception):
            raise end
        if end:
            report.add_violation(end)
        report.trials = trials

    return Drill("fake", "I0", run, 1, 1, "Break nothing."), folders


def test_a_wait_that_ran_out_is_tried_again_once_and_told() -> None:
    drill, folders = made(UserError("nothing moves"), None)
    report = command._run(drill, 7, 3)
    assert (report.violations, report.trials, report.seed) == (0, 3, 7)
    assert report.figures["tried_again"] == 1
    assert [folder.exists() for folder in folders] == [True, False], "what the first has left behind is kept"
    report = command._run(made(UserError("nothing moves"), UserError("nothing moves"))[0], 7, 3)
    assert report.findings == ["nothing moves"]


def test_a_broken_promise_is_never_tried_again() -> None:
    drill, folders = made("two effects", None)
    assert command._run(drill, 7, 3).findings == ["two effects"]
    assert [folder.exists() for folder in folders] == [True], "what it left behind is kept"


def test_what_this_machine_cannot_do_is_left_out() -> None:
    report = command._run(made(LeftOut("it mounts a small disk, and may not", "Run it as root"))[0], 7, 3)
    assert (report.violations, report.trials) == (0, 0)
    assert report.figures["left_out"] == 1


def test_quick_and_full_leave_out_what_is_only_asked_for_by_name() -> None:
    quick, full = command._chosen([], True), command._chosen([], False)
    assert {drill.name for drill in quick} == {name for name, drill in DRILLS.items() if drill.quick}
    assert "soak" not in {drill.name for drill in [*quick, *full]}
    assert command._chosen(["soak"], True) == [DRILLS["soak"]]
    with pytest.raises(UserError, match="no drill"):
        command._chosen(["lane-kil"], False)


def test_several_run_side_by_side_and_one_that_breaks_off_breaks_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_apart", lambda order: command._broken(order, "it broke off with exit code 9"))
    kept = tmp_path / "drills.jsonl"
    done = CliRunner().invoke(
        build(), ["drill", "run", "lane-kill", "ledger-full", "--out", str(kept), "--at-once", "2"]
    )
    assert done.exit_code == 1
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert {row["drill"] for row in rows} == {"lane-kill", "ledger-full"}
    assert all(row["findings"] == ["it broke off with exit code 9"] for row in rows)
    told = CliRunner().invoke(build(), ["drill", "table", str(kept)]).stdout
    assert "\nledger-full " in told, "a name is never folded"
    kept.write_text("{}")
    assert "holds no reports" in str(CliRunner().invoke(build(), ["drill", "table", str(kept)]).exception)
    nowhere = str(tmp_path / "none" / "drills.jsonl")
    done = CliRunner().invoke(build(), ["drill", "run", "lane-kill", "--out", nowhere])
    assert "cannot write" in str(done.exception)


def test_a_process_that_says_nothing_is_told_as_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.sys, "executable", "false")
    row = command._apart(command.PlannedDrill(made(None)[0], 7, 3))
    assert (row["violations"], row["findings"]) == (1, ["it broke off with exit code 1"])
    endless = tmp_path / "endless"
    endless.write_text("#!/bin/sh\nexec sleep 60\n")
    endless.chmod(0o700)
    monkeypatch.setattr(command.sys, "executable", str(endless))
    monkeypatch.setattr(command, "LIMIT_S", 0.05)
    assert command._apart(command.PlannedDrill(made(None)[0], 7, 3))["findings"] == ["it has not ended within 0.05 s"]
