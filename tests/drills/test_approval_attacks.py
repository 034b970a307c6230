"""I7: nothing runs without valid approvals by others than who asked, whoever tries what: counted at the target."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import Broker, read_all
from app.security.keys import WORKER, Keys, enrol
from models.safety.roles import Role
from models.safety.settings import SafetySettings
from models.safety.signing import OURS, PROPOSAL_TTL_MS, seal, sign_proposal, sign_vote
from tests.builders import proposal
from tests.clusters import Cluster
from tests.hands import Hands, actuator
from tests.processes import run, until, worker
from tests.served import served
from topics.actions import COMMANDS, RESULTS, Command, Result, SignedCommand
from topics.approvals import Approval, subject
from topics.codec import decode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.proposals import Proposal
from topics.refusals import REFUSALS, Refusal
from topics.spec import Record, Topic, derive
from topics.verdicts import RESULT, VERDICTS, Effect

pytestmark = [pytest.mark.drill, pytest.mark.timeout(180)]

LOOSE = {"concurrency": 100, "blast_share": 1.0, "per_scope": 1_000, "per_site": 1_000}
replace = msgspec.structs.replace


class Stage:
    """A loop worker, an actuator that counts, and people with keys."""

    def __init__(self, broker: Broker, home: Path, hands: Hands) -> None:
        self.broker, self.hands = broker, hands
        self.keys = Keys(home)
        self.me = getpass.getuser()
        self.count = 0

    def said(self, topic: Topic) -> list[Any]:
        return [decode(raw).record for raw in read_all(self.broker, [topic.name])]

    def publish(self, *records: Record) -> None:
        with Publisher(self.broker) as publisher:
            for record in records:
                publisher.send(record)

    def ask(self, **changes: Any) -> Decision:
        """A decision that waits for votes, on a target of its own."""
        self.count += 1
        target = f"shop/service{self.count}/0"
        proposed = proposal(id=f"ask{self.count}", ts=now_ms(), target=target, incident="", **changes)
        self.publish(self.signed(proposed))
        identity = derive("decision", proposed.id)
        return until(lambda: next((d for d in self.said(DECISIONS) if d.id == identity), None))  # type: ignore[no-any-return]

    def signed(self, proposed: Proposal, by: str = "") -> Proposal:
        """Under the key of who asks, of a worker for agents of Opsloop's own, or of somebody else."""
        name = by or proposed.requester
        return sign_proposal(proposed, self.keys.own(WORKER if name in OURS else name))

    def vote(self, of: Decision, by: str = "ana", signer: str = "", **changes: Any) -> Approval:
        proposed = of.proposal
        fields: dict[str, Any] = {
            "id": derive("approval", of.id, by), "decision": of.id, "system": "shop", "ts": now_ms(), "voter": by,
            "vote": "approve", "reason": "", "expires": of.expires + 60_000,
            "subject": subject(of.id, proposed.action, proposed.target, proposed.parameters, proposed.requester),
        }  # fmt: skip
        return sign_vote(Approval(**fields | changes), self.keys.own(signer or by))

    def command(self, **changes: Any) -> Command:
        self.count += 1
        now = now_ms()
        fields: dict[str, Any] = {
            "id": f"c{self.count}", "decision": f"d{self.count}", "incident": "", "ts": now,
            "action": "restart_service", "target": f"shop/service{self.count}/0", "parameters": {},
            "expires": now + 30_000, "audience": "supervisor/shop", "epoch": now, "requester": "decide",
            "confidence": 0.99,
        }  # fmt: skip
        return Command(**fields | changes)

    def seal(self, command: Command, signer: str = WORKER) -> SignedCommand:
        return seal(command, self.keys.own(signer))

    def refused(self, code: str, count: int) -> None:
        """Wait until so many refusals with this code are told, on their topic or as results."""

        def told() -> bool:
            codes = [r.code for r in self.said(REFUSALS)]
            codes += [r.detail.split(":")[0] for r in self.said(RESULTS) if r.outcome == "refused"]
            return codes.count(code) >= count

        until(told, 20, lambda: str([(r.code, r.detail) for r in self.said(REFUSALS)][-8:]))


