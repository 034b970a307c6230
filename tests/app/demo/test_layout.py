"""The files of a site, without its processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.demo import plan
from app.demo.layout import BOOT, Layout, Line
from app.demo.site import effects
from topics.telemetry import Event


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.roll_out("cart", plan.CONFIGS["cart"], BOOT, "first")
    return layout


def test_a_rollback_returns_to_the_parent_and_the_next_roll_out_gets_a_new_number(layout: Layout) -> None:
    assert layout.parent("cart") == 0
    assert layout.roll_out("cart", plan.Config(delay_ms=900, concurrency=1), "fault:slow", "bad") == 2
    assert layout.parent("cart") == 1
    layout.point("cart", 1, "c1", "back")
    assert (layout.pointer("cart").revision, layout.parent("cart")) == (1, 0)
    assert layout.roll_out("cart", plan.Config(delay_ms=5, concurrency=1), "ada", "good") == 3
    assert layout.parent("cart") == 1
    assert layout.config("cart", 2).delay_ms == 900


def test_a_pointer_tells_who_moved_it_since_it_was_last_looked_at(layout: Layout) -> None:
    seen = layout.pointer("cart")
    assert seen.since(seen.moves) == ()
    for n in range(60):
        layout.point("cart", 1, f"c{n}", "again")
        assert layout.pointer("cart").since(layout.pointer("cart").moves - 1) == (f"c{n}",)
    assert layout.pointer("cart").since(seen.moves + 57) == ("c57", "c58", "c59")


def test_a_change_of_configuration_is_an_event_with_what_ran_before(layout: Layout) -> None:
    layout.roll_out("cart", plan.Config(delay_ms=900, concurrency=1), "fault:slow", "bad")
    (event,) = _events(layout)
    assert (event.entity, event.kind, event.revision, event.previous) == ("shop/cart", "config_change", "2", "1")


def test_a_cause_is_taken_once(layout: Layout) -> None:
    layout.hand_cause("cart-0", "c1")
    assert layout.handed("cart-0", "c1") is not None
    assert layout.handed("cart-0", "c2") is None
    assert (layout.cause("cart-0"), layout.take_cause("cart-0"), layout.take_cause("cart-0")) == ("c1", "c1", "unknown")


def test_effects_are_grouped_by_cause_and_leave_out_faults_and_the_first_start(layout: Layout) -> None:
    for event, instance, cause in (
        ("start", 0, BOOT), ("fault", 0, "fault:leak"), ("config", 0, "fault:slow"),
        ("stop", 0, "c1"), ("start", 0, "c1"),
        ("config", 0, "c2"), ("config", 1, "c2"),
        ("start", 0, "unknown"), ("start", 0, "unknown"),
    ):  # fmt: skip
        layout.write(Line(1, event, "cart", instance, 7, 1, cause))  # type: ignore[arg-type]
    found = [(e.cause, e.events, e.instances, e.times) for e in effects(layout)]
    assert found == [
        ("c1", ("stop", "start"), (0,), 1),
        ("c2", ("config",), (0, 1), 1),
        ("unknown", ("start",), (0,), 2),
    ]


def test_a_line_that_is_still_being_written_is_not_read_yet(layout: Layout) -> None:
    layout.write(Line(1, "start", "cart", 0, 7, 1, "c1"))
    with layout.journal.open("ab") as file:
        file.write(b'{"ts":2,"event":"st')
    assert len(layout.read_journal()) == 1


@pytest.mark.parametrize("target", ["cart", "shop/vault", "shop/cart/x", "bank/cart", "shop/cart/-1"])
def test_a_target_outside_the_site_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="is not of the site"):
        plan.parts(target)


def _events(layout: Layout) -> list[Event]:
    from app.demo import files

    return files.lines(layout.events, Event)
