"""Requests in bursts and in the long run, in virtual time."""

from __future__ import annotations

from app.api.throttle import KEPT, Throttle


def test_a_burst_is_answered_and_then_so_many_a_second() -> None:
    now = [0.0]
    throttle = Throttle(2.0, 3, lambda: now[0])
    assert [throttle.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert throttle.wait_s("b") == 0, "each address has its own"
    now[0] = 0.5
    assert [throttle.wait_s("a"), throttle.wait_s("a") > 0] == [0, True]
    now[0] = 60.0
    assert [throttle.wait_s("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_it_remembers_a_bounded_number_of_addresses() -> None:
    throttle = Throttle(1.0, 1, lambda: 0.0)
    for number in range(KEPT + 50):
        throttle.wait_s(str(number))
    assert len(throttle._left) == KEPT
    assert throttle.wait_s(str(KEPT + 49)) > 0