@pytest.fixture
def stage(cluster: Cluster, home: Path, tmp_path: Path) -> Iterator[Stage]:
    keys = enrol(home)
    for name, roles in (
        ("ana", (Role.APPROVER, Role.LEAD)), ("ben", (Role.APPROVER,)), ("vera", (Role.VIEWER,)),
        ("olaf", (Role.OPERATOR, Role.ADMIN)), ("lea", (Role.LEAD,)), ("gone", (Role.APPROVER,)),
    ):  # fmt: skip
        keys.add(name, roles)
    Keys(home / "elsewhere").add("ana", (Role.APPROVER, Role.LEAD))
    env = {f"OPSLOOP_SAFETY__{name.upper()}": str(value) for name, value in LOOSE.items()}
    hands = Hands(tmp_path / "effects")
    safety = SafetySettings(**LOOSE)  # type: ignore[arg-type]
    with worker("loop", cluster.broker, env={**os.environ, **env}), actuator(cluster.broker, home, hands, safety):
        yield Stage(cluster.broker, home, hands)


def test_i7_no_attack_on_votes_or_commands_has_an_effect(stage: Stage, home: Path) -> None:
    attempted = _attack_votes(stage, home) + _attack_commands(stage)
    assert stage.hands.effects() == []
    assert [d for d in stage.said(DECISIONS) if d.state is DecisionState.APPROVED] == []
    proposed = stage.ask()
    stage.publish(stage.vote(proposed))
    until(stage.hands.effects, 20, lambda: str(stage.said(REFUSALS)[-3:]))
    order = next(o for o in stage.said(COMMANDS) if o.target == proposed.proposal.target)
    stage.publish(*[order] * 5, *[stage.vote(proposed)] * 3, stage.vote(proposed, "ben"))
    attempted += 9
    until(lambda: sum(r.command == order.id for r in stage.said(RESULTS)) >= 6)
    stage.refused("late", 4)
    assert [effect.command for effect in stage.hands.effects()] == [order.id]
    print(f"attempted {attempted}, accepted 0; then one vote, one effect")


def test_i7_no_proposal_in_a_false_name_is_ever_waited_for_and_nobody_approves_their_own(
    stage: Stage, home: Path
) -> None:
    """Whoever can write to the topic of proposals could else name another, and then vote for what they want."""
    attempted = _attack_proposals(stage, home)
    assert stage.said(DECISIONS) == []
    assert stage.hands.effects() == []
    own = stage.ask(requester="lea")  # in one's own name it waits, and one's own vote does not count
    stage.publish(stage.vote(own, "lea"))
    stage.refused("self_approval", 1)
    before = _count(stage, "forged")
    stage.publish(own.proposal, replace(own.proposal, requester="olaf"))  # again, and as another's
    stage.refused("repeated", 1)
    stage.refused("forged", before + 1)
    stage.publish(stage.vote(own, "ana"))
    until(stage.hands.effects, 20, lambda: str(stage.said(REFUSALS)[-3:]))
    time.sleep(1.0)
    assert [effect.target for effect in stage.hands.effects()] == [own.proposal.target]
    assert {d.id for d in stage.said(DECISIONS)} == {own.id}
    kept = "".join(run("audit", "show", "--broker", stage.broker.bootstrap, "--last", "200",
                       env={"OPSLOOP_HOME": str(home)}).out)  # fmt: skip
    assert all(code in kept for code in ("wrong_requester", "forged", "unsigned", "repeated"))
    print(f"attempted {attempted + 3}, accepted 0; then one vote of another, one effect")


