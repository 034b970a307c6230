"""Settings of the HTTP interface: `[api]`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from topics.spec import Count


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on requests: hosts, size and rate."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    """Accepted values of the Host header. Others are refused, so that no web page can reach the interface."""
    per_s: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    """Requests a second of one address, in the long run."""
    burst: Annotated[int, msgspec.Meta(ge=1)] = 60
    """Requests of one address at once."""
    logins_per_min: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Attempts of one address to log in, a minute."""
    body_bytes: Count = 16_384
    """The largest body of a request, in bytes."""
    connections: Annotated[int, msgspec.Meta(ge=1)] = 200
    """Connections at a time. Further ones are answered with 503."""
