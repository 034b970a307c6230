"""Scopes are written as patterns of entities are everywhere, and what could match nothing is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.policy.base import PolicyFault
from models.policy.facts import target_facts
from models.policy.header import read
from models.safety.modes import Mode, mode_of
from models.safety.settings import Freeze, SafetySettings
from topics.patterns import canonical, covers, fault, narrowest

NOON = 1_767_268_800_000  # 2026-01-01, a Thursday


@pytest.mark.parametrize(("scope", "target", "covered"), [
    ("shop/*", "shop/catalog", True), ("shop/*", "shop/catalog/0", True), ("shop/*", "shop", True),
    ("shop/", "shop/catalog", True), ("*", "shop", True), ("", "shop/catalog/0", True), ("**", "a", True),
    ("*/catalog", "shop/catalog/0", True), ("*/catalog", "shop/catalogue", False), ("shop/c*", "shop/cart/1", True),
    ("shop/cart-?", "shop/cart-1/0", True), ("shop/cart-?", "shop/cart-10", False), ("shop/**", "shop/x/0", True),
    ("shop/catalog", "shop/catalogue/0", False), ("shop", "shopping", False), ("shop/*", "shopping/x", False),
    ("sh[aeiou]p", "shop/x", True), ("pod[1]", "pod[1]", True), ("pod[1]", "pod[1]/x", True), ("pod[1]", "pod1", True),
    ("web-1", "web-1", True), ("SHOP", "shop", False), ("/*", "anything", True), ("/", "anything", True),
])  # fmt: skip
def test_a_scope_is_a_path_or_a_glob_with_all_that_lies_within(scope: str, target: str, covered: bool) -> None:
    assert covers(scope, target) is covered


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=8))
def test_however_a_scope_is_written_it_covers_the_same(scope: str, target: str) -> None:
    assert covers(scope, target) == covers(canonical(scope), target)
    assert covers(scope, target) <= covers(scope, f"{target}/x")
    assert canonical(canonical(scope)) == canonical(scope)


@pytest.mark.parametrize("scope", [" shop", "shop ", "shop/\n", "/shop", "shop//cart", "sh\x1bop", "\t"])
def test_a_scope_that_can_match_nothing_is_refused_wherever_it_stands(scope: str) -> None:
    assert fault(scope)
    for settings in ({"scopes": {scope: "observe"}}, {"environments": {scope: "staging"}},
                     {"freezes": [{"cron": "0 0 * * *", "minutes": 5, "scope": scope}]}):  # fmt: skip
        with pytest.raises(msgspec.ValidationError, match="matches nothing"):
            msgspec.convert(settings, SafetySettings)
    head = "# METADATA\n# title: t\n# custom:\n#   id: a\n#   type: quota\n#   owner: o\n#   scope: "
    source = f"{head}{msgspec.json.encode(scope).decode()}\npackage opsloop.a\n"
    with pytest.raises(PolicyFault, match="matches nothing"):
        read(source)


def test_the_narrowest_scope_says_the_mode_and_of_two_alike_the_one_that_lets_least_be_done() -> None:
    scopes = {"*": Mode.AUTONOMOUS, "shop/*": Mode.OBSERVE, "shop/catalog": Mode.APPROVE, "*/search": Mode.SUGGEST,
              "shop/cart-?": Mode.ACT_AND_REPORT, "shop/?art-1": Mode.SUGGEST}  # fmt: skip
    wanted = {"bank/x": Mode.AUTONOMOUS, "shop/x/0": Mode.OBSERVE, "shop/catalog/0": Mode.APPROVE,
              "shop": Mode.OBSERVE, "bank/search/1": Mode.SUGGEST, "shop/cart-2/0": Mode.ACT_AND_REPORT,
              "shop/cart-1": Mode.SUGGEST}  # fmt: skip
    assert {target: mode_of(target, scopes, Mode.APPROVE) for target in wanted} == wanted
    assert mode_of("a", {}, Mode.APPROVE) is Mode.APPROVE
    assert narrowest(["shop", "shop/catalog"], "shop/catalog/0") == ["shop/catalog"]


def test_environments_are_of_scopes_too() -> None:
    assert target_facts("shop/x/0", {"shop/*": "staging"}).environment == "staging"
    assert target_facts("bank/x/0", {"shop/*": "staging"}).environment == "production"


@pytest.mark.parametrize("cron", [
    "0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6 *", "* * * * * *", "0 0 0 * * *", "0 0 1 1 * 2027", "R R * * *",
    "H * * * *", "60 0 * * *", "0 0 1 13 *", "", " ", "@reboot", "0 0 31 11 *",
])  # fmt: skip
def test_a_time_that_never_comes_or_is_no_time_is_refused_when_the_settings_are_read(cron: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"freezes": [{"cron": cron, "minutes": 5}]}, SafetySettings)


@pytest.mark.parametrize(
    "cron", ["0 0 29 2 *", "0 0 L 2 *", "0 0 * * 1#5", "@daily", "0 22-6 * * MON-FRI", "0 0 31 1-12 *"]
)
def test_a_time_that_comes_at_all_is_asked_at_any_time(cron: str) -> None:
    freeze = Freeze(cron, 60, "shop/*")
    held = [freeze.holds("shop/catalog", NOON + hour * 3_600_000) for hour in range(0, 24 * 365, 5)]
    assert not all(held)
    assert not freeze.holds("bank/x", NOON)


def test_a_freeze_of_a_glob_holds_for_what_it_matches() -> None:
    freeze = Freeze("0 12 * * *", 60, "shop/*")
    assert freeze.holds("shop/catalog/0", NOON)
    assert not freeze.holds("bank/catalog/0", NOON)
    assert not freeze.holds("shop/catalog/0", NOON - 60_000)
