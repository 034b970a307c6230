"""What a wrong value could have been, for any type of settings."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec
import pytest

from app.choices import choices


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    colour: Colour = Colour.RED
    side: Literal["left", "right"] | None = None


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    many: dict[str, tuple[Inner, ...]] = {}
    one: Inner | None = None
    on: bool = False
    count: int = 0
    other: str = msgspec.field(default="", name="another")


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"onn": True}, "Did you mean on? the file takes many, one, on, count, another"),
        ({"other": "x"}, "Did you mean another? the file takes many, one, on, count, another"),
        ({"zzz": 1}, "the file takes many, one, on, count, another"),
        ({"one": {"color": "red"}}, "Did you mean colour? [one] takes colour, side"),
        ({"one": {"colour": "gren"}}, "Did you mean green? [one.colour] takes red, green"),
        ({"one": {"side": "up"}}, "[one.side] takes left, right"),
        ({"many": {"a": [{}, {"colour": "blue"}]}}, "[many[...][1].colour] takes red, green"),
        ({"on": "perhaps"}, "[on] takes true, false"),
        ({"count": "several"}, ""),
        ({"one": 3}, ""),
    ],
)
def test_the_choices_of_a_place_are_named(tree: dict[str, Any], told: str) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(tree, Outer, strict=False)
    assert choices(error.value, Outer) == told