def _attack_proposals(stage: Stage, home: Path) -> int:
    stage.keys.revoke("gone")
    now, elsewhere = now_ms(), Keys(home / "elsewhere").own("ana")
    proposed = proposal(id="proposal", ts=now, target="shop/victim/0", incident="", requester="olaf", confidence=0.0)
    alone = replace(proposed, requester="decide", confidence=0.99)  # what an agent of ours would be sure of
    good = stage.signed(proposed)
    attacks = {
        "unsigned": [proposed, alone, replace(good, signature=b""), replace(good, key="")],
        "wrong_requester": [
            stage.signed(proposed, "lea"),
            stage.signed(alone, "lea"),
            stage.signed(alone, "olaf"),
            stage.signed(replace(proposed, requester="uphold"), "lea"),
            stage.signed(proposed, "decide"),
            stage.signed(replace(proposed, requester="trust", action="grant_autonomy", target="shop"), "lea"),
        ],
        "forged": [
            replace(good, requester="lea"),
            replace(good, target="shop/other/0"),
            replace(good, confidence=0.99),
            replace(good, action="scale_out"),
            replace(good, parameters={"replicas": "3"}),
            replace(good, id="another"),
            replace(good, expires=now + 10**7),
            replace(good, signature=b"x" * 64),
        ],
        "unknown_key": [sign_proposal(replace(proposed, requester="ana"), elsewhere)],
        "revoked": [stage.signed(replace(proposed, requester="gone"))],
        "wrong_role": [
            stage.signed(replace(proposed, requester="vera")),
            stage.signed(replace(proposed, requester="ben")),
        ],
        "expired": [
            stage.signed(replace(proposed, ts=now - PROPOSAL_TTL_MS)),
            stage.signed(replace(proposed, ts=now + 3_600_000)),
            stage.signed(replace(proposed, expires=now + 10**8)),
        ],
    }
    for code, proposals in attacks.items():
        stage.publish(*proposals)
        stage.refused(code, len(proposals))
    return sum(len(proposals) for proposals in attacks.values())


def _attack_votes(stage: Stage, home: Path) -> int:
    stage.keys.revoke("gone")
    elsewhere = Keys(home / "elsewhere").own("ana")
    first, second = stage.ask(), stage.ask()
    own, leads = stage.ask(requester="ana"), stage.ask(confidence=0.8)
    now = now_ms()
    attacks = {
        "unsigned": [replace(stage.vote(first), signature=b""), replace(stage.vote(first), key="", signature=b"")],
        "forged": [
            replace(stage.vote(first), reason="another"), replace(stage.vote(first), signature=b"x" * 64),
            replace(stage.vote(first, vote="reject"), vote="approve"), replace(stage.vote(second), decision=first.id),
        ],
        "unknown_key": [sign_vote(stage.vote(first), elsewhere)],
        "revoked": [stage.vote(first, "gone")],
        "wrong_voter": [stage.vote(first, "ana", signer="vera")],
        "wrong_role": [stage.vote(first, "vera"), stage.vote(first, "olaf"), stage.vote(leads, "ben")],
        "self_approval": [stage.vote(own, "ana")],
        "altered": [stage.vote(first, subject=stage.vote(second).subject), stage.vote(first, subject="")],
        "expired": [
            stage.vote(first, expires=now - 1), stage.vote(first, ts=now + 3_600_000),
            stage.vote(first, expires=now + 10**9),
        ],
    }  # fmt: skip
    for code, votes in attacks.items():
        stage.publish(*votes)
        stage.refused(code, len(votes))
    return sum(len(votes) for votes in attacks.values())


