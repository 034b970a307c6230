"""Policies on a running gate: registered, they hold at once; taken back, no more; no proposal goes without them."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import run, until, worker

from app.client import Publisher
from app.clock import now_ms
from app.history.records import records
from app.kafka.broker import Broker
from app.security.keys import Keys
from app.settings import home
from models.safety.roles import Role
from models.safety.signing import sign_proposal
from tests.builders import proposal
from tests.rules import Repository, rule
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.spec import derive

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
FREE = DecisionState.PENDING  # what no policy denies; of a system without telemetry a person is asked
ME = "flow-policies"  # whose proposals the policies of these tests are about
_numbers = itertools.count()

DENY = (
    'default allow := true\nallow := false if input.proposal.requester == "flow-policies"\n'
    'reasons contains "not now" if not allow'
)


def propose(publisher: Publisher) -> str:
    """One more proposal, about a system of its own; its id."""
    number = f"{next(_numbers)}-{now_ms()}"
    proposed = proposal(
        id=derive("proposal", number), ts=now_ms(), target=f"pol{number}/catalog/0", requester=ME, incident="", rule="",
    )  # fmt: skip
    publisher.send(sign_proposal(proposed, Keys(home()).ensure(ME, (Role.AGENT,))))
    return derive("proposal", number)


def answers(broker: Broker) -> dict[str, Decision]:
    """The first decision on each of our proposals."""
    found: dict[str, Decision] = {}
    for read in records(broker, [DECISIONS]):
        if isinstance(read.record, Decision) and read.record.proposal.requester == ME:
            found.setdefault(read.record.proposal.id, read.record)
    return found


def answer(broker: Broker) -> Decision:
    with Publisher(broker) as publisher:
        asked = propose(publisher)
    found: Decision = until(lambda: answers(broker).get(asked), 90)
    return found


def typed(broker: Broker, *words: str) -> str:
    done = run("policy", *words, "--broker", broker.bootstrap, "--as", "ada")
    assert done.process.returncode == 0, done.told()
    return "".join(done.out)


@pytest.fixture
def gate(broker: Broker) -> Iterator[Broker]:
    assert run("user", "add", "ada", "--role", "admin").process.returncode == 0
    with worker("loop", broker, env={"OPSLOOP_SAFETY__MODE": "autonomous"}):
        yield broker


def test_a_registered_policy_denies_the_next_proposal_and_rolled_back_it_frees_the_one_after(
    gate: Broker, tmp_path: Path
) -> None:
    assert answer(gate).state is FREE
    file = tmp_path / "not_now.rego"
    file.write_text(rule(DENY, name="not_now"))
    assert "version 1 holds" in typed(gate, "register", str(file))
    denied = answer(gate)
    assert (denied.state, denied.blocked) == (DecisionState.DENIED, "policy")
    (said,) = [r for r in denied.policy if r.policy == "not_now"]
    assert (said.version, said.enforcement, said.enforced, said.reasons) == (1, "strict", True, ("not now",))

    file.write_text(rule(DENY, name="not_now", enforcement="advisory"))
    assert "version 2 holds" in typed(gate, "register", str(file))
    advised = answer(gate)
    (said,) = [r for r in advised.policy if r.policy == "not_now"]
    assert (advised.state, said.effect, said.enforcement, said.enforced) == (
        FREE, "deny", "advisory", False,
    )  # fmt: skip
    typed(gate, "rollback", "not_now")
    assert answer(gate).state is DecisionState.DENIED, "version 1 holds again"
    typed(gate, "rollback", "not_now")
    assert answer(gate).state is FREE
    assert [row["holds"] for row in json.loads(done(gate, "list")) if row["name"] == "not_now"] == [None]


def test_policies_of_a_git_repository_hold_once_they_are_synced(gate: Broker, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "policies")
    first = repository.commit(not_now=rule(DENY, name="not_now"))
    assert json.loads(typed(gate, "sync", str(repository.folder), "--json")) == {
        "commit": first, "policies": 1, "registered": ["not_now"], "withdrawn": [],
    }  # fmt: skip
    assert answer(gate).state is DecisionState.DENIED
    repository.commit(not_now=None, other=rule("default allow := true", name="other"))
    assert "registered: other; withdrawn: not_now" in typed(gate, "sync", str(repository.folder))
    assert answer(gate).state is FREE
    assert "registered: none; withdrawn: none" in typed(gate, "sync", str(repository.folder))


def done(broker: Broker, *words: str) -> str:
    listed = run("policy", *words, "--broker", broker.bootstrap, "--json")
    assert listed.process.returncode == 0, listed.told()
    return listed.out[-1]


def test_while_a_policy_is_exchanged_no_proposal_goes_without_it(gate: Broker, tmp_path: Path) -> None:
    """Each is judged by one version of it, the old one or the new one, and is answered as that one says."""
    file = tmp_path / "exchanged.rego"
    file.write_text(rule("default allow := true", name="exchanged"))
    typed(gate, "register", str(file))
    over, asked = threading.Event(), list[str]()

    def stream() -> None:
        with Publisher(gate) as publisher:
            while not over.is_set():
                asked.append(propose(publisher))
                publisher.flush()
                time.sleep(0.01)

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        time.sleep(1.0)
        file.write_text(rule(DENY, name="exchanged"))
        typed(gate, "register", str(file))
        time.sleep(1.0)
    finally:
        over.set()
        thread.join()
    until(lambda: set(asked) <= answers(gate).keys(), 90)
    found = answers(gate)
    versions = [[r.version for r in found[identity].policy if r.policy == "exchanged"] for identity in asked]
    assert all(len(version) == 1 for version in versions), "every proposal was judged by exactly one version"
    assert {version for (version,) in versions} == {1, 2}
    for identity, (version,) in zip(asked, versions, strict=True):
        assert found[identity].state is (DecisionState.DENIED if version == 2 else FREE)
    typed(gate, "withdraw", "exchanged")
