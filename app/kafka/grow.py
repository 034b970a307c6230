"""Gives a family of topics more partitions: keys move, and their states, epochs and audit chains move with them.

No worker runs meanwhile. The number of partitions of each topic tells how far it has come, so the command is repeated
after a crash and goes on: (1) topics of state, audit and broadcasts get their partitions, (2) each new one is given its
state, (3) the other topics get theirs but one, (4) what has moved is removed from the old states, (5) the last topic.
Until (3) the old states are whole, and (2) can be done again; from (3) on the new ones are, and (4) can.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka.admin import AdminClient, NewPartitions

from app.clock import now_ms
from app.errors import UserError
from app.kafka.admin import REQUEST_S, connected
from app.kafka.broker import Broker, read_all
from app.kafka.families import LOOP, Family, counts
from app.kafka.groups import Place
from app.kafka.progress import Positions, Unread, ends, members, read_by_lanes, read_by_loop, unread
from app.kafka.publisher import Publisher
from app.kafka.settings import MOST
from app.kafka.split import Config, LaneStates, LoopStates, Stages, lane_name
from models.safety.chain import branch
from topics.audit import AUDIT
from topics.codec import Message, encode
from topics.spec import Raw, Topic
from topics.state import LANE_STATE

FLUSH_S: Final = 120.0  # until the broker has a partition's states
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One family that gets `partitions`. stages: its agents, as its workers make them. config: of a consumer without a
    group. tell: is told each step in a line."""

    broker: Broker
    family: Family
    partitions: int
    stages: Stages
    config: Config
    tell: Tell


@dataclass(slots=True)
class Done:
    """What was done."""

    family: str
    before: int
    after: int
    states: int = 0  # that were written on new partitions
    links: int = 0  # chains of the audit that go on from another one
    copied: int = 0  # records of broadcasts
    shrunk: int = 0  # states from which something was removed
    late: list[str] = field(default_factory=list)  # records that came meanwhile, by topic and partition


def grow(job: Job) -> Done:
    """Give the family its partitions, and move what belongs to the keys that move.

    Raises:
        UserError: the number is no multiple of the present one, a worker runs, something is unread, or another number
            was begun with. Then nothing was changed. Or the broker refused: then run it again.
        StateUnreadable: this version cannot read a state. Nothing was changed.
    """
    have = _present(job)
    before = have[job.family.rest[-1].name]
    begun = max(have[topic.name] for topic in job.family.topics)
    _require_possible(job, before, begun)
    done = Done(job.family.name, before, job.partitions)
    if before == job.partitions:
        return done
    with connected(job.broker) as client:
        _require_alone(members(client))
        job.tell(f"growing {job.family.name} from {before} to {job.partitions} partitions")
        if begun > before:
            job.tell("it was begun before, and goes on")
        positions = _positions(job, client, before)
        _require_read(job, unread(client, positions), refuse=begun == before)
        topics, old = sorted({topic for _, topic, _ in positions}), range(before)
        at_first = ends(client, topics, old)
        _Work(job, client, before, done, _least(positions)).run()
        at_last = ends(client, topics, old)
    came = {place: at_last[place] - offset for place, offset in at_first.items() if at_last[place] > offset}
    done.late = [f"{topic}-{partition}: {count}" for (topic, partition), count in sorted(came.items())]
    return done


def _present(job: Job) -> Mapping[str, int]:
    have = counts(job.broker)
    missing = [topic.name for topic in (*job.family.topics, job.family.state) if topic.name not in have]
    if missing:
        raise UserError(f"there is no topic {missing[0]}", "Make the topics first: opsloop topics apply", exit_code=1)
    return have


def _require_possible(job: Job, before: int, begun: int) -> None:
    name, wanted = job.family.name, job.partitions
    if begun > before and wanted != begun:
        raise UserError(
            f"growing {name} to {begun} partitions was begun and has not ended",
            f"End it first: opsloop topics grow {name} {begun}", exit_code=1,
        )  # fmt: skip
    if wanted < before or wanted % before or wanted > MOST:
        good = ", ".join(str(before * times) for times in (2, 3, 4))
        raise UserError(
            f"{name} has {before} partitions and cannot have {wanted}: a state is split, never merged, so that only a"
            f" multiple of {before} up to {MOST} is possible",
            f"Choose one, as {good}",
        )


def _require_alone(found: Mapping[str, int]) -> None:
    if found:
        shown = ", ".join(f"{group} ({count})" for group, count in sorted(found.items()))
        raise UserError(
            f"workers run: {shown}",
            "End all `opsloop worker` processes with SIGTERM (one that was killed counts for some seconds), and repeat",
            exit_code=1,
        )


def left_over(job: Job, client: AdminClient, partitions: int) -> list[Unread]:
    """What is unread of the family, which has so many partitions."""
    return unread(client, _positions(job, client, partitions))


