"""Expressions: what can be written, what it is worth, and where a mistake stands."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.decode import Decode, chunk_of
from models.knowledge.base import DerivedSignal, Pack, PackHead
from models.knowledge.compiled import compiled
from models.knowledge.expression import ExpressionFault, operands, parse
from models.knowledge.knowledge import Knowledge
from tests.topics.test_rates import START, sent
from topics.batch import Batch

VALUES = {"a": 6.0, "b": 3.0, "c.d": 2.0, 'm{code="500",route="/x"}': 1.0, 'm{code="200",route="/x"}': 3.0, "z": 0.0}
RATES = {"n": 10.0, 'r{code="500"}': 1.0, 'r{code="503"}': 2.0, 'r{code="200"}': 9.0}


def worth(text: str) -> float | None:
    """What the lane makes of an expression of an entity with these values and rates."""
    parse(text)
    pack = Pack(PackHead("test", "thing"), signals=(DerivedSignal("it", text),))
    said = compiled(Knowledge.of([pack]))
    moments = ({name.replace("{", "_total{") if "{" in name else f"{name}_total": rate * at for name, rate in
                RATES.items()} for at in (0, 1))  # fmt: skip
    chunk = chunk_of(sent(START + 1_000 * at, VALUES | counts) for at, counts in enumerate(moments))
    (batch,) = (each for each in Decode(None, lambda: said).step(chunk, 0) if isinstance(each, Batch))
    number = batch.names.held(0).get("=it", -1)
    found = batch.value[batch.start[-2] :][batch.series[batch.start[-2] :] == number]
    return float(found[0]) if len(found) else None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a + b * 2", 12.0),
        ("(a + b) * 2", 18.0),
        ("a - b - 1", 2.0),
        ("a / b / 2", 1.0),
        ("-a + b", -3.0),
        ("1.5e1 + z", 15.0),
        ("c.d", 2.0),
        ("a*b-c.d", 16.0),
        ("m", 4.0),
        ('m{code="5*"} / m', 0.25),
        ("rate(n) / a", 10 / 6),
        ('rate(r{code="5*"}) / rate(r)', 0.25),
        ("1 - rate( n ) / 100", 0.9),
    ],
)
def test_an_expression_is_worth_what_arithmetic_says(text: str, value: float) -> None:
    assert worth(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["a / z", "a / unknown", "rate(unknown)", "n", "1e308 * 10 * a", 'm{code="4*"}', "1.5"]
)
def test_what_cannot_be_computed_is_no_number(text: str) -> None:
    assert worth(text) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it ends where a name"),
        ("a +", "it ends where"),
        ("a b", "'b' at character 3 follows"),
        ("(a", "not closed"),
        ("a)", "at character 2 follows"),
        ("max(a)", "no function 'max'"),
        ("rate(1)", "one signal"),
        ("rate(rate(a))", "one signal"),
        ("a ** b", "at character 4"),
        ("a; b", "character 2 (';')"),
        ("5x", "character 1"),
        ("__import__('os')", "belongs to no expression"),
        ("open(a)", "no function 'open'"),
        ("(" * 60 + "a", "more than 50"),
        ("a+" * 300 + "a", "more than 500"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ExpressionFault) as fault:
        parse(text)
    assert told in str(fault.value)


@given(st.text(alphabet='ab.1()+-*/ {}=",rate', max_size=40))
def test_whatever_is_written_is_an_expression_or_a_fault(text: str) -> None:
    try:
        found = worth(text)
    except ExpressionFault:
        return
    assert found is None or math.isfinite(found)


@given(st.lists(st.tuples(st.sampled_from("+-*"), st.integers(0, 9)), max_size=12), st.integers(0, 9))
def test_signs_bind_as_in_python(steps: list[tuple[str, int]], first: int) -> None:
    text = str(first) + "".join(f" {sign} {number}" for sign, number in steps)
    assert worth(f"z + {text}") == eval(text)  # noqa: S307


def test_the_signals_that_it_needs_are_named_in_order() -> None:
    assert [(o.name, o.rate) for o in operands(parse("rate(x) / (y + 2) - x"))] == [
        ("x", True), ("y", False), ("x", False),
    ]  # fmt: skip
