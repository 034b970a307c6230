"""The kill switch at an actuator: a file. It works without a broker, survives restarts, and a `touch` turns it on.

What the topic says is written to the file too, by whoever runs an actuator; the topic's word never removes a file that
was put there by hand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from app.clock import now_ms
from app.kafka.broker import Broker, tail
from app.security.keys import Keys, write
from models.safety.signing import Refused
from models.safety.switch import KillSwitch
from topics.codec import DecodeError, decode
from topics.settings import SETTINGS, Setting
from topics.spec import Instant

log = structlog.get_logger()

NAME = "killed"


class Said(msgspec.Struct, frozen=True):
    """Who turned it on, when and why."""

    by: str = "somebody"
    reason: str = ""
    ts: Instant = 0
    source: Literal["file", "topic"] = "file"


class LocalSwitch:
    """The kill switch in the first of some folders; those in the others are obeyed as well."""

    def __init__(self, *folders: Path) -> None:
        self.files = [folder / NAME for folder in folders]

    def said(self) -> str:
        """Who turned it on and why; empty: nobody did. What cannot be read is on."""
        for file in self.files:
            if file.exists():
                said = _read(file)
                return f"{said.by}: {said.reason} ({file})"
        return ""

    def turn_on(self, said: Said) -> None:
        """Nothing acts any more, from now on. What a hand has put there stays."""
        file = self.files[0]
        if said.source == "file" or not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, msgspec.json.encode(said), 0o644)

    def turn_off(self, source: Literal["file", "topic"]) -> None:
        """Take away what was put there by the same means; by hand, everything."""
        for file in self.files:
            with contextlib.suppress(FileNotFoundError):
                if source == "file" or _read(file).source == "topic":
                    file.unlink()

    def follow(self, broker: Broker, keys: Keys, stop: Callable[[], bool]) -> None:
        """Write down what the topic says, until `stop`; a broker that is away changes nothing."""
        switch = KillSwitch()
        for raw in tail(broker, [SETTINGS.name], from_end=False, stop=stop):
            try:
                setting = decode(raw).record
                assert isinstance(setting, Setting)
                before = switch.killed
                switch.take(setting, keys, raw.arrived or now_ms())
            except (DecodeError, Refused) as error:
                log.warning("a setting is not obeyed", origin=str(raw.origin), cause=str(error))
                continue
            if switch.killed and switch.killed != before:
                self.turn_on(Said(setting.by, setting.reason, setting.ts, "topic"))
            elif before and not switch.killed:
                self.turn_off("topic")


def _read(file: Path) -> Said:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Said)
    except (msgspec.DecodeError, OSError):
        return Said()
