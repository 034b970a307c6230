"""Which versions hold, whoever says what in whichever order."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from models.policy.engine import Policies
from models.policy.rego import Rego
from models.safety.signing import Refused
from models.versions import MOST, Book, author, sign_version
from tests.builders import NOW, policy
from tests.keys import RING, key_of
from tests.rules import rule
from topics.policies import Policy

MINUTE = 60_000
ONE, TWO, THREE = (rule(f"default allow := true\nn := {n}") for n in (1, 2, 3))
CHECK = Policies(Rego()).check


def taken(*words: Policy) -> Book:
    book = Book()
    for word in words:
        book.take(word, RING, CHECK, NOW)
    return book


def test_the_newest_version_that_is_to_hold_holds() -> None:
    book = taken(policy(ONE, 1), policy(TWO, 2), policy(THREE, 3, active=False))
    assert book.held["probe"].source == TWO


def test_a_roll_back_is_the_newest_word_about_an_older_version() -> None:
    again = policy(ONE, 1)
    assert taken(policy(ONE, 1), policy(TWO, 2), policy(ONE, 1, ts=again.ts + 50)).held["probe"].source == ONE


def test_words_that_are_read_again_change_nothing() -> None:
    words = [policy(ONE, 1), policy(TWO, 2), policy(ONE, 1, ts=policy(ONE, 9).ts), policy(THREE, 3, active=False)]
    for order in itertools.permutations(words, 2):
        assert taken(*words, *order) == taken(*words)


def test_the_last_word_in_the_log_counts_whichever_clock_is_fast() -> None:
    """An admin whose clock is four minutes fast lets version 2 hold; another withdraws it a minute later."""
    fast = policy(TWO, 2, ts=NOW + 4 * MINUTE)
    book = taken(policy(ONE, 1), fast)
    book.take(policy(TWO, 2, by="nora", active=False, ts=NOW + MINUTE), RING, CHECK, NOW + MINUTE)
    assert book.held["probe"].source == ""
    book.take(fast, RING, CHECK, NOW + 2 * MINUTE)
    assert book.held["probe"].source == "", "somebody has sent the old word again"


def test_a_word_from_far_ahead_is_refused_with_what_is_to_be_done() -> None:
    book = taken(policy(ONE, 1))
    with pytest.raises(Refused, match=r"clock_ahead: .* set the clock"):
        book.take(policy(TWO, 2, ts=NOW + 6 * MINUTE), RING, CHECK, NOW)
    assert book == taken(policy(ONE, 1))


def test_a_word_of_long_ago_that_is_sent_again_to_who_did_not_see_it_is_refused() -> None:
    book = taken(policy(TWO, 2))
    with pytest.raises(Refused, match="outdated"):
        book.take(policy(ONE, 1, by="nora", ts=NOW - 11 * MINUTE), RING, CHECK, NOW + MINUTE)
    assert book == taken(policy(TWO, 2))


def test_what_holds_can_be_withdrawn_and_so_can_what_is_shipped() -> None:
    book = taken(policy(ONE, 1), policy(ONE, 1, active=False, ts=policy(ONE, 9).ts))
    assert book.held["probe"].source == ""
    assert taken(policy(ONE, 0, active=False)).held["probe"].source == ""


WRONG = {
    "unsigned": msgspec.structs.replace(policy(ONE), signature=b""),
    "forged": msgspec.structs.replace(policy(ONE), source=TWO),
    "wrong_voter": sign_version(msgspec.structs.replace(policy(ONE), by="ana"), key_of("ada")),
    "unknown_key": policy(ONE, by="stranger"),
    "wrong_role": policy(ONE, by="ana"),
    "invalid_policy": policy("package opsloop.probe", 2, name="probe"),
}


@pytest.mark.parametrize(("code", "word"), WRONG.items(), ids=WRONG)
def test_what_is_not_believed_changes_nothing(code: str, word: Policy) -> None:
    book = taken(policy(TWO, 1))
    with pytest.raises(Refused) as refused:
        book.take(word, RING, CHECK, NOW)
    assert refused.value.code == code
    assert book == taken(policy(TWO, 1))


def test_a_text_under_another_name_is_refused() -> None:
    with pytest.raises(Refused, match="probe"):
        taken(policy(ONE, name="other"))


def test_an_author_is_an_admin_with_a_good_key() -> None:
    assert author(policy(ONE), RING).name == "ada"


def test_one_policy_too_many_is_refused_and_none_is_forgotten() -> None:
    book = Book()
    for number in range(MOST):
        book.take(policy(ONE, name=f"p{number}"), RING, lambda _: None, NOW)
    with pytest.raises(Refused, match="policies"):
        book.take(policy(ONE, name="more"), RING, lambda _: None, NOW)
    assert len(book.held) == MOST
