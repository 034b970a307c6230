"""Where policies are evaluated."""

from __future__ import annotations

from typing import Annotated

import msgspec


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In this process, unless an OPA server is named."""

    opa: str = ""
    """The address of an OPA server, `http://127.0.0.1:8181`; it is sent the texts, and asked instead."""
    opa_token: str = ""
    """What it wants as a bearer token; as every secret it may be `env:NAME`, `file:/path` or `vault:path#field`."""
    opa_limit_ms: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 250
    """An answer that takes longer is none, and denies."""
