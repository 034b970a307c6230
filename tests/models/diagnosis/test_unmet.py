"""What a rule says of an anomaly that is no symptom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.diagnosis.unmet import answers
from models.knowledge.base import Condition, read
from models.knowledge.knowledge import Knowledge
from tests.builders import NOW, sample
from topics.signals import Contribution

POND = """
[pack]
name = "pond"
kind = "pond"
entities = ["farm/*"]

[[symptoms]]
name = "dry"
when = [{ signal = "level", off = "down", least = 2.0, ratio = 0.1 }, { signal = "inflow", below = 1.0 }]
unless = ["evaporation"]
"""
KNOWN = Knowledge.of([read(POND)])
LOW, NO_INFLOW = Contribution("level", -9.0, 5.0, 10.0), Contribution("inflow", -7.0, 0.5, 3.0)
numbers = st.floats(-1e3, 1e3)


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        ([LOW, NO_INFLOW], ()),
        ([LOW], ("inflow is not off",)),
        ([NO_INFLOW, Contribution("level", 9.0, 15.0, 10.0)], ("level: it went up, and down is wanted",)),
        ([NO_INFLOW, Contribution("level", -4.0, 5.0, 10.0)],
         ("level: it is off by 4.0 standard deviations, and 6 are wanted",)),
        ([NO_INFLOW, Contribution("level", -9.0, 8.5, 10.0)], ("level: it is off by 1.5, and 2 are wanted",)),
        ([NO_INFLOW, Contribution("level", -9.0, 95.0, 100.0)],
         ("level: it is off by 5, and 10 are wanted, 0.1 of what is expected",)),
        ([LOW, Contribution("inflow", -7.0, 1.5, 3.0)], ("inflow: 1.5 is not below 1",)),
        ([LOW, NO_INFLOW, Contribution("evaporation", 8.0, 2.0, 1.0)], ("evaporation rises, which explains it",)),
        ([LOW, NO_INFLOW, Contribution("evaporation", -8.0, 0.0, 1.0)], ()),
    ],
)  # fmt: skip
def test_each_condition_says_what_it_lacks(shown: list[Contribution], missing: tuple[str, ...]) -> None:
    (answer,) = answers(sample("farm/pond", NOW, *shown), KNOWN)
    assert (answer.pack, answer.symptom, answer.missing) == ("pond", "dry", missing)


def test_a_pack_for_other_entities_says_so() -> None:
    (answer,) = answers(sample("park/pond", NOW, LOW, NO_INFLOW), KNOWN)
    assert answer.missing == ("the pack is for farm/*",)


def test_series_that_no_rule_names_have_no_answer() -> None:
    assert answers(sample("farm/pond", NOW, Contribution("frogs", 9.0, 90.0, 3.0)), KNOWN) == []


@given(
    st.builds(Condition, st.just("x"), off=st.sampled_from(["up", "down", "any", ""]), least=st.floats(0, 10),
              ratio=st.floats(0, 2), z=st.floats(0, 10), above=st.none() | numbers, below=st.none() | numbers),
    numbers, numbers, numbers,
)  # fmt: skip
def test_there_is_an_objection_exactly_where_a_condition_does_not_hold(
    condition: Condition, z: float, value: float, expected: float
) -> None:
    assert (condition.objection(z, value, expected) == "") == condition.holds(z, value, expected)
