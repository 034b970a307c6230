"""A proposal for something that nobody has heard of is refused, unless it is forced."""

from __future__ import annotations

import getpass

import pytest

from app.client import Publisher, Telemetry
from app.clock import now_ms
from app.decisions import requests
from app.decisions.known import require_known
from app.errors import UserError
from app.kafka.broker import read_all
from app.kafka.embedded import Embedded
from app.security.keys import enrol
from app.settings import home
from tests.builders import incident, topology
from topics.proposals import PROPOSALS


@pytest.fixture
def shop(embedded: Embedded) -> Embedded:
    """A shop of which an instance sends samples, one is in an incident and others are called."""
    with Telemetry(embedded.broker) as telemetry:
        telemetry.record("shop/cart/0", {"cpu": 0.5})
    with Publisher(embedded.broker) as publisher:
        publisher.send(incident(entity="shop/mail/0", affected=("shop/mail/0",), ts=now_ms()))
        publisher.send(topology(("shop/gateway", "shop/db"), ts=now_ms()))
    return embedded


@pytest.mark.parametrize(
    "target",
    ["shop/cart/0", "shop/cart/7", "shop/cart", "shop", "shop/mail/0", "shop/mail", "shop/gateway/1", "shop/db"],
)
def test_what_sends_samples_was_in_an_incident_or_is_called_is_known(shop: Embedded, target: str) -> None:
    require_known(shop.broker, target)


@pytest.mark.parametrize("target", ["no/such/9", "shop/kart/0", "bank", "sho"])
def test_what_nobody_has_heard_of_is_refused_with_what_is_near(shop: Embedded, target: str) -> None:
    with pytest.raises(UserError, match="nothing is known of") as error:
        require_known(shop.broker, target)
    assert "shop/cart/0" in error.value.remedy
    assert "--force" in error.value.remedy


def test_where_nothing_is_known_nothing_is_refused(embedded: Embedded) -> None:
    require_known(embedded.broker, "no/such/9")


def test_a_proposal_for_an_unknown_target_is_sent_only_when_it_is_forced(shop: Embedded) -> None:
    enrol(home())
    made = requests.proposal("restart_service", "no/such/9", {}, getpass.getuser(), "")
    with pytest.raises(UserError, match="nothing is known of no/such/9"):
        requests.publish(made, shop.broker)
    assert list(read_all(shop.broker, [PROPOSALS.name])) == []
    requests.publish(made, shop.broker, force=True)
    assert len(list(read_all(shop.broker, [PROPOSALS.name]))) == 1