def _positions(job: Job, client: AdminClient, before: int) -> Positions:
    """Up to where each reader of the family has read."""
    old, lanes = range(before), LaneStates(job.config, range(before))
    of_lanes = read_by_lanes(lanes, _lanes(job, lanes, old), old)
    if job.family is not LOOP:
        return of_lanes
    states = LoopStates(job.config, job.stages, before, AUDIT.name)
    return {**of_lanes, **read_by_loop(client, states, old)}


def _least(positions: Positions) -> dict[Place, int]:
    """Up to where every reader has read each partition."""
    least: dict[Place, int] = {}
    for (_, topic, partition), offset in positions.items():
        least[topic, partition] = min(offset, least.get((topic, partition), offset))
    return least


def _require_read(job: Job, found: Sequence[Unread], *, refuse: bool) -> None:
    """Raise UserError when something is unread: its key would move, and it would not."""
    if not found:
        return
    told = "; ".join(map(str, found[:5])) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    if refuse:
        raise UserError(
            f"not everything was read: {told}",
            "Stop what publishes, let the workers read it, end them, and repeat", exit_code=1,
        )  # fmt: skip
    job.tell(f"unread, and read by its old partition: {told}")


def _lanes(job: Job, lanes: LaneStates, partitions: Iterable[int]) -> dict[str, Sequence[str]]:
    """The lanes that read topics of the family, and which."""
    if job.family is not LOOP:
        return {lane_name(job.stages): [topic.name for topic in job.stages[0]().reads]}
    ours = {topic.name for topic in job.family.topics}
    found: dict[str, Sequence[str]] = {}
    for partition in partitions:
        for name in lanes.names(partition):
            read = [topic for topic in lanes.applied(name, partition) if topic in ours]
            found[name] = sorted({*found.get(name, ()), *read})
    return {name: topics for name, topics in found.items() if topics}


