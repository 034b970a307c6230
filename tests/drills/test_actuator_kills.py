"""I6: an actuator is killed before, during and after its effects, and no command has its effect twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec
import pytest

from app.adapters.ledger import Ledger
from app.clock import now_ms
from app.demo.site import Site
from models.safety.signing import seal
from tests.keys import WORKER_KEY
from topics.actions import Command, Result

pytestmark = pytest.mark.drill

KILLS = 36
SEED = 20
PROCESS = Path(__file__).with_name("actuator_process.py")
ACTIONS = (("restart_service", "shop/store/0"), ("restart_service", "shop/cart/0"), ("rollback_config", "shop/orders"))
# the longest delays of a kill: before the command is read, within it, and after it
SPANS = {"restart_service": (0.01, 0.5, 1.0), "rollback_config": (0.01, 0.02, 0.1)}


class Actuator:
    """One life of the actuator."""

    def __init__(self, site: Path, commands: Path, output: IO[bytes]) -> None:
        output.seek(0)
        output.truncate()
        self.process = subprocess.Popen([sys.executable, str(PROCESS), str(site), str(commands)], stdout=output)
        self.output = Path(output.name)
        self._wait(lambda text: text.startswith("ready"))

    def results(self) -> dict[str, Result]:
        """What it has said so far, by command."""
        whole, _, _ = self.output.read_text().rpartition("\n")
        said = [msgspec.json.decode(line, type=Result) for line in whole.splitlines() if line.startswith("{")]
        return {result.command: result for result in said}

    def caught_up(self, number: int) -> dict[str, Result]:
        """What it has said once it knows the end of every command before `number`."""
        self._wait(lambda _: number == 0 or f"k{number - 1}" in self.results())
        return self.results()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _wait(self, so: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + 20
        while not so(self.output.read_text()):
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.005)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("OPSLOOP_HOME", str(tmp_path / "home"))
    site = Site.start(tmp_path / "site")
    try:
        yield site
    finally:
        site.stop()


def order(site: Site, commands: Path, number: int) -> Command:
    """Write the next command where the actuator reads; a rollback gets something to roll back."""
    action, target = ACTIONS[number % len(ACTIONS)]
    if action == "rollback_config":
        site.layout.roll_out("orders", site.layout.config("orders", 1), "fault:slow", "another one")
    command = Command(
        id=f"k{number}", decision="d", incident="i", ts=now_ms(), action=action, target=target, parameters={},
        expires=now_ms() + 20_000, audience="supervisor/shop", epoch=now_ms() + number, confidence=1.0,
    )  # fmt: skip
    with commands.open("ab") as file:
        file.write(msgspec.json.encode(seal(command, WORKER_KEY)) + b"\n")
    return command


def test_i6_no_command_has_its_effect_twice_over_kills_of_the_actuator(site: Site, tmp_path: Path) -> None:
    draw = random.Random(SEED)
    commands, results = tmp_path / "commands", dict[str, Result]()
    commands.touch()
    cut = Counter[str]()
    with (tmp_path / "out").open("wb") as output:
        for number in range(KILLS):
            life = Actuator(site.layout.folder, commands, output)
            results |= life.caught_up(number)
            command = order(site, commands, number)
            time.sleep(draw.uniform(0.0, draw.choice(SPANS[command.action])))
            life.kill()
            results |= life.results()
            cut[_stage(site, command, life.results())] += 1
        last = Actuator(site.layout.folder, commands, output)
        results |= last.caught_up(KILLS)
        last.kill()
    time.sleep(0.5)  # a service looks at its configuration each 0.1 s
    effects = {effect.cause: effect for effect in site.effects()}
    print(f"seed {SEED}: {KILLS} kills: {dict(cut)}; {Counter(r.outcome for r in results.values())}")
    assert set(cut) >= {"before", "during", "after"}, cut
    assert set(results) == {f"k{n}" for n in range(KILLS)}
    assert set(effects) <= set(results)
    assert [effect for effect in effects.values() if effect.times > 1] == []
    for name, result in results.items():
        started = name in effects and effects[name].events != ("stop",)
        assert started == (result.outcome == "succeeded"), (result, effects.get(name))


def _stage(site: Site, command: Command, said: dict[str, Result]) -> str:
    """Where in the life of the command its actuator died, by what it left on disk."""
    ledger = Ledger(site.layout.folder / "ledger")
    if ledger.find(command.id) is not None:
        return "after" if command.id in said else "after, unsaid"
    found = [intent for intent in ledger.orphans() if intent.command.id == command.id]
    ledger.close()
    return "during" if found else "before"
