"""The head of a policy file."""

from __future__ import annotations

import pytest

from models.policy.base import Enforcement, PolicyFault, PolicyKind
from models.policy.header import read
from tests.rules import rule

DAY = 86_400_000


def test_everything_in_a_head_is_read() -> None:
    source = rule(
        name="cost_cap", kind="cost", scope="shop/catalog", actions=["scale_out"], enforcement="gradual", percent=25,
        since="1970-01-02", until="1970-01-03", overrides="costs", overridable=True, valid_until="1970-01-05",
    ).replace("# custom:", "# title: A cap: on cost\n# custom:")  # fmt: skip
    header = read(source)
    assert (header.id, header.type, header.owner, header.scope) == (
        "cost_cap",
        PolicyKind.COST,
        "tests",
        "shop/catalog",
    )
    assert header.enforcement is Enforcement.GRADUAL
    assert (header.percent, header.since, header.until, header.valid_until) == (25, DAY, 2 * DAY, 4 * DAY)
    assert (header.overrides, header.overridable, header.actions) == ("costs", True, {"scale_out"})
    assert header.title == "A cap: on cost"


WRONG = {
    "no package": ("allow := true", "no package"),
    "no metadata": ("package opsloop.probe\n", "METADATA"),
    "an unknown kind": (rule(kind="magic"), "magic"),
    "an unknown key": (rule(colour="red"), "colour"),
    "another package": (rule().replace("package opsloop.probe", "package opsloop.other"), "opsloop.probe"),
    "a name that is none": (rule(name="Bad-Name"), "Bad-Name|id"),
    "a date that is none": (rule(since="soon"), "soon"),
    "a share above all": (rule(percent=101), "percent"),
    "no owner": (rule().replace("#   owner: tests\n", ""), "owner"),
    "a line that is no key": (rule().replace("# custom:", "# hello\n# custom:"), "hello"),
    "a policy that overrides itself": (rule(overrides="probe"), "itself"),
}


@pytest.mark.parametrize(("source", "word"), WRONG.values(), ids=WRONG)
def test_a_wrong_head_is_refused_with_what_is_wrong(source: str, word: str) -> None:
    with pytest.raises(PolicyFault, match=word):
        read(source)


def test_comments_before_the_block_are_not_part_of_it() -> None:
    assert read("# (c) us\n\n" + rule()).id == "probe"