class _Work:
    """The steps, once nothing speaks against them."""

    def __init__(self, job: Job, client: AdminClient, before: int, done: Done, read: Mapping[Place, int]) -> None:
        self.job, self.client, self.before, self.done = job, client, before, done
        self.read = read  # by topic and old partition, up to where all its readers have read
        self.copied: dict[tuple[str, int], int] = {}  # by topic and new partition, the first offset that is not known

    @property
    def _born(self) -> Sequence[tuple[int, int]]:
        """Each new partition after the old one that it comes from."""
        return [(new % self.before, new) for new in range(self.before, self.job.partitions)]

    def run(self) -> None:
        family, opened = self.job.family, self._opened()
        self._add([LANE_STATE, *((family.state,) if family is LOOP else ()), *family.first])
        if not (opened and self._complete()):
            self._copy_broadcasts()
            self._write_new()
            self.job.tell(f"wrote {self.done.states} states on new partitions")
        self._add(family.rest[:-1])
        self._copy_broadcasts()  # what came from a publisher that did not know the new partitions yet
        self._shrink_old()
        self.job.tell(f"removed what has moved from {self.done.shrunk} states of old partitions")
        self._add(family.rest[-1:])

    def _opened(self) -> bool:
        """Whether topics have their partitions that get them once all new states are written."""
        have = counts(self.job.broker)
        return any(have[topic.name] == self.job.partitions for topic in self.job.family.rest[:-1])

    def _add(self, topics: Iterable[Topic]) -> None:
        """Add partitions to topics that have too few, and wait until the broker tells of them."""
        have = counts(self.job.broker)
        names = [topic.name for topic in topics if have[topic.name] < self.job.partitions]
        if not names:
            return
        asked = self.client.create_partitions([NewPartitions(n, self.job.partitions) for n in names])
        for future in asked.values():
            future.result(REQUEST_S)
        end = time.monotonic() + REQUEST_S
        while any(have[name] < self.job.partitions for name in names) and time.monotonic() < end:
            time.sleep(0.05)
            have = counts(self.job.broker)
        self.job.tell(f"{', '.join(names)}: {self.job.partitions} partitions")

    # --- new partitions -----------------------------------------------------------------------------------------------

    def _loop_states(self) -> LoopStates:
        return LoopStates(self.job.config, self.job.stages, self.job.partitions, AUDIT.name)

    def _complete(self) -> bool:
        """Whether everything that has a state on an old partition has one on its new ones."""
        lanes, name = LaneStates(self.job.config, range(self.job.partitions)), lane_name(self.job.stages)
        if self.job.family is LOOP:
            states = self._loop_states()
            return all(states.complete(old, new) for old, new in self._born)
        return all(name in lanes.names(new) or name not in lanes.names(old) for old, new in self._born)

    def _copy_broadcasts(self) -> None:
        """Copy what every partition must have, and note up to where a new one has what its old one has read.

        What somebody publishes meanwhile comes after that, and is read by the new owner.
        """
        with Publisher(self.job.broker) as publisher:
            for topic in (topic for topic in self.job.family.first if topic.broadcast):
                known = _by_partition(self.job.broker, topic)
                for old, new in self._born:
                    have = {(raw.key, raw.value) for raw in known.get(new, ())}
                    missing = [raw for raw in known.get(old, ()) if (raw.key, raw.value) not in have]
                    for raw in missing:
                        publisher.send_raw(topic.name, raw.key, raw.value, raw.headers, new, raw.arrived)
                    self.done.copied += len(missing)
                publisher.flush(FLUSH_S)
                self._note_copied(topic)

    def _note_copied(self, topic: Topic) -> None:
        now = _by_partition(self.job.broker, topic)
        for old, new in self._born:
            end = self.read.get((topic.name, old), 0)
            read = {(raw.key, raw.value) for raw in now.get(old, ()) if raw.offset < end}
            self.copied[topic.name, new] = _known(now.get(new, ()), read)

    def _write_new(self) -> None:
        lanes = LaneStates(self.job.config, range(self.job.partitions))
        with Publisher(self.job.broker) as publisher:
            if self.job.family is not LOOP:
                self._split_lane(publisher, lanes)
                return
            states = self._loop_states()
            for old, new in self._born:
                self._link(publisher, states, old, new)
                for verb, agent in states.verbs.items():
                    applied = self._applied_of(topic.name for topic in agent.reads)(new)
                    self._write(publisher, new, states.split(verb, old, new, self.job.partitions, applied))
                publisher.flush(FLUSH_S)
            for name, topics in _lanes(self.job, lanes, range(self.before)).items():
                for old, new in self._born:
                    if name in lanes.names(old):
                        applied = dict.fromkeys(topics, 0) | self._applied_of(topics)(new)
                        self._write(publisher, new, lanes.copy(name, old, new, applied))

    def _applied_of(self, topics: Iterable[str]) -> Callable[[int], dict[str, int]]:
        """By topic, the next offset of a new partition that is not in the states which it is given."""
        chosen = list(topics)
        return lambda new: {topic: self.copied[topic, new] for topic in chosen if self.copied.get((topic, new))}

    def _split_lane(self, publisher: Publisher, lanes: LaneStates) -> None:
        for old, new in self._born:
            if lane_name(self.job.stages) in lanes.names(old):
                self._write(publisher, new, lanes.split(self.job.stages, (old, new), self.job.partitions))
                publisher.flush(FLUSH_S)

    def _link(self, publisher: Publisher, states: LoopStates, old: int, new: int) -> None:
        """Begin the chain of a new partition, unless it was begun."""
        parent = states.head(old)
        if parent is None or states.head(new) is not None:
            return
        applied = {topic: offset for (topic, partition), offset in self.copied.items() if partition == new and offset}
        entry = branch(parent, states.newest[old].origin, new, applied, now_ms())
        message = encode(entry)
        publisher.send_raw(AUDIT.name, message.key, message.value, message.headers, new)
        self.done.links += 1

    def _write(self, publisher: Publisher, partition: int, messages: Sequence[Message]) -> None:
        for message in messages:
            publisher.send_raw(message.topic.name, message.key, message.value, message.headers, partition)
        self.done.states += bool(messages)

    # --- old partitions -----------------------------------------------------------------------------------------------

    def _shrink_old(self) -> None:
        """Remove what has moved; doing it again changes nothing."""
        written = self.done.states
        with Publisher(self.job.broker) as publisher:
            if self.job.family is LOOP:
                states = self._loop_states()
                for old in range(self.before):
                    for verb in states.verbs:
                        self._write(publisher, old, states.shrink(verb, old, self.job.partitions))
                    publisher.flush(FLUSH_S)
            else:
                lanes = LaneStates(self.job.config, range(self.before))
                for old in range(self.before):
                    if lane_name(self.job.stages) in lanes.names(old):
                        self._write(publisher, old, lanes.split(self.job.stages, (old, old), self.job.partitions))
                        publisher.flush(FLUSH_S)
        self.done.shrunk, self.done.states = self.done.states - written, written


def _by_partition(broker: Broker, topic: Topic) -> dict[int, list[Raw]]:
    found: dict[int, list[Raw]] = {}
    for raw in read_all(broker, [topic.name]):
        found.setdefault(raw.partition, []).append(raw)
    return found


def _known(raws: Sequence[Raw], read: set[tuple[Any, Any]]) -> int:
    """The offset after the records at the beginning that are all among those that were `read`; 0: there are none."""
    offset = 0
    for raw in raws:
        if (raw.key, raw.value) not in read:
            break
        offset = raw.offset + 1
    return offset
