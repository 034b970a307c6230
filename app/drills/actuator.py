"""Drills of the actuator: it is killed before, during and after its effects, and its ledger's disk runs full.

The site counts the effects in a journal of its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from app.actuators.ledger import Ledger
from app.clock import now_ms
from app.demo.site import Site
from app.drills.disk import SmallDisk
from app.drills.report import Report
from app.errors import UserError
from app.runtime.parent import FOLLOW
from app.security.keys import WORKER, keys_of
from models.safety.signing import Signer, seal
from topics.actions import Command, Result

WAIT_S: Final = 60.0
VALID_MS: Final = 55_000
ACTIONS: Final = (
    ("restart_service", "shop/store/0"),
    ("restart_service", "shop/cart/0"),
    ("rollback_config", "shop/orders"),
)
# the longest delays of a kill (s): before the command is read, during it, and after it
SPANS: Final = {"restart_service": (0.01, 0.5, 1.0), "rollback_config": (0.01, 0.02, 0.1)}
STAGES: Final = ("before", "during", "after")
ENOUGH: Final = 30  # kills after which each stage must have occurred
LEDGER_BYTES: Final = 512 * 1024
PAGE: Final = 4096  # bytes; the small disk allocates whole pages
SPARE: Final = 16  # bytes by which a line may differ from the one before it
MOST_TRIED: Final = 20  # commands on the way to the end of a page; the first of each action show their sizes
MOST_ENTRIES: Final = 20  # commands after which the last page of a ledger is full


class Life:
    """One process of the actuator, from start to end."""

    def __init__(self, site: Path, home: Path, commands: Path) -> None:
        self.output = commands.with_name("said")
        arguments = [sys.executable, "-m", "app.drills.actuator_process", *map(str, (site, home, commands))]
        with self.output.open("wb") as said, commands.with_name("actuator.log").open("ab") as log:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=said, stderr=log,
                env={**os.environ, FOLLOW: str(os.getpid())},
            )  # fmt: skip

    def results(self) -> dict[str, Result]:
        """The results that it has printed so far, by command."""
        whole, _, _ = self.output.read_text().rpartition("\n")
        said = [msgspec.json.decode(line, type=Result) for line in whole.splitlines() if line.startswith("{")]
        return {result.command: result for result in said}

    def wait(self, so: Callable[[], bool]) -> bool:
        """Wait until `so()` is true. Returns False when the actuator ends first. Raises UserError after a minute."""
        end = time.monotonic() + WAIT_S
        while not so():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                raise UserError(f"an actuator does nothing for {WAIT_S:g} s", f"See {self.output.parent}/actuator.log")
            time.sleep(0.005)
        return True

    def ready(self) -> bool:
        """Wait until the actuator is ready."""
        return self.wait(lambda: self.output.read_bytes().startswith(b"ready"))

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        self.process.wait()


class ActuatorTestbed:
    """A site, the processes of its actuator, and all commands with their results."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.home, self.commands = folder / "home", folder / "commands"
        self.signer: Signer = keys_of(self.home).own(WORKER)
        self.commands.touch()
        self.site = Site.start(folder / "site")
        self.count = 0
        self.padding: dict[str, int] = {}  # command → bytes that its intent and its result have more than others
        self.results: dict[str, Result] = {}

    def life(self) -> Life:
        """Start an actuator."""
        return Life(self.site.layout.folder, self.home, self.commands)

    def order(self, padding: int = 0) -> Command:
        """Append the next command to the actuator's file. Before a rollback, a revision is rolled out.

        padding: bytes that the lines of its intent and of its result in the ledger are longer.
        """
        action, target = ACTIONS[self.count % len(ACTIONS)]
        layout = self.site.layout
        if action == "rollback_config":
            layout.roll_out("orders", layout.config("orders", 1), "fault:slow", "another one")
        command = Command(
            id=f"k{self.count}", decision="d" * (1 + padding), incident="i", ts=now_ms(), action=action, target=target,
            parameters={}, expires=now_ms() + VALID_MS, audience="supervisor/shop", epoch=now_ms() + self.count,
            confidence=1.0,
        )  # fmt: skip
        with self.commands.open("ab") as file:
            file.write(msgspec.json.encode(seal(command, self.signer)) + b"\n")
        self.padding[command.id] = padding
        self.count += 1
        return command

    def caught_up(self, life: Life) -> bool:
        """Wait until the actuator has printed a result of every command."""
        names = {f"k{number}" for number in range(self.count)}
        held = life.wait(lambda: names <= life.results().keys())
        self.keep(life)
        return held

    def said(self, life: Life, command: Command) -> bool:
        """Wait for the result of a command. Returns False when the actuator ends first."""
        held = life.wait(lambda: command.id in life.results())
        self.keep(life)
        return held

    def keep(self, life: Life) -> None:
        """Keep the results that an actuator has printed. Raises UserError when it refused a command.

        Nothing was begun then, so that no fault could meet it.
        """
        found = life.results()
        for result in found.values():
            if result.outcome == "refused":
                raise UserError(f"{result.command} was refused: {result.detail}", "A drill's commands are all allowed")
        self.results |= found

    def approach(self, life: Life) -> None:
        """Append commands until the next one's intent fits into the last page of the ledger and its result does not.

        One of them is as long as the next one needs, whatever the size of a command.
        """
        path = self.site.layout.folder / "ledger" / "entries.jsonl"
        for _ in range(MOST_TRIED):
            lines: dict[str, list[int]] = defaultdict(list)  # command → bytes of its intent and result
            for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
                entry = json.loads(line)["entry"]
                lines[entry["intent"]["id"] if "intent" in entry else entry["result"]["command"]].append(len(line))
            left = PAGE - sum(map(sum, lines.values())) % PAGE
            # this command and the next one are as long as the last ones of the same actions, but for the padding
            this, after = (
                [size - self.padding[name] for size in lines.get(name, ())]
                for name in (f"k{self.count - len(ACTIONS)}", f"k{self.count + 1 - len(ACTIONS)}")
            )
            if len(this) == 2 and this[0] + SPARE < left < sum(this) - SPARE:
                return
            known = len(this) == len(after) == 2
            padding = (left - sum(this) - after[0] - after[1] // 2) % PAGE // 2 if known else 0
            _require(self.said(life, self.order(padding)), self.commands.parent)
        raise UserError("no intent comes to stand at the end of a page", f"See {path}")

    def stage(self, command: Command, said: dict[str, Result]) -> str:
        """The stage of the command at which its actuator was killed, by the files that it left."""
        ledger = Ledger(self.site.layout.folder / "ledger")
        try:
            if ledger.find(command.id) is not None:
                return "after" if command.id in said else "after, unsaid"
            return "during" if any(i.command.id == command.id for i in ledger.orphans()) else "before"
        finally:
            ledger.close()

    def check(self, report: Report) -> None:
        """I6, by the site's journal: no command took effect twice, and each result agrees with its effect."""
        time.sleep(1.0)  # a service reads its configuration every 0.1 s
        effects = {effect.cause: effect for effect in self.site.effects()}
        missing = [f"k{number}" for number in range(self.count) if f"k{number}" not in self.results]
        report.check(not missing, f"nothing was said of {missing[:5]}")
        report.check(effects.keys() <= self.results.keys(), "something was done that nobody asked for")
        for name, result in self.results.items():
            found = effects.get(name)
            report.check(found is None or found.times == 1, f"{name} had its effect {found and found.times} times")
            started = found is not None and found.events != ("stop",)
            wrong = result.outcome != "unknown" and started != (result.outcome == "succeeded")
            report.check(not wrong, f"{name} is said to have {result.outcome} ({result.detail}): {found}")
            report.figures[result.outcome] = report.figures.get(result.outcome, 0) + 1
        report.figures["effects"] = len(effects)


@contextmanager
def open_testbed(folder: Path, report: Report) -> Iterator[ActuatorTestbed]:
    """A testbed for one drill. At the end the effects on the site are checked."""
    before = os.environ.get("OPSLOOP_HOME")
    os.environ["OPSLOOP_HOME"] = str(folder / "home")  # a site that this user runs is not touched
    field = ActuatorTestbed(folder, report.seed)
    try:
        yield field
        field.check(report)
    finally:
        field.site.stop()
        del os.environ["OPSLOOP_HOME"]
        if before is not None:
            os.environ["OPSLOOP_HOME"] = before


def kill(folder: Path, report: Report, trials: int) -> None:
    """kill -9 an actuator before, during and after the effect of a command, and start another."""
    with open_testbed(folder, report) as field:
        for _ in range(trials):
            began = time.monotonic()
            life = field.life()
            _require(life.ready() and field.caught_up(life), folder)
            report.recoveries.append(time.monotonic() - began)
            command = field.order()
            time.sleep(field.rng.uniform(0.0, field.rng.choice(SPANS[command.action])))
            life.kill()
            field.keep(life)
            stage = field.stage(command, life.results())
            report.figures[stage] = report.figures.get(stage, 0) + 1
            report.trials += 1
        life = field.life()
        _require(field.caught_up(life), folder)
        life.kill()
    met = [stage for stage in STAGES if stage in report.figures]
    report.check(trials < ENOUGH or len(met) == len(STAGES), f"no kill met every stage: only {met}")


def full(folder: Path, report: Report, trials: int) -> None:
    """Fill the ledger's disk at any byte of an intent or a result, restart the actuator, and make room."""
    with SmallDisk(folder / "disk", LEDGER_BYTES) as disk, open_testbed(folder, report) as field:
        (field.site.layout.folder / "ledger").symlink_to(disk.folder)
        for number in range(trials):
            life = field.life()
            _require(life.ready() and field.caught_up(life), folder)
            if number % 2:  # the disk is full after the effect and before its result
                field.approach(life)
            disk.fill(0)  # only the last page of the file has room, for some entries or a part of one
            for _ in range(MOST_ENTRIES):
                command = field.order()
                if not field.said(life, command):
                    break
            else:
                report.add_violation("the ledger's disk was never full")
            life.kill()
            stage = field.stage(command, life.results())
            report.figures[stage] = report.figures.get(stage, 0) + 1
            again = field.life()  # on the full disk: it may report results, and must not repeat an effect
            field.said(again, command)
            again.kill()
            disk.free()
            report.trials += 1
        life = field.life()
        _require(field.caught_up(life), folder)
        life.kill()
    report.check(trials < 2 or "during" in report.figures, "the disk was never full between an effect and its result")


def _require(held: bool, folder: Path) -> None:
    if not held:
        raise UserError("an actuator ended by itself", f"See {folder}/actuator.log")
