"""The pattern language of entities, and the names that patterns give to groups of them."""

from __future__ import annotations

import pytest

from topics.patterns import covers, examples, fault, named, narrowest, rules_of


@pytest.mark.parametrize("pattern", ["shop", "shop/", "shop/*", "sh?p", "s*", "*", "*/*", "[rs]hop/**"])
def test_a_pattern_means_what_it_matches_and_all_within(pattern: str) -> None:
    assert [covers(pattern, entity) for entity in ("shop", "shop/catalog", "shop/catalog/0")] == [True] * 3


@pytest.mark.parametrize(
    ("pattern", "entity"),
    [("shop", "shopping"), ("shop/*", "shopping/cart"), ("shop/cat*", "shop/cart"), ("shop/cat*", "shop"),
     ("web-?", "web-12"), ("*/catalog", "shop/cart"), ("[!s]*", "shop")],
)  # fmt: skip
def test_a_pattern_means_nothing_else(pattern: str, entity: str) -> None:
    assert not covers(pattern, entity)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [("", "write \\* for everything"), ("/shop", "no part of an entity's name is empty"), ("a//b", "is empty"),
     (" shop", "no blank"), ("shop\n", "no blank"), ("x" * 257, "at most 256"), ("[b-a]", "lower end first")],
)  # fmt: skip
def test_a_pattern_that_can_match_nothing_is_refused_with_the_remedy(pattern: str, why: str) -> None:
    assert fault(pattern)
    with pytest.raises(ValueError, match=why):
        rules_of({pattern: "x"}, parts=2)


@pytest.mark.parametrize("pattern", ["*", "shop", "shop/", "shop/*", "web-[12]", "shop[1", "a b"])
def test_what_can_match_something_is_taken(pattern: str) -> None:
    assert fault(pattern) == ""


@pytest.mark.parametrize(
    ("names", "why"),
    [({"shop/cat*": "a"}, "'shop/cat\\*' divides what belongs together"),
     ({"*": "a", "shop": "b"}, "'shop' never counts, because '\\*' stands before it"),
     ({"shop*": "a", "shop-eu/*": "b"}, "'shop-eu' never counts"), ({"shop": "a", "shop/*": "b"}, "never counts"),
     ({"*": "{1}"}, "a name can use .0. of"), ({"*": ""}, "is no name"), ({"*": "a b"}, "is no name"),
     ({"*": "{x}"}, "is no name"), ({"*": "x" * 101}, "is no name")],
)  # fmt: skip
def test_names_that_cannot_hold_are_refused(names: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rules_of(names, parts=1)


def test_the_first_pattern_that_matches_gives_the_name() -> None:
    rules = rules_of({"shop/db*": "stores", "shop": "{0}-{1}", "web-?": "web", "we*": "x"}, parts=2)
    entities = ("shop/db2", "shop/cart", "shop", "web-1", "west", "bank/a")
    assert {entity: named(rules, entity, "{0}") for entity in entities} == {
        "shop/db2": "stores", "shop/cart": "shop-cart", "shop": "shop", "web-1": "web", "west": "x", "bank/a": "bank",
    }  # fmt: skip


def test_the_narrowest_pattern_says_most_of_a_name() -> None:
    patterns = ("*", "shop", "shop/c*", "shop/catalog", "*/catalog", "bank")
    assert narrowest(patterns, "shop/catalog/0") == ["shop/catalog"]
    assert narrowest(patterns, "shop/cart") == ["shop/c*"]
    assert narrowest(("shop", "shop/*"), "shop/cart") == ["shop", "shop/*"]
    assert narrowest(("bank",), "shop/cart") == []


def test_examples_lie_within_their_patterns() -> None:
    for pattern in ("*", "shop", "web-?", "shop/db*", "[ab]x"):
        assert examples([pattern])
        assert all(covers(pattern, entity) for entity in examples([pattern]))
