"""By the command line, on a real Kafka: autonomy is earned, ratified, taken away and granted; actions are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.client import Publisher
from app.clock import now_ms
from app.history.records import records
from app.kafka.broker import Broker
from app.security.keys import WORKER, Keys, keys_of
from app.settings import home
from models.safety.roles import Role
from models.safety.signing import sign_proposal
from tests.builders import decision, incident, proposal, sample, verdict_on
from tests.processes import Opsloop, run, until, worker
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.spec import derive

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
OUTCOMES = 60
LOOSE = {"PER_SCOPE": "1000", "CONCURRENCY": "100", "BLAST_SHARE": "1.0"}  # outcomes are many and at once
ENV = {f"OPSLOOP_SAFETY__{name}": value for name, value in {"MODE": "autonomous", "EARN": "true", **LOOSE}.items()}


class Site:
    """A system of its own behind a running loop, and what people type about it."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.system = broker, f"auto{now_ms()}"
        self.group = f"{self.system}/restart_service/instance/production"

    def typed(self, *words: str) -> Opsloop:
        return run(*words, "--broker", self.broker.bootstrap)

    def told(self, *words: str) -> Any:
        """What a command that succeeds says as JSON."""
        done = self.typed(*words, "--json")
        assert done.process.returncode == 0, done.told()
        return json.loads(done.out[-1])

    def shown(self) -> dict[str, Any]:
        """The class of this system, and its promotions, as `autonomy show` lists them."""
        said = self.told("autonomy", "show")
        (row,) = [r for r in said["standing"] if r["name"] == self.group] or [{}]
        return {**row, "promotions": [p for p in said["promotions"] if p["name"] == self.group]}

    def earn(self) -> None:
        """Outcomes that all were good."""
        with Publisher(self.broker) as publisher:
            for number in range(OUTCOMES):
                target = f"{self.system}/catalog/0"
                proposed = proposal(id=f"{self.system}-{number}", ts=now_ms(), target=target, incident="")
                made = decision(DecisionState.DISPATCHED, proposed, ts=now_ms())
                verdict = verdict_on(id=f"v{made.id}", entity=target, decision=made.id, ts=now_ms(), incident="")
                publisher.send(made)
                publisher.send(verdict)

    def ask(self, number: int) -> Decision:
        """The first word on a sure proposal for a service whose telemetry is fresh."""
        target, now = f"{self.system}/s{number}/0", now_ms()
        trouble = incident(id=f"{self.system}i{number}", entity=target, ts=now, onset=now, affected=(target,),
                           hypotheses=())  # fmt: skip
        proposed = sign_proposal(
            proposal(id=f"{self.system}ask{number}", ts=now, target=target, incident=trouble.id),
            keys_of(home()).own(WORKER),
        )
        with Publisher(self.broker) as publisher:
            for record in (trouble, sample(target, now)):
                publisher.send(record)
            publisher.flush()
            publisher.send(proposed)
        return self.said(derive("decision", proposed.id))

    def said(self, identity: str) -> Decision:
        """The first state of a decision."""
        found: Decision = until(
            lambda: next((d for d in self.decisions() if d.id == identity), None), 60, lambda: str(self.decisions())
        )
        return found

    def decisions(self) -> list[Decision]:
        read = (r.record for r in records(self.broker, [DECISIONS]))
        return [d for d in read if isinstance(d, Decision) and d.proposal.target.startswith(self.system)]


@pytest.fixture
def site(broker: Broker) -> Iterator[Site]:
    keys = Keys(home())
    for name, role in (("leo", Role.LEAD), ("ben", Role.APPROVER), ("olga", Role.OPERATOR), ("vera", Role.VIEWER)):
        keys.add(name, (role,))
    with worker("loop", broker, env=ENV):
        yield Site(broker)


def test_what_was_earned_is_promoted_by_a_leads_vote_and_taken_away_and_granted_by_hand(site: Site) -> None:
    assert site.ask(1).reasons[-1] == f"{site.group} has not earned to act alone (0 of 0 helped)"
    site.earn()
    (open_,) = until(lambda: site.shown()["promotions"], 90, lambda: str(site.decisions()[-1:]))
    assert open_["reason"] == f"{site.group} has earned to act alone: {OUTCOMES} of {OUTCOMES} helped"
    wrong = site.typed("approve", open_["id"], "--as", "ben")
    assert (wrong.process.returncode, "wrong_role, ben is no lead" in wrong.told()) == (1, True), wrong.told()
    assert not site.shown()["granted"]
    yes = site.typed("approve", open_["id"], "--as", "leo", "--reason", "a good month")
    assert yes.process.returncode == 0, yes.told()
    until(lambda: site.shown()["granted"], 60, lambda: str(site.decisions()[-1]))
    assert site.shown()["promotions"] == []
    assert (alone := site.ask(2)).state is DecisionState.APPROVED, alone
    story = " ".join("".join(site.typed("explain", open_["id"]).out).split())
    for word in (
        "a lead ratifies it",
        "leo: approve a good month",
        f"autonomy/{site.group} = granted by trust",
        "audit",
    ):
        assert word in story, story

    assert site.typed("autonomy", "revoke", site.group, "--as", "ben").process.returncode != 0
    assert site.told("autonomy", "revoke", site.group, "--as", "leo")["value"] == "revoked"
    until(lambda: not site.shown()["granted"], 30)
    assert site.ask(3).reasons[-1].endswith("and no lead has granted it yet")
    assert site.told("autonomy", "grant", site.group, "--as", "leo", "--reason", "again")["by"] == "leo"
    until(lambda: site.shown()["granted"], 30)
    assert (alone := site.ask(4)).state is DecisionState.APPROVED, alone


def test_what_people_ask_for_is_signed_and_waits_for_somebody_else(site: Site) -> None:
    proposed = site.told("propose", "restart_service", f"{site.system}/cart/0", "--as", "olga", "--reason", "odd",
                     "--expect", "process.memory.*", "--force")  # fmt: skip
    asked = site.said(derive("decision", proposed["id"]))
    assert (asked.state, asked.proposal.requester, asked.proposal.expects) == (
        DecisionState.PENDING, "olga", "process.memory.*",
    )  # fmt: skip
    assert asked.proposal.key == Keys(home()).own("olga").key
    fact = ("--kind", "scaling", "--target", f"{site.system}/orders", "--fact", "utilization=0.91")
    answer = site.told("decide", *fact, "--propose", "--force", "--as", "leo")
    chosen = site.said(derive("decision", answer["decision"]["proposal"]["id"]))
    assert (chosen.state, chosen.proposal.action, chosen.proposal.requester) == (
        DecisionState.PENDING,
        "scale_out",
        "leo",
    )
    assert len(chosen.proposal.options) == len(answer["decision"]["proposal"]["options"]) >= 1
    own = site.typed("approve", chosen.id, "--as", "leo")
    assert (own.process.returncode, "self_approval" in own.told()) == (1, True), own.told()
    yes = site.typed("approve", asked.id, "--as", "ben")
    assert yes.process.returncode == 0, yes.told()
    for name, words in (("vera", "vera may not ask for changes"), ("eve", "eve has no key on this host")):
        no = site.typed("propose", "restart_service", f"{site.system}/cart/1", "--as", name)
        assert (no.process.returncode != 0, words in no.told()) == (True, True), no.told()
    assert {d.proposal.target for d in site.decisions()} == {f"{site.system}/cart/0", f"{site.system}/orders"}
