"""What `opsloop doctor` says of the keys of records."""

from __future__ import annotations

import os

import pytest

from app.client import Publisher
from app.clock import now_ms
from app.kafka.doctor import check_domains
from app.kafka.embedded import Embedded
from tests.builders import sample
from topics.spec import use_domains


def domains(embedded: Embedded) -> tuple[str, str, str]:
    found = check_domains(embedded.broker)
    return found.state, found.detail, found.remedy


def test_records_under_the_keys_of_the_settings_here_are_in_order(embedded: Embedded) -> None:
    with Publisher(embedded.broker) as publisher:
        publisher.send(sample("shop/catalog/0", now_ms()))
    assert domains(embedded) == ("ok", "one for all, main; 1 records of the last 5 minutes agree", "")


def test_a_sender_with_other_domains_is_told_with_the_remedy(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Publisher(embedded.broker) as publisher:
        publisher.send(sample("shop/catalog/0", now_ms()))
        use_domains({"*": "{0}"})
        publisher.send(sample("shop/cart/0", now_ms()))
    monkeypatch.setitem(os.environ, "OPSLOOP_INCIDENTS__DOMAINS", '{"web-*": "web"}')
    state, detail, remedy = domains(embedded)
    assert (state, "1 of 2 records are misplaced" in detail) == ("failed", True)
    assert "has the key 'shop', which is 'main' by the [incidents.domains] here" in detail
    assert "the same [incidents.domains] (here: web-* = web)" in remedy
