"""Commands become effects, at most once each, and results say what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agents._state import Stateful
from models.actions.catalogue import ACTIONS
from models.safety.guard import Guard, Past
from models.safety.signing import Refused
from models.safety.switch import KillSwitch
from topics.actions import COMMANDS, RESULTS, Command, Outcome, Result, SignedCommand
from topics.refusals import REFUSALS, Refusal, refusal
from topics.settings import SETTINGS, Setting
from topics.spec import Instant, Read, Record, derive


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command, and when that was known."""

    outcome: Outcome
    detail: str
    ended: Instant
    actuator: str = ""  # which of several did it; empty: the only one


@dataclass(frozen=True, slots=True)
class Intent:
    """A command that was begun."""

    command: Command
    ts: Instant


class Begin(StrEnum):
    """What the ledger said to a command that wants to begin."""

    BEGUN = "begun"  # the intent is on disk: run it, then finish
    KNOWN = "known"  # it was begun before, here or by another actuator: never run it
    BUSY = "busy"  # another actuator is in the middle of a command and does not come to an end


class Actuator(Protocol):
    """Something that can carry commands out. It blocks, and it never raises: what it does not know is `unknown`."""

    name: str

    def can(self, action: str, target: str) -> str | None:
        """Why the action is not possible on the target now; None: it is."""

    def run(self, command: Command) -> Done:
        """Carry the command out."""

    def probe(self, command: Command) -> Done:
        """Look at the world whether a command that was begun has had its effect."""


class Ledger(Protocol):
    """What was begun and how it ended, on disk, shared by all actuators of one site."""

    def find(self, command: str) -> Result | None:
        """How a command ended; None: it is not known, or has not ended."""

    def begin(self, command: Command, now: Instant) -> Begin:
        """Write down that the command begins. No other one begins before it has finished."""

    def finish(self, result: Result) -> None:
        """Write down how a command ended, or that it was refused."""

    def past(self) -> Sequence[Intent]:
        """What was begun within the time that is remembered, ended or not."""

    def orphans(self) -> Sequence[Intent]:
        """Commands that were begun by an actuator which is gone. The caller finishes each."""


class Act(Stateful[KillSwitch]):
    """The last to look at a command before it has its effect.

    stopped: who has turned the local kill switch on; empty when nobody has. Asked before each command.
    """

    name = "act"
    reads = (COMMANDS, SETTINGS)
    writes = (RESULTS, REFUSALS)
    shape = KillSwitch

    def __init__(self, actuator: Actuator, ledger: Ledger, guard: Guard, stopped: Callable[[], str]) -> None:
        super().__init__()
        self.actuator, self.ledger, self.guard, self.stopped = actuator, ledger, guard, stopped

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Result | Refusal]:
        for intent in self.ledger.orphans():
            yield self._finish(intent.command, self.actuator.probe(intent.command), intent.ts)
        for read in records:
            try:
                match read.record:
                    case Setting() as setting:
                        self.state.take(setting, self.guard.keyring, read.arrived or now)
                    case SignedCommand() as order:
                        for result in self._obey(self.guard.open(order), now):
                            now = max(now, result.ts)  # a command takes time, and the next may expire meanwhile
                            yield result
            except Refused as refused:
                yield refusal(read.record, str(read.origin), refused.code, refused.detail, now)

    def _obey(self, command: Command, now: Instant) -> Iterator[Result]:
        known = self.ledger.find(command.id)
        if known is not None:
            yield known
        elif objection := self._objection(command, now):
            yield self._finish(command, Done("refused", objection, now))
        else:
            begin = self.ledger.begin(command, now)
            if begin is Begin.BEGUN:  # looked at again, because another actuator may have been at work until now
                late = self._unsafe(command, now)
                yield self._finish(command, Done("refused", late, now) if late else self._run(command, now), now)
            elif begin is Begin.BUSY:
                yield self._result(command, Done("refused", "lease_held: another actuator is at work", now))

    def _run(self, command: Command, now: Instant) -> Done:
        if self.guard.settings.dry_run:
            return Done("canceled", "a dry run: everything but the effect", now)
        return self.actuator.run(command)

    def _objection(self, command: Command, now: Instant) -> str | None:
        if unsafe := self._unsafe(command, now):
            return unsafe
        action = ACTIONS.get(command.action)
        if action is None:
            return f"there is no action {command.action!r}"
        return action.objection(command.parameters) or self.actuator.can(command.action, command.target)

    def _unsafe(self, command: Command, now: Instant) -> str | None:
        if killed := self.state.killed or self.stopped():
            return f"killed: the kill switch is on ({killed})"
        try:
            self.guard.check(command, [_past(intent.command) for intent in self.ledger.past()], now)
        except Refused as refused:
            return str(refused)
        return None

    def _finish(self, command: Command, done: Done, started: Instant = 0) -> Result:
        result = self._result(command, done, started)
        self.ledger.finish(result)
        return result

    def _result(self, command: Command, done: Done, started: Instant = 0) -> Result:
        return Result(
            id=derive("result", command.id), command=command.id, decision=command.decision, incident=command.incident,
            action=command.action, target=command.target, ts=done.ended, outcome=done.outcome, detail=done.detail,
            started=started, actuator=done.actuator or self.actuator.name,
        )  # fmt: skip


def _past(command: Command) -> Past:
    return Past(id=command.id, target=command.target, ts=command.ts, epoch=command.epoch)
