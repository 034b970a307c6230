"""The plan of the demo site: services, calls between them, their configuration, and the normal traffic.

visitors ─► gateway ─► catalog, cart, orders ─► store
"""

from __future__ import annotations

from typing import Final

import msgspec

from topics.spec import Instant, integer

SYSTEM: Final = "shop"
LOAD: Final = "load"  # the visitors: a process of the site, but no service of it
FLOOR, CEILING = 1, 4  # replicas of a service


class Config(msgspec.Struct, frozen=True):
    """One revision of a service's configuration. Revisions are immutable."""

    delay_ms: float  # mean time that a request waits in its slot, as for a disk
    concurrency: int  # number of slots: further requests queue
    error_rate: float = 0.0  # share of requests that fail on purpose, 0..1
    timeout_ms: float = 800.0  # time-out of a call to another service
    parent: int = 0  # the revision before; 0: none


class Traffic(msgspec.Struct, frozen=True):
    """One revision of the visitors' behaviour."""

    rates: dict[str, float]  # service → requests/s through the gateway
    regularity: float = 6.0  # shape of the gamma-distributed gaps: 1 is Poisson, more is steadier
    lasts_s: float = 0.0  # seconds until the parent revision is in force again; 0: for good
    began: Instant = 0
    parent: int = 0


# caller → called; a request to the gateway names one service
CALLS: Final[dict[str, tuple[str, ...]]] = {
    "gateway": ("catalog", "cart", "orders"),
    "catalog": ("store",),
    "cart": ("store",),
    "orders": ("store",),
    "store": (),
}

# a service with traffic of its own can carry 2.2 times its normal traffic, the others more than ever comes
CONFIGS: Final[dict[str, Config]] = {
    "gateway": Config(delay_ms=2, concurrency=64, timeout_ms=1000),
    "catalog": Config(delay_ms=90, concurrency=4),
    "cart": Config(delay_ms=110, concurrency=3),
    "orders": Config(delay_ms=165, concurrency=3),
    "store": Config(delay_ms=4, concurrency=16),
}

TRAFFIC: Final = Traffic(rates={"catalog": 20.0, "cart": 12.0, "orders": 8.0})


def name(service: str) -> str:
    """The entity of a service: `shop/catalog` for `catalog`."""
    return f"{SYSTEM}/{service}"


def entity(service: str, instance: int) -> str:
    """The entity of a replica: `shop/catalog/0`."""
    return f"{SYSTEM}/{service}/{instance}"


def program(service: str, instance: int) -> str:
    """The supervisor's name of a replica."""
    return f"{service}-{instance}"


def parts(target: str) -> tuple[str, int | None]:
    """The service and the instance (None: all of them) of an entity of the site.

    Raises:
        ValueError: there is no such service.
    """
    system, _, rest = target.partition("/")
    service, _, instance = rest.partition("/")
    if system != SYSTEM or service not in CALLS or (instance and integer(instance) is None):
        raise ValueError(f"{target!r} is not of the site, which has {', '.join(map(name, CALLS))}")
    return service, int(instance) if instance else None
