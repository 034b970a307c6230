"""The site's folder: the files that its processes, the faults and the actuator share.

config/SERVICE/N.json     revisions of a configuration, never changed
config/SERVICE/current    the pointer to the revision in force; roll-out and rollback move it
targets.json              the intended replicas, with the address of their metrics
cause/PROGRAM             who causes the next start or stop of a process; the process removes it
journal.jsonl             what the processes did, each line with its cause
events.jsonl              topics.telemetry.Event for the collector
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from app.clock import now_ms
from app.demo import files, plan
from topics.spec import Instant
from topics.telemetry import Event

BOOT = "boot"
UNKNOWN = "unknown"
MOVES_KEPT = 50


class Pointer(msgspec.Struct, frozen=True):
    """The revision in force, and the number and causes of moves of the pointer."""

    revision: int = 0
    moves: int = 0
    causes: tuple[str, ...] = ()  # causes of the last moves, the newest last

    def moved(self, revision: int, cause: str) -> Pointer:
        """A pointer to another revision, with the cause of the move."""
        return Pointer(revision, self.moves + 1, (*self.causes, cause)[-MOVES_KEPT:])

    def since(self, moves: int) -> tuple[str, ...]:
        """The causes of all moves after the first `moves`."""
        return self.causes[max(0, len(self.causes) - (self.moves - moves)) :]


class Target(msgspec.Struct, frozen=True):
    """One replica and the address of its metrics."""

    entity: str
    url: str

    @property
    def service(self) -> str:
        """The service of the replica."""
        return self.entity.split("/")[1]

    @property
    def instance(self) -> int:
        """The number of the replica."""
        return int(self.entity.split("/")[2])

    @property
    def port(self) -> int:
        """The port of the replica."""
        return urlsplit(self.url).port or 0

    @property
    def program(self) -> str:
        """The supervisor's name of the replica."""
        return plan.program(self.service, self.instance)


class Line(msgspec.Struct, frozen=True):
    """One line of the journal."""

    ts: Instant
    event: Literal["start", "stop", "config", "fault"]
    service: str
    instance: int
    pid: int
    revision: int
    cause: str


class Tally(msgspec.Struct, frozen=True):
    """Numbers of the visitors' requests so far."""

    sent: int = 0
    ok: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one site."""

    folder: Path

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder / "journal.jsonl"

    @property
    def events(self) -> Path:
        """The file of events."""
        return self.folder / "events.jsonl"

    @property
    def targets_file(self) -> Path:
        """The file of the intended replicas."""
        return self.folder / "targets.json"

    @property
    def tally(self) -> Path:
        """The file with the visitors' numbers."""
        return self.folder / "tally.json"

    @property
    def socket(self) -> Path:
        """The supervisor's socket."""
        return self.folder / "supervisor.sock"

    @property
    def programs(self) -> Path:
        """The folder of the supervisor's configuration."""
        return self.folder / "programs"

    def pointer_file(self, service: str) -> Path:
        """The file of a service's pointer."""
        return self.folder / "config" / service / "current"

    def changing(self) -> AbstractContextManager[None]:
        """Hold the lock for a change of pointers or targets."""
        return files.locked(self.folder / "lock")

    # configuration

    def pointer(self, service: str) -> Pointer:
        """The pointer of a service; its revision is 0 before the first roll-out."""
        try:
            return files.read(self.pointer_file(service), Pointer)
        except FileNotFoundError:
            return Pointer()

    def config(self, service: str, revision: int) -> plan.Config:
        """One revision of a service's configuration."""
        return files.read(self._revision_file(service, revision), plan.Config)

    def traffic(self, revision: int) -> plan.Traffic:
        """One revision of the visitors' behaviour."""
        return files.read(self._revision_file(plan.LOAD, revision), plan.Traffic)

    def parent(self, service: str) -> int:
        """The revision that a rollback returns to; 0 when there is none."""
        revision = self.pointer(service).revision
        return self.traffic(revision).parent if service == plan.LOAD else self.config(service, revision).parent

    def roll_out(self, service: str, content: plan.Config | plan.Traffic, cause: str, why: str) -> int:
        """Write the next revision and put it in force. Returns its number."""
        with self.changing():
            revision = 1 + max(self.revisions(service), default=0)
            content = msgspec.structs.replace(content, parent=self.pointer(service).revision)
            files.replace(self._revision_file(service, revision), content)
            self._point(service, revision, cause, why)
        return revision

    def point(self, service: str, revision: int, cause: str, why: str) -> None:
        """Put another revision in force."""
        with self.changing():
            self._point(service, revision, cause, why)

    def revisions(self, service: str) -> list[int]:
        """The numbers of a service's revisions, sorted."""
        return sorted(int(path.stem) for path in self.pointer_file(service).parent.glob("*.json"))

    def _point(self, service: str, revision: int, cause: str, why: str) -> None:
        before = self.pointer(service)
        files.replace(self.pointer_file(service), before.moved(revision, cause))
        if service != plan.LOAD and before.revision:
            self.say(
                plan.name(service), "config_change", why, revision=str(revision), previous=str(before.revision)
            )  # fmt: skip

    def _revision_file(self, service: str, revision: int) -> Path:
        return self.folder / "config" / service / f"{revision}.json"

    # replicas

    def targets(self) -> list[Target]:
        """The intended replicas."""
        return files.read(self.targets_file, list[Target])

    def replicas(self, service: str) -> list[Target]:
        """The replicas of a service, sorted by their numbers."""
        return [target for target in self.targets() if target.service == service]

    def list_targets(self, targets: Iterable[Target]) -> None:
        """Replace the list of intended replicas."""
        files.replace(self.targets_file, sorted(targets, key=lambda target: (target.service, target.instance)))

    # causes, journal, events

    def hand_cause(self, program: str, cause: str) -> None:
        """Record who causes the next start or stop of a process."""
        files.replace(self._cause_file(program), cause.encode())

    def cause(self, program: str) -> str:
        """Who causes the present start or stop of the process."""
        try:
            return self._cause_file(program).read_text()
        except FileNotFoundError:
            return UNKNOWN

    def take_cause(self, program: str) -> str:
        """Return the cause and remove it, so that it is used once."""
        cause = self.cause(program)
        with suppress(FileNotFoundError):
            self._cause_file(program).unlink()
        return cause

    def handed(self, program: str, cause: str) -> float | None:
        """When the cause was recorded (s since 1970); None when the process took it or another one replaced it."""
        with suppress(FileNotFoundError):
            if self.cause(program) == cause:
                return self._cause_file(program).stat().st_mtime
        return None

    def _cause_file(self, program: str) -> Path:
        return self.folder / "cause" / program

    def write(self, line: Line) -> None:
        """Append a line to the journal."""
        files.append(self.journal, line)

    def read_journal(self) -> list[Line]:
        """The lines of the journal, in order."""
        return files.lines(self.journal, Line)

    def say(
        self, entity: str, kind: Literal["deploy", "config_change", "topology", "state_change"], text: str, *,
        revision: str = "", previous: str = "", calls: tuple[tuple[str, str], ...] = (),
    ) -> None:  # fmt: skip
        """Write an event for the collector."""
        files.append(self.events, Event(
            entity=entity, ts=now_ms(), kind=kind, text=text, revision=revision, previous=previous, calls=calls,
        ))  # fmt: skip
