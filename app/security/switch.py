"""The kill switch of a host: a file. It works without a broker, survives restarts, and `touch` turns it on.

A worker with an actuator copies the topic's setting to the file. It never removes a file that a person made. A file
that cannot be read counts as on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Final, Literal

import msgspec
import structlog
from confluent_kafka import KafkaException

from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker, tail
from app.security.keys import Keys, write
from models.safety.signing import Refused
from models.safety.switch import KillSwitch
from topics.codec import DecodeError, decode
from topics.settings import SETTINGS, Setting
from topics.spec import Instant, Raw

log = structlog.get_logger()

NAME: Final = "killed"
RETRY_S: Final = 1.0


class Said(msgspec.Struct, frozen=True):
    """Content of the file: who turned the kill switch on, when and why."""

    by: str = "somebody"
    reason: str = ""
    ts: Instant = 0
    source: Literal["file", "topic"] = "file"


class Way(msgspec.Struct, frozen=True):
    """One attempt to move the kill switch, and whether it worked."""

    way: str  # a file, or the topic
    error: str = ""  # empty: it worked


_unwritten: Final[dict[Path, Said]] = {}  # by first file: stops that no file could hold


class LocalSwitch:
    """The kill switch files in some folders. All are obeyed; the first writable one is written."""

    def __init__(self, *folders: Path) -> None:
        self.files = [folder / NAME for folder in folders]

    def said(self) -> str:
        """Who turned the kill switch on and why; empty: it is off. A file that cannot be read counts as on."""
        for file in self.files:
            if _is_there(file):
                said = _read(file)
                return f"{_who_and_why(said)} ({file})"
        if held := _unwritten.get(self.files[0]):
            return _who_and_why(held)
        return ""

    def turn_on(self, said: Said) -> list[Way]:
        """Stop this host's actuators: write the first file that can be written. Returns the attempts.

        The topic does not overwrite a file that exists. When no file can be written, only this process stops.
        """
        tried: list[Way] = []
        for file in self.files:
            if said.source == "topic" and _is_there(file):
                return tried
            tried.append(Way(str(file), _failure(lambda file=file: _put(file, said))))  # type: ignore[misc]
            if not tried[-1].error:
                return tried
        _unwritten[self.files[0]] = said
        return tried

    def turn_off(self, source: Literal["file", "topic"]) -> list[Way]:
        """Remove files that have the same source; with source `file`, all of them. Returns the attempts."""
        held = _unwritten.get(self.files[0])
        if held is not None and (source == "file" or held.source == "topic"):
            del _unwritten[self.files[0]]
        theirs = (f for f in self.files if _is_there(f) and (source == "file" or _read(f).source == "topic"))
        return [Way(str(file), _failure(file.unlink)) for file in theirs]

    def follow(self, broker: Broker, keys: Keys, stop: Callable[[], bool]) -> None:
        """Copy the topic's setting to the file until `stop()` is true. An unreachable broker changes nothing.

        After a failure of the broker, reading begins again after a second. No record ends it.
        """
        waiting = Event()
        while not stop():
            switch = KillSwitch()
            try:
                for raw in tail(broker, [SETTINGS.name], from_end=False, stop=stop):
                    self._obey(raw, switch, keys)
            except (UserError, KafkaException) as error:
                log.warning("the kill switch's topic cannot be followed", cause=str(error))
            waiting.wait(0 if stop() else RETRY_S)

    def _obey(self, raw: Raw, switch: KillSwitch, keys: Keys) -> None:
        before = switch.killed
        try:
            setting = decode(raw).record
            if isinstance(setting, Setting):
                switch.take(setting, keys, raw.arrived or now_ms())
        except (DecodeError, Refused) as error:
            log.warning("a setting is not obeyed", origin=str(raw.origin), cause=str(error))
            return
        except Exception as error:  # go on: the next record may be a stop
            log.error("a setting broke the kill switch's reader", origin=str(raw.origin), cause=repr(error))
            return
        if isinstance(setting, Setting) and switch.killed and switch.killed != before:
            for way in self.turn_on(Said(setting.by, setting.reason, setting.ts, "topic")):
                if way.error:
                    log.error("the kill switch cannot be written down", file=way.way, cause=way.error)
        elif before and not switch.killed:
            self.turn_off("topic")


def of_this_host(*folders: Path) -> list[LocalSwitch]:
    """The switches of this host: in `folders`, the last of which is a home, and in homes within it, as a demo's."""
    within = sorted(file.parent for file in folders[-1].glob("*/principals.json"))
    return [LocalSwitch(*folders), *map(LocalSwitch, within)]


def failures(ways: list[Way]) -> Iterator[str]:
    """The failed attempts as one text; empty when all worked."""
    return (f"{way.way}: {way.error}" for way in ways if way.error)


def _put(file: Path, said: Said) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, msgspec.json.encode(said), 0o644)


def _failure(act: Callable[[], None]) -> str:
    """Call `act`. Returns the error as text; empty when there was none."""
    try:
        act()
    except FileNotFoundError:
        return ""  # another process removed it
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def _is_there(file: Path) -> bool:
    """Whether the file exists, or cannot be checked."""
    with contextlib.suppress(OSError):
        return file.exists()
    return True


def _who_and_why(said: Said) -> str:
    """Who stopped everything, and why if they said so. Never empty."""
    return ": ".join(part for part in (said.by, said.reason) if part) or "somebody"


def _read(file: Path) -> Said:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Said)
    except (msgspec.DecodeError, OSError):
        return Said()
