"""Following incidents: only news counts."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from models.incidents.following import OVER_KEPT, Following
from tests.builders import incident
from topics.incidents import Incident, State

LIFE = (State.TRIGGERED, State.TRIGGERED, State.MITIGATING, State.VERIFYING, State.RESOLVED)


def life(identity: str = "i1") -> list[Incident]:
    return [incident(id=identity, seq=seq, state=state) for seq, state in enumerate(LIFE)]


def test_the_newest_state_stands_and_a_repeat_is_no_news() -> None:
    book = Following()
    first, second, *_ = life()
    assert book.follow(first)
    assert not book.follow(first)
    assert book.follow(second)
    assert not book.follow(first)
    assert book.open == {"i1": second}


@given(st.randoms(use_true_random=False))
def test_no_order_and_no_repeats_of_records_open_an_incident_that_is_over(rng: random.Random) -> None:
    told = life() * 2
    rng.shuffle(told)
    book = Following()
    for record in told:
        book.follow(record)
    assert book.open == {}
    assert book.over == {"i1": len(LIFE) - 1}


def test_an_incident_that_returns_is_open_again() -> None:
    book = Following()
    for record in life():
        book.follow(record)
    assert book.follow(incident(seq=5, step="return"))
    assert list(book.open) == ["i1"]
    assert book.over == {}


def test_the_memory_of_what_is_over_has_a_bound() -> None:
    book = Following()
    for number in range(OVER_KEPT + 50):
        book.follow(incident(id=f"i{number}", state=State.RESOLVED))
    assert len(book.over) == OVER_KEPT
    assert f"i{OVER_KEPT + 49}" in book.over
