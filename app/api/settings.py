"""How the HTTP interface defends itself."""

from __future__ import annotations

from typing import Annotated

import msgspec

from topics.spec import Count


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on who asks, how much and how often."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    """Names by which it may be asked for (the Host header): others are refused, so that no web page can reach it."""
    per_s: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    """Requests a second from one address, in the long run."""
    burst: Annotated[int, msgspec.Meta(ge=1)] = 60
    """Requests from one address at once."""
    logins_per_min: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Attempts to log in from one address."""
    body_bytes: Count = 16_384
    """The largest request."""
    connections: Annotated[int, msgspec.Meta(ge=1)] = 200
    """Connections at a time; more are told to come again."""
