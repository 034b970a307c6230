"""The map: which agents there are, and that what one writes another reads."""

from __future__ import annotations

import pytest

from app import pipeline
from app.ingest.warm_up import warm_up
from app.settings import Settings
from models.detection.bank import Bank
from models.detection.columns import Samples, Scored
from tests.keys import RING, WORKER_KEY
from topics.actions import COMMANDS, RESULTS
from topics.approvals import APPROVALS
from topics.audit import AUDIT
from topics.decisions import DECISIONS
from topics.incidents import INCIDENTS
from topics.learning import LABELS
from topics.policies import POLICIES
from topics.proposals import PROPOSALS
from topics.settings import SETTINGS
from topics.signals import ANOMALIES
from topics.spec import Topic
from topics.telemetry import EVENTS
from topics.verdicts import VERDICTS


def writers() -> dict[Topic, set[str]]:
    agents = [make() for make in (*pipeline.lane(), *pipeline.loop(Settings(), WORKER_KEY, RING))]
    return {topic: {a.name for a in agents if topic in a.writes} for a in agents for topic in a.writes}


def test_a_topic_of_the_loop_is_written_by_one_verb_alone() -> None:
    """One writer a topic, proposals aside: only `approve` gives commands, and only `record` writes the audit."""
    found = writers()
    assert found[COMMANDS] == {"approve"}
    assert found[AUDIT] == {"record"}
    assert found[INCIDENTS] == {"respond"}
    assert found[PROPOSALS] == {"decide", "gate"}
    assert found[VERDICTS] == {"verify"}
    assert found[ANOMALIES] == {"detect"}
    assert found[DECISIONS] == {"gate", "approve"}


def test_what_is_read_is_written_by_somebody_or_comes_from_outside() -> None:
    outside = {APPROVALS, SETTINGS, POLICIES, EVENTS, RESULTS, LABELS}
    for make in pipeline.loop(Settings(), WORKER_KEY, RING):
        agent = make()
        assert set(agent.reads) - outside <= set(writers()), agent.name


def test_everything_that_is_decided_and_done_is_kept() -> None:
    keeper = next(a for a in (make() for make in pipeline.loop(Settings(), WORKER_KEY, RING)) if a.name == "record")
    assert {INCIDENTS, PROPOSALS, DECISIONS, APPROVALS, COMMANDS, RESULTS, VERDICTS, SETTINGS} <= set(keeper.reads)


def test_each_partition_gets_an_agent_of_its_own() -> None:
    for make in (*pipeline.lane(), *pipeline.loop(Settings(), WORKER_KEY, RING)):
        one, other = make(), make()
        assert one is not other
        assert one.name == other.name


def test_the_rehearsal_meets_values_that_were_copied_and_values_that_lie_in_their_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    met: set[bool] = set()
    take = Bank.take

    def noted(bank: Bank, given: Samples) -> Scored:
        met.add(bool(given.value.flags.writeable))
        return take(bank, given)

    monkeypatch.setattr(Bank, "take", noted)
    warm_up()
    assert met == {True, False}, "the compiler takes them for two types"
