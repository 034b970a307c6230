"""Splits the state of a partition when its family grows: each new partition gets what belongs to its keys.

Kafka puts a key on partition hash(key) % N. When N becomes a multiple N', the keys of a new partition q all come from
the old partition q % N: states are split and never merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from agents._agent import Agent
from agents._changelog import ChangeLog, restored
from agents._partition import PartitionState, keep_only
from agents._snapshots import SnapshotStore, store_of, stores
from agents._state import Stateful
from agents._unit import Unit, restored_unit
from agents.attest import Attest
from app.errors import UserError
from app.kafka.broker import partition_of
from models.safety.chain import Notary
from topics.audit import AuditEntry
from topics.codec import Message, decode
from topics.spec import Raw
from topics.state import LANE_STATE, LOOP_STATE

Config = Mapping[str, Any]
Stages = Sequence[Callable[[], Agent[Any]]]
Logs = Mapping[int, Mapping[str, ChangeLog]]

LANE_PREFIX: Final = "lane/"  # of the names under which lanes keep their snapshots


def owner(partition: int, partitions: int) -> Callable[[str], bool]:
    """Whether a key belongs to `partition` of so many."""
    return lambda key: partition_of(key.encode(), partitions) == partition


class LoopStates:
    """The states of the loop's agents on all partitions, as they were left.

    stages: how to make each agent. config: of a consumer without a group.
    """

    def __init__(self, config: Config, stages: Stages, partitions: int, chain: str) -> None:
        self._made = {made.name: (make, made) for make in stages for made in (make(),)}
        logs, last = restored(config, LOOP_STATE, range(partitions), {chain})
        self.logs: Logs = logs
        self.newest: Mapping[int, Raw] = {number: raw for (topic, number), raw in last.items() if topic == chain}

    @property
    def verbs(self) -> Mapping[str, Agent[Any]]:
        """An agent of each verb, without state."""
        return {name: made for name, (_, made) in self._made.items()}

    def unit(self, verb: str, partition: int) -> Unit:
        """An agent of its own with what `partition` knows. Raises StateUnreadable."""
        make, made = self._made[verb]
        found = self.logs.get(partition, {}).get(verb) or ChangeLog(LOOP_STATE, verb, partition)
        return restored_unit(make, found, self.newest.get(partition) if made.chain is not None else None)

    def split(self, verb: str, old: int, new: int, partitions: int, applied: Mapping[str, int]) -> list[Message]:
        """What is to be written on partition `new`: what `old` knows of its keys. Empty: there is nothing to know.

        applied: by topic, the next offset of the new partition that is not in the state.
        """
        unit = self.unit(verb, old)
        if not isinstance(unit.agent, Stateful) or not (applied or verb in self.logs.get(old, {})):
            return []
        unit.agent.tracked.keep_only(owner(new, partitions))
        if isinstance(unit.agent, Attest):
            self._begin_chain(unit.agent.state, old, new)
        log = self.logs.get(new, {}).get(verb) or ChangeLog(LOOP_STATE, verb, new)
        return _whole(unit.agent, log, applied)

    def shrink(self, verb: str, old: int, partitions: int) -> list[Message]:
        """What is to be written on an old partition: what it knows of the keys that stay. Empty: nothing goes."""
        unit = self.unit(verb, old)
        if not isinstance(unit.agent, Stateful) or verb not in self.logs.get(old, {}):
            return []
        unit.agent.tracked.keep_only(owner(old, partitions))
        return _whole(unit.agent, unit.log, unit.applied) if unit.agent.tracked.take() else []

    def applied(self, verb: str, partition: int) -> Mapping[str, int]:
        """By topic, the next offset that is not in the state of a verb."""
        if self._made[verb][1].chain is not None:
            last = self.head(partition)
            return last.applied if last else {}
        found = self.logs.get(partition, {}).get(verb)
        return found.applied if found else {}

    def head(self, partition: int) -> AuditEntry | None:
        """The newest entry of the chain of a partition."""
        raw = self.newest.get(partition)
        entry = decode(raw).record if raw else None
        assert entry is None or isinstance(entry, AuditEntry)
        return entry

    def complete(self, old: int, new: int) -> bool:
        """Whether everything that has a state on the old partition has one on the new one."""
        return self.logs.get(old, {}).keys() <= self.logs.get(new, {}).keys()

    def _begin_chain(self, notary: Notary, old: int, new: int) -> None:
        """Let the notary of the new chain expect an entry that follows the newest of the old one."""
        parent = self.head(old)
        notary.chain, notary.seq, notary.fresh = new, -1, ()
        notary.head = parent.hash if parent else ""


def _whole(agent: Stateful[Any], log: ChangeLog, applied: Mapping[str, int]) -> list[Message]:
    """The messages of the whole state, as the next one of its log."""
    log = replace(log, states=())
    return log.whole(log.renew(applied), list(agent.blocks()))


def lane_name(stages: Stages) -> str:
    """Under which a lane of these stages keeps its snapshots."""
    return LANE_PREFIX + "+".join(make().name for make in stages)


class LaneStates:
    """The snapshots of lanes on all partitions, as they were left. config: of a consumer without a group."""

    def __init__(self, config: Config, partitions: Iterable[int]) -> None:
        self.found = {number: stores(config, LANE_STATE, number) for number in partitions}

    def names(self, partition: int) -> list[str]:
        """The lanes that have a snapshot on a partition."""
        return sorted(self.found.get(partition, {}))

    def applied(self, name: str, partition: int) -> Mapping[str, int]:
        """By topic, the next offset that is not in a snapshot."""
        store = self.found.get(partition, {}).get(name)
        return (store.applied or {}) if store else {}

    def copy(self, name: str, old: int, new: int, applied: Mapping[str, int]) -> list[Message]:
        """The snapshot of an old partition as that of a new one: of a lane whose state belongs to no key."""
        return self._next(name, new).pack(applied, self.found[old][name].state)

    def split(self, stages: Stages, place: tuple[int, int], partitions: int) -> list[Message]:
        """What partition `place[1]` is to have of the entities that partition `place[0]` knows.

        When both are the same the others are removed from it.

        Raises:
            UserError: this version cannot read the snapshot.
        """
        old, new = place
        name = lane_name(stages)
        store = self.found[old][name]
        try:
            part = PartitionState(stages, store.state, store)
        except ValueError as error:
            raise UserError(f"the snapshot of {name} on partition {old} cannot be read: {error}", exit_code=1) from None
        keep_only(part.stages, owner(new, partitions))
        applied = part.applied if old == new else dict.fromkeys(part.applied, 0)
        return self._next(name, new).pack(applied, *part.pieces())

    def _next(self, name: str, partition: int) -> SnapshotStore:
        """Where the next snapshot goes: after all that were found."""
        return store_of(self.found.get(partition, {}), LANE_STATE, name, partition)