def _attack_commands(stage: Stage) -> int:
    good, now = stage.command(), now_ms()
    waiting = stage.ask()
    bound = stage.command(decision=waiting.id, target=waiting.proposal.target)
    orders: dict[str, list[SignedCommand]] = {
        "unsigned": [replace(stage.seal(good), signature=b"")],
        "forged": [
            replace(stage.seal(good), signature=b"\0" * 64),
            replace(stage.seal(good), body=stage.seal(stage.command()).body),
        ],
        "wrong_role": [stage.seal(stage.command(), "ana"), stage.seal(stage.command(), "olaf")],
        "altered": [
            replace(stage.seal(good), target="shop/other/0"),  # the envelope names another target
            # a vote for another target, under a good signature of the worker
            stage.seal(replace(bound, target="shop/other/0", approvals=(stage.vote(waiting),))),
        ],
        "unapproved": [
            stage.seal(stage.command()),
            stage.seal(replace(bound, id="c-no", approvals=(stage.vote(waiting, vote="reject"),))),
        ],
        "wrong_audience": [stage.seal(stage.command(audience="supervisor/bank"))],
        "expired": [
            stage.seal(stage.command(expires=now - 1)), stage.seal(stage.command(expires=now + 3_600_000)),
            stage.seal(stage.command(ts=now + 60_000, expires=now + 90_000)),
        ],
    }  # fmt: skip
    self_voted = stage.command(requester="ana")
    asked = stage.ask(requester="ana")
    self_voted = replace(self_voted, decision=asked.id, target=asked.proposal.target)
    orders["self_approval"] = [stage.seal(replace(self_voted, approvals=(stage.vote(asked),)))]
    before = {code: _count(stage, code) for code in orders}
    for code, sent in orders.items():
        stage.publish(*sent)
        stage.refused(code, before[code] + len(sent))
    return sum(len(sent) for sent in orders.values())


def _count(stage: Stage, code: str) -> int:
    told = [r.code for r in stage.said(REFUSALS) if isinstance(r, Refusal)]
    told += [r.detail.split(":")[0] for r in stage.said(RESULTS) if isinstance(r, Result) and r.outcome == "refused"]
    return told.count(code)


def test_who_votes_is_told_what_became_of_it(stage: Stage, home: Path) -> None:
    proposed, env, address = stage.ask(), {"OPSLOOP_HOME": str(home)}, ("--broker", stage.broker.bootstrap)
    looking = run("approve", proposed.id, "--as", "vera", *address, env=env)
    assert looking.process.returncode == 1, (looking.told(), stage.said(REFUSALS))
    assert "wrong_role, vera is no approver" in looking.told()
    voting = run("approve", proposed.id, "--as", "ben", *address, env=env)
    assert voting.process.returncode == 0, voting.told()
    assert "it is approved" in voting.told()
    until(stage.hands.effects, 20)
    (verdict,) = until(lambda: stage.said(VERDICTS), 30)
    assert (verdict.decision, verdict.effect, verdict.basis) == (proposed.id, Effect.REMEDIATED, RESULT)
    story = "".join(run("audit", "show", *address, env=env).out)
    assert "wrong_role" in story


def test_i7_by_http_a_token_makes_nobody_an_approver_and_one_vote_has_one_effect(stage: Stage, home: Path) -> None:
    with served(stage.broker, home) as client:
        asked = client.ask("POST", "/proposals", "olaf", {"action": "restart_service", "target": "shop/asked/0"})
        own = client.ask("POST", "/proposals", "lea", {"action": "restart_service", "target": "shop/own/0"})
        votes = f"/decisions/{asked.json['decision']}/votes"
        until(lambda: len(client.read_model.decisions) == 2, 20, lambda: str(stage.said(REFUSALS)))
        refused = [
            client.ask("POST", votes, "vera", {"vote": "approve"}),
            client.ask("POST", votes, "olaf", {"vote": "approve"}),
            client.ask("POST", votes, "", {"vote": "approve"}),
            client.ask("POST", f"/decisions/{own.json['decision']}/votes", "lea", {"vote": "approve"}),
        ]
        assert [(a.status, a.json["code"]) for a in refused] == [
            (403, "wrong_role"), (403, "wrong_role"), (401, "no_token"), (409, "self_approval"),
        ]  # fmt: skip
        assert stage.hands.effects() == []
        counted = client.ask("POST", votes, "ben", {"vote": "approve", "reason": "seen it before"})
        assert (counted.status, counted.json["state"], counted.json["voters"]) == (200, "approved", ["ben"])
        until(stage.hands.effects, 20)
        again = client.ask("POST", votes, "ana", {"vote": "approve"})
        assert (again.status, again.json["code"]) == (409, "late")
    time.sleep(1.0)
    assert [effect.target for effect in stage.hands.effects()] == ["shop/asked/0"]
    print(f"attempted {len(refused) + 1}, accepted 0; then one vote, one effect")
