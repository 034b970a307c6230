"""What is said of entities, and whether their samples come, becomes what is known of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._taught import Taught
from models.knowledge.packs import Packs
from models.safety.signing import Keyring, Refused
from models.topology.inventory import Inventory
from models.topology.lifetimes import DEFAULTS, EntitySettings
from topics.entities import ENTITIES
from topics.learning import ENDED
from topics.packs import PACKS, PackVersion
from topics.spec import Instant, Read, Record
from topics.telemetry import EVENTS, Event


class Describe(Taught[Inventory]):
    """Yields an `Entity` when something of one has changed, and `Ended` for the lane when it is gone.

    Refused versions of packs are told by `respond`.
    """

    name = "describe"
    reads = (EVENTS, PACKS)
    writes = (ENTITIES, EVENTS, ENDED)
    shape = Inventory

    def __init__(self, packs: Packs, keyring: Keyring, settings: EntitySettings = DEFAULTS) -> None:
        super().__init__(packs, keyring)
        self.settings = settings

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Record]:
        for read in records:
            match read.record:
                case Event() as event:
                    yield from self.state.see(event, now, self.settings)
                case PackVersion() as word:
                    try:
                        self.learn_pack(word, read.arrived or now)
                    except Refused:
                        continue
        if not records:
            yield from self.state.expire(now, self.settings)
