"""Version N reads what N-1 and N+1 write, and a reader of N-1 reads what N writes.

The files below fixtures/ are what a writer of each version puts on a topic. Those of n+1 have a field that this version
does not have, and words that it does not know wherever a set of words is open.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents._agent import Agent
from app.testing import MemoryLedger, World, stages
from models.incidents.following import Following
from models.safety.context import SafetyContext
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from tests.builders import NOW, SAMPLES, incident
from topics.approvals import Approval
from topics.audit import AuditEntry
from topics.catalog import ALL, topic_of
from topics.codec import Cause, DecodeError, decode_value, encode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.incidents import INCIDENTS, State, SymptomKind
from topics.policies import Facts, PolicyResult
from topics.proposals import Proposal
from topics.refusals import Refusal
from topics.settings import SETTINGS
from topics.spec import Origin, Read, Topic
from topics.verdicts import VERDICTS, Effect, Verdict

FIXTURES = Path(__file__).parent / "fixtures"
TOPICS = [topic for topic in ALL if not topic.packed]
every_topic = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)


def written(version: str, topic: Topic) -> bytes:
    return (FIXTURES / version / f"{topic.name}.json").read_bytes()


def fields(value: bytes) -> dict[str, Any]:
    return msgspec.json.decode(value, type=dict[str, Any])


@every_topic
def test_what_this_version_writes_is_what_its_fixture_says(topic: Topic) -> None:
    """When it is not: raise the version of the record, migrate from the one before, and make the fixtures anew."""
    assert fields(encode(SAMPLES[topic.name], topic).value) == fields(written("n", topic))
    assert decode_value(topic, written("n", topic)) == SAMPLES[topic.name]


@every_topic
def test_this_version_reads_the_one_before(topic: Topic) -> None:
    assert decode_value(topic, written("n-1", topic)) == SAMPLES[topic.name]


@every_topic
def test_this_version_reads_the_next_one_and_keeps_the_words_that_it_does_not_know(topic: Topic) -> None:
    value = written("n+1", topic)
    record = decode_value(topic, value)
    assert record.v == topic.record.newest() + 1
    again = fields(encode(record, topic).value)
    assert again == {name: part for name, part in fields(value).items() if name != "added_later"}


@every_topic
@pytest.mark.parametrize("away", [-2, 2])
def test_versions_further_away_are_refused_with_what_is_to_be_done(topic: Topic, away: int) -> None:
    version = topic.record.newest() + away
    if version < 0:
        return
    with pytest.raises(DecodeError, match="upgrade this worker" if away > 0 else "is still read") as refused:
        decode_value(topic, msgspec.json.encode(fields(written("n", topic)) | {"v": version}))
    assert refused.value.cause is Cause.VERSION


class Decision1(msgspec.Struct, frozen=True):
    """A decision as version 1 had it."""

    id: str
    ts: int
    state: DecisionState
    proposal: Proposal
    tier: str
    mode: str
    reasons: tuple[str, ...]
    blocked: str = ""
    expires: int = 0
    voters: tuple[str, ...] = ()
    command: str = ""
    policy: tuple[PolicyResult, ...] = ()
    facts: Facts | None = None
    required_role: str = ""
    quorum: int = 0
    v: int = 1


class Setting1(msgspec.Struct, frozen=True):
    """A setting before it could name the stop that it ends."""

    name: str
    value: str
    ts: int
    by: str
    reason: str = ""
    key: str = ""
    signature: bytes = b""
    approvals: tuple[Approval, ...] = ()
    v: int = 1


@pytest.mark.parametrize(
    ("topic", "shape"), [(DECISIONS, Decision1), (SETTINGS, Setting1)], ids=["decision", "setting"]
)
def test_a_reader_of_the_version_before_reads_this_one(topic: Topic, shape: type[msgspec.Struct]) -> None:
    old = msgspec.json.decode(written("n", topic), type=shape)
    now = SAMPLES[topic.name]
    for name in shape.__struct_fields__:
        assert getattr(old, name) == getattr(now, name), name


def test_the_states_of_a_decision_that_are_written_by_two_versions_have_one_order() -> None:
    first = SAMPLES[DECISIONS.name]
    assert isinstance(first, Decision)
    second = first.moved(DecisionState.COMPLETED, NOW + 1, "done")
    old = fields(encode(second).value) | {"v": 1}
    del old["seq"]
    read = decode_value(DECISIONS, msgspec.json.encode(old))
    assert isinstance(read, Decision)
    assert (first.seq, read.seq, read.moved(DecisionState.COMPLETED, NOW, "").seq) == (0, 1, 2)


MAKERS = [*stages(World(), MemoryLedger(), Mode.AUTONOMOUS)]


@pytest.mark.parametrize("number", range(len(MAKERS)), ids=lambda n: MAKERS[n]().name)
def test_no_agent_acts_on_words_that_it_does_not_know(number: int) -> None:
    agent: Agent[Any] = MAKERS[number]()
    for topic in agent.reads:
        if topic.name in UNKNOWN:
            record = decode_value(topic, written("n+1", topic))
            said = list(agent.step([Read(record, Origin(topic.name, 0, 0), NOW)], NOW))
            assert all(isinstance(output, Refusal | AuditEntry) for output in said), said


UNKNOWN = {
    "opsloop.incidents", "opsloop.decisions", "opsloop.verdicts", "opsloop.signals.anomalies",
    "opsloop.actions.results", "opsloop.approvals", "opsloop.labels", "opsloop.telemetry.events",
}  # fmt: skip


def test_an_incident_in_an_unknown_state_is_neither_opened_nor_closed_by_it() -> None:
    paused = msgspec.structs.replace(incident(seq=1), state=State("paused"))
    for records, unwell in (([incident(), paused], {"shop/catalog"}), ([paused], set())):
        context, following = SafetyContext(), Following()
        for record in records:
            context.see(record)
            following.follow(record)
        assert context.unwell("shop", SafetySettings()) == unwell
        assert bool(following.open) is bool(unwell)
        assert following.over == {}


def test_an_unknown_member_is_equal_to_its_text_and_to_no_known_one() -> None:
    word = decode_value(INCIDENTS, written("n+1", INCIDENTS)).symptom  # type: ignore[attr-defined]
    assert (word, hash(word), str(word), f"{word}", word.value) == ("flapping", hash("flapping"), *["flapping"] * 3)
    assert word == SymptomKind("flapping")
    assert not word.known
    assert SymptomKind.DOWN.known
    assert word not in list(SymptomKind)
    assert {SymptomKind.DOWN: 1}.get(word) is None
    match word:
        case SymptomKind.DOWN:
            pytest.fail("it is another word")
        case _:
            pass


def test_reading_unknown_words_takes_no_memory() -> None:
    members = len(Effect._value2member_map_)
    for number in range(1_000):
        value = encode(SAMPLES[VERDICTS.name]).value.replace(b'"ineffective"', b'"word_%d"' % number)
        record = decode_value(VERDICTS, value)
        assert isinstance(record, Verdict)
        assert record.effect == f"word_{number}"
    assert len(Effect._value2member_map_) == members
    assert topic_of(record) is VERDICTS
