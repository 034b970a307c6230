"""Ids, origins and the parts of an entity's name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.spec import (
    LARGEST,
    LATEST,
    MAIN,
    Origin,
    derive,
    domain_of,
    instant,
    later,
    service_of,
    system_of,
    use_domains,
)


def test_ids_that_were_given_are_given_again() -> None:
    """These values are in logs and in audits: another value for the same parts would open everything a second time."""
    assert derive("incident", "shop/catalog/0", "down", 1_700_000_000_000) == "5608515a4102f104ce2c"
    assert derive("decision", "p1") == "d7ab8117ac74ba8c2774"
    assert derive("command", "d1", 0) == "74bc699bc283faa80d42"


def test_parts_do_not_run_into_each_other() -> None:
    assert len({derive("a", "b", "c"), derive("ab", "c"), derive("a", "bc"), derive("a", "b", "c", "")}) == 4


@given(st.text(), st.integers())
def test_an_id_is_twenty_hexadecimal_digits(part: str, number: int) -> None:
    identity = derive("x", part.encode(errors="replace").decode(), number)
    assert len(identity) == 20
    assert int(identity, 16) >= 0


@given(st.from_regex(r"[a-z][a-z.-]{0,30}", fullmatch=True), st.integers(0, 10_000), st.integers(0, 2**53))
def test_an_origin_is_read_back_from_what_it_is_written_as(topic: str, partition: int, offset: int) -> None:
    origin = Origin(topic, partition, offset)
    assert Origin.parse(str(origin)) == origin


@pytest.mark.parametrize("text", ["", "incidents", "incidents-1", "incidents-a-1", "incidents-1-"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Origin.parse(text)


def test_origins_of_a_partition_are_in_the_order_of_their_offsets() -> None:
    assert Origin("a", 0, 9) < Origin("a", 0, 10) < Origin("a", 1, 0) < Origin("b", 0, 0)


@pytest.mark.parametrize(
    ("entity", "system", "service"),
    [("shop/catalog/0", "shop", "shop/catalog"), ("shop/catalog", "shop", "shop/catalog"), ("web-1", "web-1", "web-1"),
     ("shop", "shop", "shop"), ("shop/catalog/0/thread", "shop", "shop/catalog")],
)  # fmt: skip
def test_an_entity_is_a_path_from_its_system_down(entity: str, system: str, service: str) -> None:
    assert (system_of(entity), service_of(entity)) == (system, service)


@pytest.mark.parametrize(
    "text", ["", "²", "٣", "-1", "+1", " 1", "1_0", "1.0", "1e3", "253402300800000", "1" + "0" * 30, "9" * 5_000]
)
def test_a_text_that_is_no_time_or_one_that_cannot_be_kept_is_none(text: str) -> None:
    assert instant(text) is None


@given(st.integers(0, LATEST))
def test_a_time_is_read_back_from_its_digits(ts: int) -> None:
    assert instant(str(ts)) == ts
    assert later(ts, LARGEST) == LATEST


@pytest.mark.parametrize("text", ["incidents-²-1", "incidents-1_0-1", "incidents- 1-1", "incidents-1-" + "9" * 40])
def test_an_origin_is_made_of_plain_numbers_that_can_be_kept(text: str) -> None:
    with pytest.raises(ValueError, match="is not topic-partition-offset"):
        Origin.parse(text)


@pytest.mark.parametrize("entity", ["shop", "shop/catalog", "shop/catalog/0", "web-1", ""])
def test_everything_is_in_one_domain_unless_settings_say_otherwise(entity: str) -> None:
    assert domain_of(entity) == MAIN


def test_a_system_its_services_and_their_instances_are_in_one_domain() -> None:
    use_domains({"shop/*": "retail", "web-*": "retail", "bank*": "{0}"})
    for system, domain in (("shop", "retail"), ("web-1", "retail"), ("bank-de", "bank-de"), ("other", MAIN)):
        assert {domain_of(f"{system}{rest}") for rest in ("", "/a", "/a/0", "/a/0/b")} == {domain}


def test_domains_that_cannot_be_change_nothing() -> None:
    use_domains({"*": "{0}"})
    with pytest.raises(ValueError, match="divides"):
        use_domains({"shop/cart": "x"})
    assert domain_of("shop/cart/0") == "shop"
