"""Patterns: which series they mean."""

from __future__ import annotations

import pytest

from topics.selectors import matches, parts

SERIES = 'http_requests_total{code="503",route="/a,b"}'


@pytest.mark.parametrize(
    ("pattern", "series", "expected"),
    [
        ("up", "up", True),
        ("up", "up.refused", False),
        ("up", "pg_up", False),
        ('rate(errors_total{code="5*"})', 'errors.rate{code="503"}', True),
        ('rate(errors_total{code="5*"})', 'errors.rate{code="404"}', False),
        ("rate(*_client_errors_total)", "db_client_errors.rate", True),
        ("rate(http_request_seconds_count)", "http_request_seconds.rate", True),
        ("rate(errors_total)", "errors_total", False),
        ("errors_total", "errors.rate", False),
        ("http.client.error_ratio.*", "http.client.error_ratio.catalog", True),
        ("http_requests_total", SERIES, True),
        ("http_*", SERIES, True),
        ('http_requests_total{code="5*"}', SERIES, True),
        ('http_requests_total{code="4*"}', SERIES, False),
        ('http_requests_total{route="/a,b",code="503"}', SERIES, True),
        ('http_requests_total{method="GET"}', SERIES, False),
        ("rate(http_requests_total)", SERIES, False),
        ("rate(http_requests_total)", f"rate({SERIES})", True),
        ('rate(http_requests_total{code="5*"})', f"rate({SERIES})", True),
        ("http_requests_total", f"rate({SERIES})", False),
        ("rate(*_errors_total)", "rate(db_errors_total)", True),
        ("UP", "up", False),
        (SERIES, SERIES, True),
    ],
)
def test_a_pattern_means_a_series_by_its_name_and_the_attributes_that_it_names(
    pattern: str, series: str, expected: bool
) -> None:
    assert matches(pattern, series) is expected


def test_attributes_that_cannot_be_read_are_left_out() -> None:
    assert parts("x{a=1}") == (False, "x", ())
    assert parts('x{a="1" b="2"}') == parts('x{a="1",b=2}') == (False, "x", ())
    assert parts('rate(x{a="1",b="2"})') == (True, "x", (("a", "1"), ("b", "2")))


@pytest.mark.parametrize("name", ["app.kubernetes.io/name", "a-b", "1a", "ä", "with blank"])
def test_whatever_a_label_is_called_its_series_are_meant(name: str) -> None:
    series = f'soil.moisture{{{name}="x",n="2"}}'
    assert matches("soil_moisture", series)
    assert matches('soil.moisture{n="2"}', series)
    assert matches(f'soil.moisture{{{name}="x"}}', series)
    assert not matches('soil.moisture{n="3"}', series)
