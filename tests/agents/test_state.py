"""What every agent of the loop promises of its state: changes are whole, and an undone step leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents._state import Stateful
from tests.contracts.test_agents import NAMES, SEEDS, Bench, played
from topics.spec import Instant, Read, Record

KEYED = [name for name in NAMES if isinstance(Bench(name).agent, Stateful)]


def of_every_agent(test: Callable[[str, int], None]) -> Callable[..., None]:
    """A test of each agent, with the history of each seed."""
    drawn = given(seed=st.sampled_from(SEEDS))(settings(max_examples=len(SEEDS), deadline=None)(test))
    return pytest.mark.parametrize("name", KEYED)(drawn)


def contents(agent: Any) -> list[Any]:
    """A state with the order of its rows, which decides what is let go first."""
    tracked = agent.tracked
    return [*((path, list(each.items())) for path, each in tracked.tables.items()), tracked._values()]


@of_every_agent
def test_changes_alone_make_the_same_state_at_another_owner_after_each_step(name: str, seed: int) -> None:
    """So no row is changed in place, and nothing is kept beside the state."""
    mode, fed = played(seed)
    ours, theirs = Bench(name, mode).agent, Bench(name, mode).agent
    for now, batch in fed[name]:
        list(ours.step(batch, now))
        if changes := ours.changes():
            theirs.apply(changes)
        assert contents(theirs) == contents(ours)
    again = Bench(name, mode).agent
    for block in ours.blocks():
        again.apply(block)
    assert contents(again) == contents(ours)


@of_every_agent
def test_a_step_that_is_undone_and_done_again_says_and_knows_the_same(name: str, seed: int) -> None:
    mode, fed = played(seed)
    straight, undone = Bench(name, mode).agent, Bench(name, mode).agent
    for now, batch in fed[name]:
        undone.mark()
        list(undone.step(batch, now))
        undone.undo()
        undone.mark()
        assert list(undone.step(batch, now)) == list(straight.step(batch, now))
        assert contents(undone) == contents(straight)


@of_every_agent
def test_before_its_deadline_an_agent_has_nothing_to_say_and_changes_nothing(name: str, seed: int) -> None:
    """So it need not be asked before."""
    mode, fed = played(seed)
    agent = Bench(name, mode).agent

    def ask(now: Instant, batch: Sequence[Read[Record]]) -> None:
        if batch or name == "act":
            list(agent.step(batch, now))
            return
        at = agent.next_deadline()
        if at is not None and at <= now:
            list(agent.step((), now))
            return
        before = contents(agent)
        assert list(agent.step((), now)) == []
        assert contents(agent) == before

    for now, batch in fed[name]:
        ask(now, batch)


STATES = Path(__file__).parent / "states"


def test_the_state_of_every_agent_as_it_was_written_first_is_still_read() -> None:
    """Golden files, one a version: `python -m tests.agents.test_state` writes those of the version of now."""
    read = {}
    for file in sorted(STATES.glob("*.v*.msgpack")):
        name, version = file.name.removesuffix(".msgpack").rsplit(".v", 1)
        agent: Any = Bench(name).agent
        agent.restore(file.read_bytes())
        assert int(version) <= agent.state.version
        read[name, int(version)] = sum(map(len, agent.tracked.tables.values()))
    for name in KEYED:
        current: Any = Bench(name).agent
        assert (name, current.state.version) in read, "write the golden file of its version"
    assert sum(read.values()) > 50, "they are states of something"


def write_golden_files() -> None:
    """Write the state of every agent after a history, unless the file of its version is there."""
    for name in KEYED:
        agents = []
        for seed in SEEDS:
            mode, fed = played(seed)
            bench = Bench(name, mode)
            bench.feed(fed[name])
            agents.append(bench.agent)
        richest: Any = max(agents, key=lambda agent: len(agent.snapshot()))
        file = STATES / f"{name}.v{richest.state.version}.msgpack"
        if not file.exists():
            file.write_bytes(richest.snapshot())


if __name__ == "__main__":
    write_golden_files()
