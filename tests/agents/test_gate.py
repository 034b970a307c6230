"""The gate believes no proposal that is not by whom it says, and answers each one once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.gate import Gate
from models.policy.engine import Policies
from models.policy.rego import Rego
from models.safety.approval import LONGEST_MS, SKEW_MS
from models.safety.settings import SafetySettings
from models.safety.signing import PROPOSAL_TTL_MS, sign_proposal
from tests.builders import NOW, decision, proposal, reads, signed
from tests.keys import RING, WORKER_KEY, key_of
from tests.rules import GRANT, rule
from topics.codec import decode_value, encode
from topics.decisions import Decision, DecisionState
from topics.proposals import PROPOSALS, Proposal
from topics.refusals import Refusal
from topics.spec import Origin, Read

replace = msgspec.structs.replace
HERS = proposal(requester="ada", incident="", confidence=0.0)


def gate() -> Gate:
    return Gate(SafetySettings(), WORKER_KEY, RING, Policies(Rego(), [rule(GRANT, "grant", "access")]))


def told(asked: Gate, *proposals: Proposal, now: int = NOW, start: int = 0) -> list[Any]:
    return list(asked.step(reads(proposals, start), now))


GOOD = {
    "of an agent of ours": signed(),
    "of a person": signed(HERS),
    "of a worker itself": signed(requester="opsloop-worker"),
    "with whole numbers where there may be fractions": signed(confidence=1, context={"load": 2}),
    "for as long as is allowed": signed(expires=NOW + LONGEST_MS),
    "by a clock that is ahead": signed(ts=NOW + SKEW_MS),
}


@pytest.mark.parametrize("proposed", GOOD.values(), ids=GOOD)
def test_a_proposal_by_whom_it_says_is_answered_also_after_its_way_over_the_broker(proposed: Proposal) -> None:
    read = decode_value(PROPOSALS, encode(proposed).value)
    (answer,) = told(gate(), read)  # type: ignore[arg-type]
    assert (type(answer), answer.state) == (Decision, DecisionState.PENDING)


BAD = {
    "unsigned": [proposal(), replace(signed(), signature=b""), replace(signed(), key="")],
    "unknown_key": [signed(requester="eve")],
    "forged": [
        replace(signed(), **{field: value})
        for field, value in {
            "id": "p2", "ts": NOW + 1, "action": "scale_out", "target": "shop/cart/0", "parameters": {"a": "b"},
            "requester": "uphold", "confidence": 0.99, "cause": "x", "reasons": ("x",), "rule": "x", "incident": "i2",
            "attempt": 1, "kind": "scaling", "context": {"load": 1.0}, "propensity": 0.5, "expects": "up",
            "expires": NOW + PROPOSAL_TTL_MS + 1, "signature": b"x" * 64, "key": key_of("ada").key,
        }.items()
    ],
    "wrong_requester": [
        signed(by="ada"), signed(HERS, by="ana"), signed(HERS, by="decide"), signed(proposal(requester="trust"), "ada"),
    ],
    "wrong_role": [signed(HERS, requester="vera"), signed(HERS, requester="ben")],
    "expired": [
        signed(ts=NOW - PROPOSAL_TTL_MS), signed(ts=NOW - 10, expires=NOW), signed(ts=NOW + SKEW_MS + 1),
        signed(expires=NOW + LONGEST_MS + 1),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "proposed"), [(code, proposed) for code, proposals in BAD.items() for proposed in proposals]
)
def test_a_proposal_that_is_not_believed_is_refused_with_the_reason_and_takes_no_name(
    code: str, proposed: Proposal
) -> None:
    asked = gate()
    (refused,) = told(asked, proposed)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.domain, refused.who) == (code, "main", proposed.requester)
    assert refused.origin == "opsloop.proposals-0-0"
    (answer,) = told(asked, signed(id=proposed.id), start=1)
    assert isinstance(answer, Decision), "who is refused does not use up the id"


def test_a_proposal_whose_owner_was_revoked_is_refused() -> None:
    RING.revoked.add("ada")
    try:
        (refused,) = told(gate(), signed(HERS))
    finally:
        RING.revoked.clear()
    assert refused.code == "revoked"


def test_a_proposal_that_is_sent_again_is_refused_and_one_that_is_read_again_is_passed_over() -> None:
    asked = gate()
    (answer,) = told(asked, signed())
    assert told(asked, signed()) == [], "the same record, after a rebalance"
    (refused,) = told(asked, signed(), start=1)
    assert (refused.code, refused.detail) == ("repeated", f"it was answered as {answer.id}, from offset 0")
    again = gate()
    again.restore(asked.snapshot())
    assert [r.code for r in told(again, signed(), start=2)] == ["repeated"], "it survives a restart"


def test_a_proposal_known_from_its_decision_alone_is_no_repeat_when_it_is_read() -> None:
    """A worker that ended between saying a decision and keeping its state reads both again."""
    asked = gate()
    assert list(asked.step(reads([decision(DecisionState.PENDING, signed())]), NOW)) == []
    assert told(asked, signed()) == []
    assert [r.code for r in told(asked, signed(), start=1)] == ["repeated"]


def test_what_was_refused_and_read_again_is_refused_in_the_same_words() -> None:
    asked = gate()
    read = Read(proposal(), Origin(PROPOSALS.name, 0, 3), NOW)
    assert list(asked.step([read], NOW)) == list(asked.step([read], NOW))


def test_a_signature_is_the_same_each_time_so_that_a_repeat_is_one() -> None:
    assert sign_proposal(proposal(), WORKER_KEY) == signed()
