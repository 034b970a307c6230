"""What names say, and that two sets of labels never have one name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.formats.names import metric
from topics.kinds import BUCKET, COUNTER, DERIVED, PLAIN, bucket, counter, figures_of, gauge, meaning


@pytest.mark.parametrize(("name", "kind", "shown"), [
    ("a_total", COUNTER, "a.rate"), ('a_total{x="1"}', COUNTER, 'a.rate{x="1"}'), ("_total", PLAIN, "_total"),
    ("total", PLAIN, "total"), ("a_totals", PLAIN, "a_totals"), ("a.total", PLAIN, "a.total"),
    ('h_bucket{le="0.5"}', BUCKET, 'h_bucket{le="0.5"}'),
    ('h_bucket{a="1",le="+Inf"}', BUCKET, 'h_bucket{a="1",le="+Inf"}'),
    ('h_bucket{le="sum"}', BUCKET, 'h_bucket{le="sum"}'), ("h_bucket", PLAIN, "h_bucket"),
    ('h_bucket{le="wide"}', PLAIN, 'h_bucket{le="wide"}'), ('h_bucket{le="nan"}', PLAIN, 'h_bucket{le="nan"}'),
    ('h{le="1"}', PLAIN, 'h{le="1"}'), ('h_bucket{a="1",le="p95"}', DERIVED, 'h.p95{a="1"}'),
    ('h_bucket{le="rate"}', DERIVED, "h.rate"), ('h_bucket{file="1"}', PLAIN, 'h_bucket{file="1"}'),
])  # fmt: skip
def test_a_name_says_what_it_is(name: str, kind: int, shown: str) -> None:
    assert meaning(name)[:2] == (kind, shown)


def test_what_a_type_says_is_written_so_that_the_name_says_it() -> None:
    for name in ("m", "m_total", 'm{a="1"}', 'm_total{a="1"}', 'm_bucket{le="1"}'):
        assert meaning(counter(name)).kind == COUNTER
        assert meaning(gauge(name)).kind == PLAIN
        assert meaning(bucket(name, "0.5")).kind == BUCKET
    assert counter("m_total") == "m_total"
    assert gauge("m") == "m"


def test_all_buckets_of_a_histogram_have_the_same_five_figures() -> None:
    names = [bucket('h{a="1"}', le) for le in ("0.5", "+Inf", "sum")] + ['h_bucket{le="7",a="1"}']
    assert len(figures_of(names)) == 5
    assert [meaning(name).shown for name in figures_of(names)] == [
        f'h.{what}{{a="1"}}' for what in ("rate", "p50", "p95", "p99", "mean")
    ]


texts = st.text('ab,="\\\n{}', max_size=6)
labels = st.dictionaries(texts.filter(bool), texts, max_size=3)


@given(labels, labels)
def test_two_sets_of_labels_are_never_written_alike(one: dict[str, str], other: dict[str, str]) -> None:
    assert (metric("m", 1.0, one)[0] == metric("m", 1.0, other)[0]) == (one == other)
