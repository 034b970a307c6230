"""An actuator that only counts, behind the real guard, ledger and lane: what illegal commands would do is seen."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agents._lane import Lane
from agents.act import Act, Done
from app.actuators.ledger import Ledger
from app.clock import now_ms
from app.kafka.broker import Broker
from app.runtime.drivers import make_lane
from app.security.keys import Keys, keys_of
from app.security.switch import LocalSwitch
from app.settings import Settings
from app.system import Worker
from models.safety.guard import Guard
from models.safety.settings import SafetySettings
from topics.actions import Command


class Effect(msgspec.Struct, frozen=True):
    """Something that was done, at the target."""

    command: str
    target: str
    ts: int


class Hands:
    """Each command takes `takes_s` seconds, and is written down where the target is."""

    name = "supervisor"

    def __init__(self, file: Path, takes_s: float = 0.0) -> None:
        self.file, self.takes_s = file, takes_s
        file.touch()

    def can(self, action: str, target: str) -> str | None:
        return None

    def run(self, command: Command) -> Done:
        with self.file.open("ab") as file:
            file.write(msgspec.json.encode(Effect(command.id, command.target, now_ms())) + b"\n")
        time.sleep(self.takes_s)
        return Done("succeeded", "counted", now_ms())

    def probe(self, command: Command) -> Done:
        done = any(effect.command == command.id for effect in self.effects())
        return Done("succeeded" if done else "failed", "looked it up", now_ms())

    def effects(self) -> list[Effect]:
        """What was done, in its order."""
        return [msgspec.json.decode(line, type=Effect) for line in self.file.read_bytes().splitlines()]


@contextlib.contextmanager
def actuator(broker: Broker, home: Path, hands: Hands, safety: SafetySettings) -> Iterator[LocalSwitch]:
    """The real lane of an actuator in a thread, with its local kill switch followed as in a worker."""
    keys, switch = keys_of(home), LocalSwitch(hands.file.parent, home)
    guard = Guard(keys, safety, "supervisor/shop")
    worker = Worker(broker, Settings(safety=safety), hands.file.parent, home)
    ledger = Ledger(hands.file.parent / "ledger")
    lane = make_lane(worker, [lambda: Act(hands, ledger, guard, switch.said)], "opsloop-act")
    over, ready = threading.Event(), threading.Event()
    follow = threading.Thread(target=switch.follow, args=(broker, Keys(home), over.is_set), daemon=True)
    run = threading.Thread(target=_run, args=(lane, ready), daemon=True)
    follow.start()
    run.start()
    assert ready.wait(30)
    try:
        yield switch
    finally:
        over.set()
        lane.stop()
        run.join(40)
        follow.join(10)
        ledger.close()


def _run(lane: Lane, ready: threading.Event) -> None:
    lane.run(ready.set)
