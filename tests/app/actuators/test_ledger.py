"""The ledger on a real disk: what a crash can leave behind, and several actuators at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.act import Begin
from app.actuators.ledger import Ledger
from app.errors import UserError
from topics.actions import Command, Result

NOW = 1_000_000


def command(name: str) -> Command:
    return Command(
        id=name, decision="d", incident="i", ts=NOW, action="restart_service", target="shop/cart/0", parameters={},
        expires=NOW + 1,
    )  # fmt: skip


def result(name: str, ts: int = NOW) -> Result:
    return Result(
        id=f"r-{name}", command=name, decision="d", incident="i", action="restart_service", target="shop/cart/0",
        ts=ts, outcome="succeeded", detail="done",
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def crashed(ledger: Ledger) -> None:
    """What the system does when a process dies: its lock is gone."""
    ledger.close()


def test_a_command_begins_once_in_all_its_life(folder: Path) -> None:
    ledger = Ledger(folder)
    assert ledger.begin(command("a"), NOW) is Begin.BEGUN
    ledger.finish(result("a"))
    assert ledger.begin(command("a"), NOW) is Begin.KNOWN
    assert Ledger(folder).begin(command("a"), NOW) is Begin.KNOWN
    assert Ledger(folder).find("a") == result("a")


def test_an_intent_is_on_disk_before_begin_returns(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.begin(command("a"), NOW)
    assert b'"a"' in (folder / "entries.jsonl").read_bytes()


def test_an_intent_of_a_dead_actuator_is_an_orphan_until_it_is_finished(folder: Path) -> None:
    first, second = Ledger(folder), Ledger(folder)
    first.begin(command("a"), NOW)
    assert second.orphans() == ()
    crashed(first)
    assert [(intent.command.id, intent.ts) for intent in second.orphans()] == [("a", NOW)]
    assert second.begin(command("a"), NOW) is Begin.KNOWN
    assert second.orphans()
    second.finish(result("a"))
    assert second.orphans() == ()
    assert first.find("a") == result("a")


def test_two_actuators_never_have_two_commands_under_way(folder: Path) -> None:
    first, second = Ledger(folder), Ledger(folder, wait_s=0.0)
    assert first.begin(command("a"), NOW) is Begin.BEGUN
    assert second.begin(command("b"), NOW) is Begin.BUSY
    first.finish(result("a"))
    assert second.begin(command("b"), NOW) is Begin.BEGUN


def test_a_refusal_without_an_intent_is_remembered(folder: Path) -> None:
    Ledger(folder).finish(result("a"))
    assert Ledger(folder).begin(command("a"), NOW) is Begin.KNOWN


def test_a_second_result_does_not_replace_the_first(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.finish(result("a"))
    ledger.finish(result("a", NOW + 5))
    assert ledger.find("a") == result("a")


@pytest.mark.parametrize("kept", range(1, 40, 3))
def test_a_torn_end_is_cut_off_and_writing_goes_on(folder: Path, kept: int) -> None:
    ledger = Ledger(folder)
    ledger.begin(command("a"), NOW)
    ledger.finish(result("a"))
    path = folder / "entries.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[0][:kept])
    again = Ledger(folder)
    assert again.find("a") == result("a")
    assert again.begin(command("b"), NOW) is Begin.BEGUN
    again.finish(result("b"))
    assert {name for name in "ab" if Ledger(folder).find(name)} == {"a", "b"}


def test_a_last_line_with_its_end_but_a_wrong_sum_is_torn_too(folder: Path) -> None:
    Ledger(folder).finish(result("a"))
    with (folder / "entries.jsonl").open("ab") as file:
        file.write(b"\0" * 40 + b"\n")
    assert Ledger(folder).begin(command("b"), NOW) is Begin.BEGUN
    assert Ledger(folder).find("a") == result("a")


def test_damage_before_the_end_is_refused_with_its_line(folder: Path) -> None:
    ledger = Ledger(folder)
    for name in "abc":
        ledger.finish(result(name))
    path = folder / "entries.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"succeeded", b"refused")
    path.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=r"line 2 of the actuator's ledger .* is damaged"):
        Ledger(folder)


def test_i13_old_results_are_left_out_and_open_intents_stay(folder: Path) -> None:
    ledger = Ledger(folder, keep_ms=1_000, compact_bytes=5_000)
    other = Ledger(folder)
    sizes = []
    for n in range(200):
        now = NOW + n * 100
        assert ledger.begin(command(f"c{n}"), now) is Begin.BEGUN
        ledger.finish(result(f"c{n}", now))
        sizes.append((folder / "entries.jsonl").stat().st_size)
    assert max(sizes) < 12_000
    assert other.find("c199") == result("c199", NOW + 19_900)
    assert other.find("c0") is None
    ledger.begin(command("open"), NOW + 20_000)
    crashed(ledger)
    assert [intent.command.id for intent in Ledger(folder, compact_bytes=0).orphans()] == ["open"]


def test_a_lock_dies_with_its_process(folder: Path) -> None:
    pid = os.fork()
    if pid == 0:
        Ledger(folder).begin(command("a"), NOW)
        os._exit(0)
    os.waitpid(pid, 0)
    assert [intent.command.id for intent in Ledger(folder).orphans()] == ["a"]
