"""One verb on one partition of the loop: its agent, the offsets in the agent's state, and its change log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from agents._agent import Agent
from agents._changelog import ChangeLog, StateUnreadable
from topics.codec import Cause, DeadLetter, decode, encode
from topics.spec import Instant, Raw, Read, Record

log = structlog.get_logger()

PAUSE_MS = 100  # pause after a step without records that did not move its deadline
BROKEN_MS = 60_000  # pause after a step without records that raises whatever item is set aside


@dataclass(slots=True)
class Unit:
    """The agent of one verb and partition. `lock` is held while a batch or a deadline is processed."""

    agent: Agent[Any]
    log: ChangeLog
    applied: dict[str, int]  # by topic the next offset that the agent's state does not include
    written: float = 0.0  # when the offsets were last written (seconds, monotonic)
    durable: bool = True  # the broker has its state and all its outputs
    revoked: bool = False  # the partition belongs to another worker: send nothing more
    not_before: Instant = 0  # earliest time of the next step without records
    deadline: Instant | None = None  # its deadline as last scheduled
    renewing: bool = False  # a full snapshot is being written
    _broken: str = ""  # the error of the last deadline with which the agent raised
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def kept(self) -> Unit:
        """Copy the unit for the next generation of the group. This one must send nothing more."""
        return Unit(self.agent, self.log, self.applied, self.written, not_before=self.not_before)

    def step(self, reads: Sequence[Read[Record]], now: Instant) -> list[Any]:
        """Step the agent with records. Returns its outputs.

        A record with which the agent raises becomes a dead letter, and its changes to the state are reverted.

        Raises:
            Exception: an agent with a `chain` raised; its records must not be skipped.
        """
        self.agent.mark()
        try:
            return list(self.agent.step(reads, now))
        except Exception as error:
            if self.agent.chain is not None:
                raise
            self.agent.undo()
            if len(reads) == 1:
                origin = reads[0].origin
                log.error("record refused by its agent", agent=self.agent.name, origin=str(origin), exc_info=error)
                value = encode(reads[0].record).value
                raw = Raw(origin.topic, origin.partition, origin.offset, None, value)
                return [DeadLetter(raw, Cause.HANDLER, repr(error))]
        return [output for read in reads for output in self.step([read], now)]

    def wake(self, now: Instant) -> list[Any]:
        """Step the agent for deadlines that have passed. Returns its outputs.

        An item with which the agent raises is set aside as a dead letter.

        Raises:
            Exception: an agent with a `chain` raised.
        """
        outputs = self._attempt(now)
        if outputs is None:
            items = self.agent.overdue(now)
            self.agent.hold(items)
            outputs = self._attempt(now)
            if outputs is None:  # the agent raises without any of these items, too
                self.not_before, outputs = now + BROKEN_MS, []
            else:
                outputs += self._among(items, now)
            self.agent.hold(())
        after = self.agent.next_deadline()
        if after is not None and after <= now:
            self.not_before = max(self.not_before, now + PAUSE_MS)
        return outputs

    def _among(self, items: Sequence[Hashable], now: Instant) -> list[Any]:
        """Process `items` alone; what else is due waits. Those with which the agent raises are set aside."""
        self.agent.hold(())
        overdue = self.agent.overdue(now)
        ours = set(items).intersection(overdue)  # another item may have ended some
        if not ours:
            return []
        self.agent.hold([item for item in overdue if item not in ours])
        outputs = self._attempt(now)
        if outputs is not None:
            return outputs
        if len(items) == 1:
            return [replace(self.agent.set_aside(items[0]), detail=self._broken)]
        middle = len(items) // 2
        return self._among(items[:middle], now) + self._among(items[middle:], now)

    def _attempt(self, now: Instant) -> list[Any] | None:
        """Step without records. Returns None, with the state reverted, when the agent raised."""
        self.agent.mark()
        try:
            return list(self.agent.step((), now))
        except Exception as error:
            if self.agent.chain is not None:
                raise
            self.agent.undo()
            self._broken = repr(error)
            log.error("a deadline broke its agent", agent=self.agent.name, exc_info=error)
            return None

    def next_deadline(self) -> Instant | None:
        """Return when the agent must be stepped without records, not before `not_before`; None: no deadline."""
        at = self.agent.next_deadline()
        return None if at is None else max(at, self.not_before)


def restored_unit(make: Callable[[], Agent[Any]], found: ChangeLog, last: Raw | None) -> Unit:
    """Restore a unit.

    found: its change log as read. last: the newest record of the chain that it writes; None: it writes none.

    Raises:
        StateUnreadable: this version cannot read the state.
    """
    agent, applied = make(), dict(found.applied)
    try:
        for state in found.states:
            if state:
                agent.apply(state)
    except ValueError as error:
        raise StateUnreadable(agent.name, found.partition, str(error)) from None
    if agent.chain is not None and last is not None:
        applied = agent.resume(decode(last).record)
    return Unit(agent, replace(found, states=()), applied)
