"""One verb on one partition of the loop: the agent, the offsets that are in its state, and where that is written."""

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

PAUSE_MS = 100  # between two steps without records that left a deadline where it was
BROKEN_MS = 60_000  # until an agent is asked again that no single item breaks


@dataclass(slots=True)
class Unit:
    """An agent of one partition. `lock`: held while a batch or a deadline is dealt with."""

    agent: Agent[Any]
    log: ChangeLog
    applied: dict[str, int]  # by topic the next offset that is not in the agent's state
    written: float = 0.0  # when the offsets were last written (s)
    durable: bool = True  # what it knows and what it has said are on the broker
    revoked: bool = False  # the partition is another worker's: nothing more is said of it
    not_before: Instant = 0  # no step without records before
    deadline: Instant | None = None  # when it is asked next, as it was scheduled
    renewing: bool = False  # a whole state is on its way
    _broken: str = ""  # what the last deadline raised that broke the agent
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def kept(self) -> Unit:
        """The same for the next generation of the group; this one says nothing more."""
        return Unit(self.agent, self.log, self.applied, self.written, not_before=self.not_before)

    def step(self, reads: Sequence[Read[Record]], now: Instant) -> list[Any]:
        """What records lead to. One that breaks the agent is a dead letter, and the state never saw it.

        Raises:
            Exception: what the agent of a chain raised, which has no record to leave out.
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
        """What deadlines that have come lead to. An item that breaks the agent is set aside as a dead letter.

        Raises:
            Exception: what the agent of a chain raised.
        """
        outputs = self._attempt(now)
        if outputs is None:
            items = self.agent.overdue(now)
            self.agent.hold(items)
            outputs = self._attempt(now)
            if outputs is None:  # whatever breaks it, it is none of these
                self.not_before, outputs = now + BROKEN_MS, []
            else:
                outputs += self._among(items, now)
            self.agent.hold(())
        after = self.agent.next_deadline()
        if after is not None and after <= now:
            self.not_before = max(self.not_before, now + PAUSE_MS)
        return outputs

    def _among(self, items: Sequence[Hashable], now: Instant) -> list[Any]:
        """Deal with `items`; of those that break the step each is set aside. What else is due by now waits."""
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
        """A step without records; None: it broke, and the state never saw it."""
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
        """When it wants to be asked without records."""
        at = self.agent.next_deadline()
        return None if at is None else max(at, self.not_before)


def restored_unit(make: Callable[[], Agent[Any]], found: ChangeLog, last: Raw | None) -> Unit:
    """A unit as it was left. found: its log as read; last: the newest record of the chain that it writes.

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
