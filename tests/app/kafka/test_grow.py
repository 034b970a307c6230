"""A family of topics grows: what belongs to a key goes where the key goes, also when the command is cut off."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from agents._changelog import ChangeLog
from agents._partition import PartitionState
from agents._snapshots import SnapshotStore
from agents.approve import Approve
from app import pipeline
from app.client import Publisher
from app.clock import now_ms
from app.errors import UserError
from app.history.audit import examine
from app.kafka import grow as growing
from app.kafka.admin import connected, ensure, plan, size, wanted
from app.kafka.broker import Broker, consumer_config, partition_of, read_all
from app.kafka.families import LOOP, TELEMETRY, counts, require_even
from app.kafka.grow import Done, Job, grow
from app.kafka.local import LocalKafka
from app.kafka.progress import ends
from app.kafka.settings import TopicsSettings
from app.kafka.split import LaneStates, LoopStates
from app.runtime.drivers import client_config
from app.security.keys import WORKER, Keys, keys_of
from app.settings import Settings
from app.system import Parts
from models.safety.chain import Chain
from topics.actions import COMMANDS
from topics.audit import AUDIT
from topics.chunk import chunk_of
from topics.codec import Message, encode
from topics.settings import KILL_SWITCH, ON, SETTINGS, Setting
from topics.spec import Origin, Raw, use_domains
from topics.state import LANE_STATE, LOOP_STATE
from topics.telemetry import METRICS, Sample

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def domains() -> None:
    """Each system is a domain of its own."""
    use_domains({"*": "{0}"})


SYSTEMS = [f"shop{number}" for number in range(24)]
ENTITIES = [f"shop/web/{number}" for number in range(24)]
LANE, ACT = "lane/decode+detect", b"what an actuator knows"
SETTING = Setting(name="maintenance/elsewhere", value="1", ts=1_000, by="ana")


class Killed(BaseException):
    """The command ends in the middle."""


class Site:
    """A Kafka with states of the loop on it that no worker wrote, and no worker."""

    def __init__(self, broker: Broker, keys: Keys) -> None:
        self.broker, self.keys = broker, keys
        self.told: list[str] = []
        parts = Parts(Settings(), keys.own(WORKER), keys)
        self.stages = {LOOP.name: pipeline.stages("loop", parts), TELEMETRY.name: pipeline.stages("lane", parts)}

    @property
    def partitions(self) -> int:
        return counts(self.broker)[LOOP.rest[-1].name]

    def job(self, times: int = 2, family: Any = LOOP) -> Job:
        """What doubles the family."""
        config = client_config(self.broker)
        return Job(self.broker, family, self.partitions * times, self.stages[family.name], config, self.told.append)

    def states(self) -> LoopStates:
        return LoopStates(client_config(self.broker), self.stages[LOOP.name], self.partitions, AUDIT.name)

    def approve(self, states: LoopStates, partition: int) -> Approve:
        agent = states.unit("approve", partition).agent
        assert isinstance(agent, Approve)
        return agent

    def fill(self) -> None:
        """An epoch for each system, a chain and a setting on each partition."""
        with Publisher(self.broker) as publisher:
            publisher.send(SETTING)
            for partition in range(self.partitions):
                for message in [*self._epochs(partition), *_chain(partition)]:
                    publisher.send_raw(message.topic.name, message.key, message.value, message.headers, partition)
        self.read()

    def teach(self) -> None:
        """What a lane learned of each entity, on two partitions, and what an actuator's lane knows on each."""
        with Publisher(self.broker) as publisher:
            for partition in range(2):
                part = PartitionState(self.stages[TELEMETRY.name], b"", SnapshotStore(LANE_STATE, LANE, partition))
                ours = [entity for entity in ENTITIES if partition_of(entity.encode(), 2) == partition]
                values = [encode(Sample(entity=entity, ts=now_ms(), metrics={"cpu": 1.0})).value for entity in ours]
                raws = [Raw(METRICS.name, partition, at, None, value) for at, value in enumerate(values)]
                list(part.following(chunk_of(raws), 0))
                for message in part.store.pack({METRICS.name: 0}, *part.pieces()):
                    publisher.send_raw(LANE_STATE.name, message.key, message.value, message.headers, partition)
            for partition in range(self.partitions):
                store = SnapshotStore(LANE_STATE, "lane/act", partition)
                for message in store.pack({COMMANDS.name: 0, SETTINGS.name: 1}, ACT):
                    publisher.send_raw(LANE_STATE.name, message.key, message.value, message.headers, partition)

    def entities(self) -> dict[str, list[int]]:
        """Of each entity, every partition on which the lane knows it."""
        count, found = counts(self.broker)[METRICS.name], {}
        states = LaneStates(client_config(self.broker), range(count))
        for partition in range(count):
            part = PartitionState(self.stages[TELEMETRY.name], *_state(states, partition))
            for entity in filter(None, part.stages[0].names.entities):  # type: ignore[attr-defined]
                found.setdefault(entity, []).append(partition)
        return found

    def _epochs(self, partition: int) -> list[Message]:
        states = self.states()
        agent = self.approve(states, partition)
        for number, system in enumerate(SYSTEMS):
            if partition_of(system.encode(), self.partitions) == partition:
                agent.state.epochs[f"{system}/catalog"] = 1_000 + number
        log = ChangeLog(LOOP_STATE, "approve", partition)
        return log.whole(log.renew({}), list(agent.blocks()))

    def read(self) -> None:
        """Let the group of the loop have read everything, and the actuator's lane."""
        with connected(self.broker) as client:
            found = ends(client, [topic.name for topic in LOOP.topics], range(self.partitions))
        consumer = Consumer(consumer_config(self.broker, "opsloop-loop"))
        consumer.commit(offsets=[TopicPartition(*place, end) for place, end in found.items()], asynchronous=False)
        consumer.close()
        lanes = LaneStates(client_config(self.broker), range(self.partitions))
        with Publisher(self.broker) as publisher:
            for partition in range(self.partitions):
                if "lane/act" in lanes.names(partition):
                    applied = {topic.name: found[topic.name, partition] for topic in (COMMANDS, SETTINGS)}
                    for message in lanes.copy("lane/act", partition, partition, applied):
                        publisher.send_raw(LANE_STATE.name, message.key, message.value, message.headers, partition)

    def epochs(self) -> dict[str, list[tuple[int, int]]]:
        """Of each system, every partition on which it has an epoch, and which."""
        states, found = self.states(), {}
        for partition in range(self.partitions):
            for service, epoch in self.approve(states, partition).state.epochs.items():
                found.setdefault(service.partition("/")[0], []).append((partition, epoch))
        return found

    def settings_by_partition(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for raw in read_all(self.broker, [SETTINGS.name]):
            found.setdefault(raw.partition, []).append((raw.key or b"").decode())
        return found


def _state(states: LaneStates, partition: int) -> tuple[bytes, SnapshotStore]:
    store = states.found[partition][LANE]
    return store.state, store


def _chain(partition: int) -> Iterator[Message]:
    """An audit of the one setting that the partition has."""
    chain, body = Chain(partition), encode(SETTING).value
    yield encode(chain.link("shop", Origin(SETTINGS.name, partition, 0), body, now_ms()))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with LocalKafka(tmp_path / "kafka") as kafka:
        ensure(kafka.broker, settings=TopicsSettings(loop_partitions=2, telemetry_partitions=2))
        made = Site(kafka.broker, keys_of(tmp_path / "home"))
        made.fill()
        made.teach()
        yield made


def grown(site: Site) -> None:
    """Hold the promises of a family that has grown."""
    require_even(site.broker)
    partitions = site.partitions
    assert site.epochs() == {
        system: [(partition_of(system.encode(), partitions), 1_000 + number)] for number, system in enumerate(SYSTEMS)
    }, "each system has its epoch where its records come now, and nowhere else"
    assert site.settings_by_partition().keys() == set(range(partitions))
    assert all(SETTING.name in found for found in site.settings_by_partition().values())
    examined = examine(site.broker, site.keys, now=now_ms() + 60_000)
    assert examined.wrong == ()
    assert examined.chains == partitions
    lanes = LaneStates(client_config(site.broker), range(partitions))
    known = [lanes.found[partition]["lane/act"] for partition in range(partitions)]
    assert {store.state for store in known} == {ACT}, "the kill switch is known to the actuator of every partition"
    assert {store.applied[SETTINGS.name] for store in known if store.applied} == {1}
    site.read()  # the first entries of new chains, which the notary has not seen


def test_a_family_grows_with_epochs_chains_and_broadcasts_and_then_there_is_nothing_to_do(site: Site) -> None:
    before = site.partitions
    done = grow(site.job())
    assert (done.before, done.after, done.links, done.shrunk) == (before, 2 * before, before, before)
    grown(site)
    assert grow(site.job(times=1)) == Done("loop", 2 * before, 2 * before)


STEPS = {
    "after the first topics have their partitions": ("_copy_broadcasts", 1, False),
    "while states are written": ("_write", 2, True),
    "once the new states are written": ("_shrink_old", 1, False),
    "while old states are rewritten": ("_write", 1, True),
    "before the last topic has its partitions": ("_shrink_old", 1, True),
}


def test_a_command_that_is_cut_off_at_any_step_is_run_again_and_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = site.job()
    for step, (name, turn, late) in STEPS.items():
        with monkeypatch.context() as patched:
            patched.setattr(growing._Work, name, _killed(getattr(growing._Work, name), turn, late=late))
            with pytest.raises(Killed):
                grow(job)
        with pytest.raises(UserError, match=f"{job.partitions // 2} to {job.partitions} partitions"):
            require_even(site.broker)
        with pytest.raises(UserError, match="End it first"):
            grow(site.job(times=4))
        print("cut off", step)
    grow(job)
    grown(site)


def test_telemetry_that_is_cut_off_goes_on_with_every_entity_on_one_partition(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions = counts(site.broker)[METRICS.name]
    config, stages = client_config(site.broker), site.stages[TELEMETRY.name]
    job = Job(site.broker, TELEMETRY, 2 * partitions, stages, config, site.told.append)
    for name, late in (("_write_new", True), ("_shrink_old", False), ("_shrink_old", True)):
        with monkeypatch.context() as patched:
            patched.setattr(growing._Work, name, _killed(getattr(growing._Work, name), 1, late=late))
            with pytest.raises(Killed):
                grow(job)
        if name == "_write_new":
            require_even(site.broker)  # nothing that a worker reads was touched
            assert len(site.entities()) == len(ENTITIES)
            continue
        with pytest.raises(UserError, match="opsloop topics grow telemetry"):
            require_even(site.broker)
    grow(job)
    require_even(site.broker)
    assert site.entities() == {entity: [partition_of(entity.encode(), 2 * partitions)] for entity in ENTITIES}


def _killed(step: Callable[..., Any], turn: int, *, late: bool) -> Callable[..., Any]:
    """The step, which ends the command in its `turn`-th call, before it or (`late`) after it."""
    calls = itertools.count(1)

    def run(*arguments: Any) -> Any:
        last = next(calls) == turn
        if last and not late:
            raise Killed
        result = step(*arguments)
        if last:
            raise Killed
        return result

    return run


def test_what_is_published_meanwhile_reaches_every_partition_and_is_read_by_its_owner(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Setting(name=KILL_SWITCH, value=ON, ts=now_ms(), by="ana", reason="while it grew")
    job, copy = site.job(), growing._Work._copy_broadcasts

    def pressed(work: Any) -> None:
        with Publisher(site.broker) as publisher:
            publisher.send(stop)
        copy(work)

    monkeypatch.setattr(growing._Work, "_copy_broadcasts", pressed)
    with Publisher(site.broker) as running:
        running.partitions(SETTINGS.name)
        done = grow(job)
        running.send(Setting(name="maintenance/later", value="1", ts=2_000, by="ana"))
    monkeypatch.undo()
    by_partition = site.settings_by_partition()
    assert all("maintenance/later" in by_partition[p] for p in range(site.partitions)), "a program that runs on, too"
    assert all(KILL_SWITCH in found for found in site.settings_by_partition().values())
    assert any(late.startswith(SETTINGS.name) for late in done.late)
    states, places = site.states(), range(site.partitions)
    stops: dict[int, int] = {}
    for raw in read_all(site.broker, [SETTINGS.name]):
        if raw.key == KILL_SWITCH.encode():
            stops.setdefault(raw.partition, raw.offset)
    assert all(states.applied("approve", p).get(SETTINGS.name, 0) <= stops[p] for p in places), "it will be read"
    site.read()


def test_only_a_multiple_is_possible_and_the_reason_is_said(site: Site) -> None:
    before = counts(site.broker)
    for wrong in (1, site.partitions + 1, site.partitions * 1_000):
        job = Job(site.broker, LOOP, wrong, site.stages["loop"], client_config(site.broker), site.told.append)
        with pytest.raises(UserError, match="never merged"):
            grow(job)
    assert counts(site.broker) == before


def test_nothing_grows_while_a_worker_is_a_member_of_its_group(site: Site) -> None:
    before = counts(site.broker)
    consumer = Consumer(consumer_config(site.broker, "opsloop-act"))
    consumer.subscribe([SETTINGS.name])
    while not consumer.assignment():
        consumer.poll(0.1)
    with pytest.raises(UserError, match=r"workers run: opsloop-act \(1\)"):
        grow(site.job())
    consumer.close()
    assert counts(site.broker) == before


def test_nothing_grows_while_something_is_unread_and_it_is_named(site: Site) -> None:
    before = counts(site.broker)
    with Publisher(site.broker) as publisher:
        publisher.send(SETTING)
    with pytest.raises(UserError, match=rf"1 of {SETTINGS.name}-0 \(by approve, gate, lane/act"):
        grow(site.job())
    assert counts(site.broker) == before
    site.read()


def test_the_plan_says_that_the_cluster_has_another_number_than_the_settings(site: Site) -> None:
    with connected(site.broker) as client:
        steps = plan(client, list(wanted(size(client), settings=TopicsSettings(loop_partitions=1_000))))
    grows = {step.topic for step in steps if step.kind == "grow"}
    assert grows >= {topic.name for topic in LOOP.topics}
