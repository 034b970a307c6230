"""What the demo site is: its services, who calls whom, how each behaves and how much traffic there is at rest.

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
    """One revision of a service's configuration. Revisions are never changed, only followed by others."""

    delay_ms: float  # mean time that a request waits inside a slot, as for a disk
    concurrency: int  # slots: requests above this many queue
    error_rate: float = 0.0  # share of requests refused on purpose, 0..1
    timeout_ms: float = 800.0  # how long a called service may take
    parent: int = 0  # the revision before; 0: there is none


class Traffic(msgspec.Struct, frozen=True):
    """One revision of the visitors' behaviour."""

    rates: dict[str, float]  # requests/s by the service they ask the gateway for
    regularity: float = 6.0  # shape of the gamma-distributed gaps: 1 is Poisson, more is steadier
    lasts_s: float = 0.0  # after so long the parent is returned to; 0: for good
    began: Instant = 0
    parent: int = 0


# who calls whom; a gateway's request names the one service it is for
CALLS: Final[dict[str, tuple[str, ...]]] = {
    "gateway": ("catalog", "cart", "orders"),
    "catalog": ("store",),
    "cart": ("store",),
    "orders": ("store",),
    "store": (),
}

# a service with traffic of its own can carry 2.2 times what it gets at rest, the others more than ever comes
CONFIGS: Final[dict[str, Config]] = {
    "gateway": Config(delay_ms=2, concurrency=64, timeout_ms=1000),
    "catalog": Config(delay_ms=90, concurrency=4),
    "cart": Config(delay_ms=110, concurrency=3),
    "orders": Config(delay_ms=165, concurrency=3),
    "store": Config(delay_ms=4, concurrency=16),
}

TRAFFIC: Final = Traffic(rates={"catalog": 20.0, "cart": 12.0, "orders": 8.0})


def name(service: str) -> str:
    """The entity of a service: `shop/catalog` of `catalog`."""
    return f"{SYSTEM}/{service}"


def entity(service: str, instance: int) -> str:
    """The entity of a replica: `shop/catalog/0`."""
    return f"{SYSTEM}/{service}/{instance}"


def program(service: str, instance: int) -> str:
    """The name under which the supervisor runs a replica."""
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
