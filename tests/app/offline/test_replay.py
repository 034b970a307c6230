"""I18: a recorded history through today's agents, in memory: the decisions of the day it was accepted, to the byte.

When a change of what is decided is wanted, look at the difference and write the new decisions with
`OPSLOOP_ACCEPT=1 pytest tests/app/offline/test_replay.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from app.errors import UserError
from app.offline.replay import Memory, compare, compare_incidents, digest_of, load, save, with_pack
from app.settings import Settings
from models.knowledge.packs import Packs
from models.safety.limits import SafetySettings
from models.safety.modes import Mode
from tests.keys import RING, WORKER_KEY
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident
from topics.spec import Raw

PACK = Path(__file__).with_name("histories") / "demo.toml"
HISTORIES = sorted(Path(__file__).with_name("histories").glob("*.jsonl.gz"))


def decided(history: list[Raw], mode: Mode = Mode.AUTONOMOUS) -> list[Decision]:
    """What is decided with the packs of the day of the recording, whose ids had revision 1."""
    packs = Packs([PACK.read_text()], stands_for=lambda _: 1)
    return Memory(Settings(safety=SafetySettings(mode=mode)), WORKER_KEY, RING, packs).run(history)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.name)
def test_i18_a_recorded_history_is_decided_as_it_was_byte_for_byte(path: Path) -> None:
    accepted, found = path.with_name(path.name.replace(".jsonl.gz", ".decisions")), digest_of(decided(load(path)))
    if os.environ.get("OPSLOOP_ACCEPT"):
        accepted.write_bytes(found)
    assert found.splitlines() == accepted.read_bytes().splitlines()


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.name)
def test_a_fault_of_the_recording_is_decided_and_dispatched_once(path: Path) -> None:
    states = [decision.state for decision in decided(load(path))]
    assert states == [DecisionState.APPROVED, DecisionState.DISPATCHED, DecisionState.COMPLETED]


def test_a_changed_setting_gives_a_difference_that_can_be_read() -> None:
    history = load(HISTORIES[0])
    (change,) = compare(decided(history), decided(history, Mode.APPROVE))
    assert (change.action, change.target) == ("restart_service", "shop/catalog/0")
    assert change.before.startswith("approved → dispatched → completed")
    assert change.after.startswith("pending_approval")


def test_a_history_that_was_saved_is_the_same_when_it_is_loaded(tmp_path: Path) -> None:
    history = load(HISTORIES[0])
    save(history, tmp_path / "again.jsonl.gz")
    assert load(tmp_path / "again.jsonl.gz") == history
    assert (tmp_path / "again.jsonl.gz").read_bytes() != b""


def test_the_same_decisions_at_another_time_are_no_difference() -> None:
    found = decided(load(HISTORIES[0]))
    later = [msgspec.structs.replace(decision, ts=decision.ts + 9) for decision in found]
    assert compare(found, later) == []
    assert len(compare(found, [])) == 1


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no")
    with pytest.raises(UserError, match="no recorded history"):
        load(tmp_path / "x")


def test_a_pack_is_tried_on_a_history_and_what_it_leaves_as_it_was_keeps_its_ids() -> None:
    history, base = load(HISTORIES[0]), Packs([PACK.read_text()])
    settings = Settings(safety=SafetySettings(mode=Mode.AUTONOMOUS))

    def run(packs: Packs) -> tuple[list[Decision], dict[str, Incident]]:
        memory = Memory(settings, WORKER_KEY, RING, packs)
        return memory.run(history), memory.incidents()

    (now, incidents), same = run(base), run(with_pack(PACK.read_text() + "# a comment\n", base))
    assert (compare(now, same[0]), compare_incidents(incidents, same[1])) == ([], [])
    calmer = PACK.read_text().replace('signal = "up.refused", off', 'signal = "up.refused.never", off')
    deaf = calmer.replace('unless = ["up.refused"]\n', "").replace('name = "process_hung"', 'name = "process_stuck"')
    after, opened = run(with_pack(deaf, base))
    changes = compare_incidents(incidents, opened)
    assert changes
    assert {change.entity.partition("/")[0] for change in changes} == {"shop"}
    assert any(change.before == "process_gone of shop/catalog/0" and change.after == "" for change in changes)
    assert compare(now, after)
