"""The actuator of the drills refuses nothing that it is asked for: else no fault would meet anything."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.clock import now_ms
from app.drills.actuator import ACTIONS, ActuatorTestbed, Life
from app.errors import UserError
from app.security.keys import WORKER, keys_of
from models.safety.signing import seal
from topics.actions import Command, Result


def test_it_knows_the_actions_that_come_with_opsloop(tmp_path: Path) -> None:
    """It reads no settings, with which workers have them."""
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
