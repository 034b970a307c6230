"""Settings of the evaluation of policies: `[policy]`."""

from __future__ import annotations

from typing import Annotated

import msgspec


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In this process, unless an OPA server is named."""

    opa: str = ""
    """The address of an OPA server that evaluates policies, as `http://127.0.0.1:8181`; empty: this process does."""
    opa_token: str = ""
    """The server's bearer token. As every secret it may be `env:NAME`, `file:/path` or `vault:path#field`."""
    opa_limit_ms: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 250
    """Milliseconds for an answer. A later one counts as no answer, which denies."""
