"""Which actuators of installed packages a worker may load."""

from __future__ import annotations

from typing import Any

import msgspec


class ActuatorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Actuators of installed packages, in workers with the role `act`, beside the one of supervised processes."""

    enabled: tuple[str, ...] = ()
    """Names of entry points in the group `opsloop.actuators`. One that is not named here is never imported."""
    systems: tuple[str, ...] = ()
    """Systems, as `shop`, whose commands these actuators obey."""
    options: dict[str, dict[str, Any]] = {}
    """By actuator, the keyword arguments it is made with."""
