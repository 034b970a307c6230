"""Writes the outputs of a unit to the broker, then the changes of its state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from agents._changelog import Renewal
from agents._unit import Unit
from topics.codec import DeadLetter, Message, encode
from topics.spec import Topic

REFRESH_S: Final = 60.0  # maximum time between two writes of offsets while records arrive that change no state
AT_ONCE: Final = 16  # records of a full snapshot in flight at once


class Revoked(Exception):
    """The partition was revoked: its next owner repeats the work in progress."""


class Writer:
    """Writes outputs and state of the units of one loop.

    app: the Faust app whose producer is used. require: raises when this process may no longer write. chains: topics of
    audit chains. failed: called with the error of a full snapshot that failed in the background.
    """

    def __init__(
        self, app: Any, require: Callable[[], None], chains: Collection[Topic], failed: Callable[[BaseException], None]
    ) -> None:
        self._app, self._require_awake, self._chains, self._failed = app, require, chains, failed
        self.renewals: set[asyncio.Task[None]] = set()

    async def keep(self, partition: int, unit: Unit, outputs: Sequence[Any]) -> None:
        """Send outputs, then the state's delta. Returns when the broker has both. Raises Revoked, Suspended."""
        if outputs:
            self.require(unit)
            await self._send(outputs, partition)
        changes, clock = unit.agent.changes(), asyncio.get_running_loop().time()
        moved = unit.agent.chain is None and unit.applied != unit.log.applied and clock - unit.written > REFRESH_S
        if changes or moved:
            self.require(unit)
            if unit.log.must_renew or (unit.log.overdue and not unit.renewing):
                await self._renew(partition, unit, unit.log.renew(unit.applied), unit.agent.blocks())
            else:
                sent = [await self._produce(part, partition) for part in unit.log.changed(unit.applied, changes)]
                await asyncio.gather(*sent)
            unit.written = clock
        unit.durable = True
        if unit.log.due and unit.log.can_renew and not unit.renewing:
            unit.renewing = True
            renewal = asyncio.create_task(self._renewed(partition, unit))
            self.renewals.add(renewal)
            renewal.add_done_callback(self.renewals.discard)

    def require(self, unit: Unit) -> None:
        """Raise Revoked or Suspended when the unit may no longer write."""
        self._require_awake()
        if unit.revoked:
            raise Revoked

    async def _renewed(self, partition: int, unit: Unit) -> None:
        """Write a full snapshot in the background."""
        try:
            async with unit.lock:
                self.require(unit)
                if not unit.durable:
                    return
                renewal, blocks = unit.log.renew(), unit.agent.blocks()
            await self._renew(partition, unit, renewal, blocks)
        except Revoked:
            pass
        except Exception as error:
            self._failed(error)
        finally:
            unit.renewing = False

    async def _renew(self, partition: int, unit: Unit, renewal: Renewal, blocks: Iterable[bytes]) -> None:
        made = []
        for block in blocks:
            made.append(block)
            await asyncio.sleep(0)
        messages = await asyncio.to_thread(unit.log.whole, renewal, made)
        for first in range(0, len(messages), AT_ONCE):
            self.require(unit)
            sent = [await self._produce(message, partition) for message in messages[first : first + AT_ONCE]]
            await asyncio.gather(*sent)
        unit.log.based = max(unit.log.based, renewal.generation)

    async def _send(self, outputs: Sequence[Any], partition: int) -> None:
        pending = []
        for output in outputs:
            if isinstance(output, DeadLetter):
                raw = output.raw
                sent = self._app.producer.send(output.topic, raw.key, raw.value, None, None, output.headers)
                pending.append(await sent)
                continue
            message = encode(output)
            ours = message.topic in self._chains or message.topic.broadcast  # goes to the partition of the unit
            pending.append(await self._produce(message, partition if ours else None))
        await asyncio.gather(*pending)

    async def _produce(self, message: Message, partition: int | None) -> Any:
        return await self._app.producer.send(
            message.topic.name, message.key, message.value, partition, None, message.headers
        )
