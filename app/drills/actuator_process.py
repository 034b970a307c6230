"""An actuator as a process of its own: carries out the commands in a file and prints results line by line.

`python -m app.drills.actuator_process SITE HOME COMMANDS` reads the whole file at each start, as a topic is read again
after a crash.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from agents.act import Act
from app import shipped
from app.actuators.ledger import Ledger
from app.clock import now_ms
from app.demo.actuator import SiteActuator
from app.runtime.parent import follow
from app.security.keys import Keys
from models.actions import catalogue
from models.safety.guard import Guard
from models.safety.limits import SafetySettings
from models.safety.modes import Mode
from topics.actions import SignedCommand
from topics.spec import Origin, Read

FREE = SafetySettings(mode=Mode.AUTONOMOUS, cooldown_ms=0, per_target=10_000, per_scope=10_000, per_site=10_000)
PERIOD_S = 0.01


def main(site: Path, home: Path, commands: Path) -> None:
    """Carry out commands until killed. Raises OSError when the ledger cannot be written; then nothing is done."""
    catalogue.ship(shipped.actions())  # workers have them with their settings, and this reads none
    act = Act(SiteActuator(site), Ledger(site / "ledger"), Guard(Keys(home), FREE, "supervisor/shop"), str)
    os.write(1, b"ready\n")
    done = 0
    while True:
        whole, _, _ = commands.read_bytes().rpartition(b"\n")  # the last line may be incomplete
        lines = whole.splitlines()
        records = [Read(msgspec.json.decode(line, type=SignedCommand), Origin("c", 0, 0)) for line in lines[done:]]
        done = len(lines)
        for result in act.step(records, now_ms()):
            os.write(1, msgspec.json.encode(result) + b"\n")
        time.sleep(PERIOD_S)


if __name__ == "__main__":
    follow()
    main(*map(Path, sys.argv[1:]))
