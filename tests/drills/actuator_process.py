"""An actuator as a process of its own: does what it finds in a file of commands, tells results line by line.

`actuator_process.py SITE COMMANDS`: it reads the whole file at each start, as a topic is read again after a crash.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from agents.act import Act
from app.adapters.ledger import Ledger
from app.adapters.supervisor import SupervisorActuator
from app.clock import now_ms
from models.safety.guard import Guard
from models.safety.limits import SafetySettings
from models.safety.modes import Mode
from tests.keys import RING
from topics.actions import Order
from topics.spec import Origin, Read


def main(site: Path, commands: Path) -> None:
    settings = SafetySettings(mode=Mode.AUTONOMOUS, cooldown_ms=0, per_target=1_000, per_system=1_000, per_site=1_000)
    act = Act(SupervisorActuator(site), Ledger(site / "ledger"), Guard(RING, settings, "supervisor/shop"), str)
    print("ready", flush=True)
    done = 0
    while True:
        lines = commands.read_bytes().splitlines()
        records = [Read(msgspec.json.decode(line, type=Order), Origin("c", 0, 0)) for line in lines[done:]]
        done = len(lines)
        for result in act.step(records, now_ms()):
            print(msgspec.json.encode(result).decode(), flush=True)
        time.sleep(0.01)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
