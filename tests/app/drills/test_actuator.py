"""The actuator of the drills refuses nothing that it is asked, and its ledger is filled up to where it has to be."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from app.clock import now_ms
from app.drills.actuator import ACTIONS, PAGE, ActuatorTestbed, Life
from app.errors import UserError
from app.security.keys import WORKER, keys_of
from models.safety.signing import seal
from topics.actions import Command, Result


def test_it_knows_the_actions_that_come_with_opsloop(tmp_path: Path) -> None:
    """Else it would refuse all commands, and no fault would meet anything. It reads no settings, as workers do."""
    home, commands = tmp_path / "home", tmp_path / "commands"
    (tmp_path / "site").mkdir()
    signer = keys_of(home).own(WORKER)
    for number, (action, target) in enumerate(ACTIONS):
        command = Command(
            id=f"k{number}", decision="d", incident="i", ts=now_ms(), action=action, target=target, parameters={},
            expires=now_ms() + 55_000, audience="supervisor/shop", epoch=number + 1, confidence=1.0,
        )  # fmt: skip
        with commands.open("ab") as file:
            file.write(msgspec.json.encode(seal(command, signer)) + b"\n")
    life = Life(tmp_path / "site", home, commands)
    try:
        assert life.wait(lambda: len(life.results()) == len(ACTIONS)), (tmp_path / "actuator.log").read_text()
        assert {result.detail for result in life.results().values()} == {f"no site is in {tmp_path / 'site'}"}
    finally:
        life.kill()


def test_a_command_that_is_refused_ends_the_drill() -> None:
    refused = Result(
        id="r", command="k0", decision="d", incident="i", action="restart_service", target="shop/cart/0", ts=1,
        outcome="refused", detail="there is no action 'restart_service'",
    )  # fmt: skip
    bed, life = object.__new__(ActuatorTestbed), object.__new__(Life)
    life.results = lambda: {"k0": refused}  # type: ignore[method-assign]
    with pytest.raises(UserError, match="k0 was refused: there is no action"):
        bed.keep(life)


COMMAND = Command(
    id="k", decision="d", incident="i", ts=1, action="restart_service", target="shop/cart/0", parameters={}, expires=2
)  # fmt: skip


class Lines(ActuatorTestbed):
    """A testbed whose actuator does nothing but write lines of some sizes into its ledger."""

    def __init__(self, folder: Path, sizes: tuple[int, int]) -> None:
        self.count, self.padding, self.sizes, self.commands = 0, {}, sizes, folder / "commands"
        self.site = SimpleNamespace(layout=SimpleNamespace(folder=folder))  # type: ignore[assignment]
        self.entries = folder / "ledger" / "entries.jsonl"
        self.entries.parent.mkdir()

    def order(self, padding: int = 0) -> Command:
        name = f"k{self.count}"
        self.padding[name] = padding
        with self.entries.open("a") as file:
            for entry, size in zip(({"intent": {"id": name}}, {"result": {"command": name}}), self.sizes, strict=True):
                line = json.dumps({"entry": entry, "x": ""})
                more = padding + self.count % 3 * 2  # those of an action are alike
                file.write(line[:-2] + "x" * (size + more - len(line) - 1) + '"}\n')
        self.count += 1
        return COMMAND

    def said(self, *_: object) -> bool:
        return True


@pytest.mark.parametrize("sizes", [(300, 90), (450, 270), (512, 512), (600, 424), (1_024, 1_024), (2_900, 1_100)])
def test_an_intent_comes_to_stand_at_the_end_of_a_page_whatever_the_size_of_a_command(
    tmp_path: Path, sizes: tuple[int, int]
) -> None:
    bed = Lines(tmp_path, sizes)
    for _ in range(5):
        before = bed.count
        bed.approach(object.__new__(Life))
        assert bed.count <= before + 2 + len(ACTIONS)
        size = bed.entries.stat().st_size
        bed.order()
        intent, result = bed.entries.read_bytes()[size:].splitlines(keepends=True)
        assert size // PAGE == (size + len(intent)) // PAGE < (size + len(intent) + len(result)) // PAGE
