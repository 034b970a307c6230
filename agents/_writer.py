"""What a unit of the loop leaves on the broker: outputs first, then what changed in the state that made them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from agents._changelog import Renewal
from agents._unit import Unit
from topics.codec import DeadLetter, Message, encode
from topics.spec import Topic

REFRESH_S: Final = 60.0  # offsets are written at least so often while records come that change no state
AT_ONCE: Final = 16  # records of a whole state that are on their way together


class Revoked(Exception):
    """The partition was lost: what was begun is for its next owner to do."""


class Writer:
    """Writes for the units of one loop.

    app: the Faust app whose producer is used. require: raises when this process may write nothing more. chains:
    topics of audit chains. failed: is told what a whole state in the background raised.
    """

    def __init__(
        self, app: Any, require: Callable[[], None], chains: Collection[Topic], failed: Callable[[BaseException], None]
    ) -> None:
        self._app, self._require_awake, self._chains, self._failed = app, require, chains, failed
        self.renewals: set[asyncio.Task[None]] = set()

    async def keep(self, partition: int, unit: Unit, outputs: Sequence[Any]) -> None:
        """Send outputs, then what changed in the state; return when the broker has both. Raises Revoked, Suspended."""
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
        """Raises Revoked or Suspended when what would be written now is no longer ours to write."""
        self._require_awake()
        if unit.revoked:
            raise Revoked

    async def _renewed(self, partition: int, unit: Unit) -> None:
        """Write a whole state while the unit works on."""
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
            ours = message.topic in self._chains or message.topic.broadcast  # said of what lives on this partition
            pending.append(await self._produce(message, partition if ours else None))
        await asyncio.gather(*pending)

    async def _produce(self, message: Message, partition: int | None) -> Any:
        return await self._app.producer.send(
            message.topic.name, message.key, message.value, partition, None, message.headers
        )
