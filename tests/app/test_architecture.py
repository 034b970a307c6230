"""The house as docs/architecture.md draws it is the house as it imports."""

from __future__ import annotations

from graphlib import CycleError

import pytest

from tests import house

MOST_ROOMS = 13


def test_the_picture_has_the_arrows_that_the_imports_have() -> None:
    drawn = house.PICTURE.search(house.PAGE.read_text())
    assert drawn, "docs/architecture.md has a Mermaid picture"
    assert drawn[0] == house.draw(), "draw it anew: python tests/house.py"


def test_there_are_few_rooms_above_what_all_stand_on() -> None:
    assert len(house.rooms()) <= MOST_ROOMS, sorted(house.rooms())


def test_a_circle_of_rooms_is_found() -> None:
    with pytest.raises(CycleError):
        house.reduced({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    assert house.reduced({"a": {"b", "c"}, "b": {"c"}}) == {"a": {"b"}, "b": {"c"}}


def test_every_room_of_app_is_described_on_the_page() -> None:
    page = house.PAGE.read_text()
    rooms = house.rooms() | set(house.STANDING) - house.ALONE
    assert [name for name in sorted(rooms) if f"| `{name}/` |" not in page] == []
