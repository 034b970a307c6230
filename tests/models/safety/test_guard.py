"""The last verifier: what an actuator refuses although everybody before it has let it through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.safety.guard import LONGEST_MS, Guard, Past
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.safety.signing import Refused, encoding, seal
from tests.builders import CATALOG, NOW, approval, command, decision, order, proposal
from tests.keys import RING, WORKER_KEY, key_of
from topics.actions import Command, SignedCommand

ALONE = SafetySettings(mode=Mode.AUTONOMOUS, per_scope=5, per_site=8)
PROPOSAL = decision(proposed=proposal(id="p1"))


def guard(settings: SafetySettings = ALONE) -> Guard:
    return Guard(RING, settings, "supervisor/shop")


def refused(of: Command, past: Sequence[Past] = (), settings: SafetySettings = ALONE, now: int = NOW) -> str:
    with pytest.raises(Refused) as error:
        guard(settings).check(of, past, now)
    return error.value.code


def voted(*voters: str, **changes: Any) -> Command:
    """A command for the decision that was voted on."""
    return command(decision=PROPOSAL.id, approvals=tuple(approval(PROPOSAL, voter) for voter in voters), **changes)


def past(number: int, target: str = CATALOG, ts: int = NOW - 60_000, epoch: int = 1) -> Past:
    return Past(id=f"past{number}", target=target, ts=ts, epoch=epoch)


def test_an_actuator_counts_by_safety_scope_as_the_gate_does() -> None:
    settings = msgspec.structs.replace(ALONE, limit_scopes={"web-*": "web"}, cooldown_ms=0)
    before = [past(number, f"web-{number}") for number in range(5)]
    of = command(target="web-9")
    assert refused(of, before, settings) == "budget_exhausted"
    guard(msgspec.structs.replace(ALONE, cooldown_ms=0)).check(of, before, NOW)


def test_a_good_order_is_opened_and_may_run() -> None:
    opened = guard().open(order())
    assert opened == command()
    guard().check(opened, (), NOW)


@given(st.data())
def test_no_bit_of_an_order_can_be_changed(data: st.DataObject) -> None:
    good = order()
    part = data.draw(st.sampled_from(["body", "signature"]))
    content = bytearray(bytes(getattr(good, part)))
    place = data.draw(st.integers(0, len(content) * 8 - 1))
    content[place // 8] ^= 1 << place % 8
    changed = msgspec.Raw(bytes(content)) if part == "body" else bytes(content)
    with pytest.raises(Refused, match="forged"):
        guard().open(msgspec.structs.replace(good, **{part: changed}))


def test_a_signature_of_another_kind_of_payload_is_no_command() -> None:
    body = msgspec.json.encode(command())
    for kind in ("opsloop.approval/1", "opsloop.setting/1", "opsloop.command/2"):
        made = SignedCommand(id="c1", target=CATALOG, ts=NOW, key=WORKER_KEY.key, body=msgspec.Raw(body),
                     signature=WORKER_KEY.sign(encoding(kind, body)))  # fmt: skip
        with pytest.raises(Refused, match="forged"):
            guard().open(made)


def test_who_is_no_worker_gives_no_commands() -> None:
    with pytest.raises(Refused, match="wrong_role"):
        guard().open(seal(command(), key_of("ana")))
    with pytest.raises(Refused, match="altered"):
        guard().open(msgspec.structs.replace(order(), target="shop/store/0"))


def test_no_two_payloads_have_one_encoding() -> None:
    assert encoding("a", b"b c") != encoding("a b", b"c")
    assert encoding("type", b"body") == b"DSSEv1 4 type 4 body"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"audience": "supervisor/bank"}, "wrong_audience"),
        ({"audience": ""}, "wrong_audience"),
        ({"expires": NOW - 1}, "expired"),
        ({"expires": NOW + LONGEST_MS + 1}, "expired"),
        ({"ts": NOW + 5_001, "expires": NOW + 20_000}, "expired"),
        ({"confidence": 0.5}, "unapproved"),
        ({"role": "lead", "quorum": 1}, "unapproved"),
    ],
)
def test_what_it_refuses_of_the_command_itself(changes: dict[str, Any], code: str) -> None:
    assert refused(command(**changes)) == code


def test_its_own_mode_counts_and_not_what_the_gate_thought() -> None:
    asking = SafetySettings()
    assert refused(command(confidence=1.0), settings=asking) == "unapproved"
    guard(asking).check(voted("ben"), (), NOW)
    for mode in (Mode.OBSERVE, Mode.SUGGEST):
        assert refused(voted("ben"), settings=SafetySettings(mode=mode)) == "mode"
    scoped = SafetySettings(mode=Mode.AUTONOMOUS, scopes={"shop/catalog": Mode.OBSERVE})
    assert refused(command(), settings=scoped) == "mode"


def test_votes_are_looked_at_again() -> None:
    two = SafetySettings(quorum=2)
    guard(two).check(voted("ana", "ben"), (), NOW)
    assert refused(voted("ben"), settings=two) == "unapproved"
    assert refused(voted("ben", "ben"), settings=two) == "unapproved", "one person twice"
    assert refused(voted("ben", "vera"), settings=two) == "wrong_role"
    assert refused(voted("ben", "cem", target="shop/store/0"), settings=two) == "altered"
    assert refused(voted("ben", "cem", parameters={"replicas": "3"}), settings=two) == "altered"
    assert refused(voted("ben", "cem", expires=NOW + 200_000, ts=NOW + 190_000), settings=two, now=NOW + 195_000) == (
        "expired"
    )
    own = decision(proposed=proposal(requester="ben"))
    mine = command(decision=own.id, requester="ben", approvals=(approval(own, "ben"),))
    assert refused(mine, settings=SafetySettings()) == "self_approval"
    no = command(decision=PROPOSAL.id, approvals=(approval(PROPOSAL, "ben", "reject"),))
    assert refused(no, settings=SafetySettings()) == "unapproved"


def test_what_the_policy_asked_for_is_asked_for_here_too() -> None:
    lead = {"role": "lead", "quorum": 1}
    guard().check(voted("ana", **lead), (), NOW)
    assert refused(voted("ben", **lead)) == "wrong_role"
    assert refused(voted("ana", role="lead", quorum=2)) == "unapproved"


def test_i12_an_older_epoch_is_never_obeyed_after_a_newer_one() -> None:
    newer = past(1, "shop/catalog", epoch=NOW + 1)
    assert refused(command(), [newer]) == "stale_epoch"
    assert refused(command(epoch=NOW + 1), [newer]) == "stale_epoch"
    guard().check(command(epoch=NOW + 2), [newer], NOW)
    guard().check(command(target="shop/store/0"), [newer], NOW)


@pytest.mark.parametrize(
    ("begun", "code"),
    [
        ([past(1, ts=NOW - 9_999)], "recently_remediated"),
        ([past(n, ts=NOW - 60_000 + n) for n in range(3)], "budget_exhausted"),
        ([past(n, f"shop/s{n}/0") for n in range(5)], "budget_exhausted"),
        ([past(n, f"bank/s{n}/0") for n in range(8)], "budget_exhausted"),
    ],
    ids=["cooldown", "target", "system", "site"],
)
def test_i11_limits_are_counted_here_too(begun: list[Past], code: str) -> None:
    assert refused(command(), begun) == code
    later = command(ts=NOW + ALONE.window_ms, expires=NOW + ALONE.window_ms + 30_000, epoch=NOW * 2)
    guard().check(later, begun, NOW + ALONE.window_ms)
