"""Who is asked who somebody is."""

from __future__ import annotations

import msgspec


class SecuritySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens: our own by default; those of an OIDC issuer as well, when one is set."""

    issuer: str = ""
    """The `iss` of the issuer's tokens; empty: only our own are accepted."""
    audience: str = "opsloop"
    """The `aud` that its tokens must have."""
    jwks: str = ""
    """Its public keys: a file, or an https address."""
    name_claim: str = "sub"
    """Which claim names the person. Roles come from `roles_claim`, or from the principal of that name here."""
    roles_claim: str = "roles"
    """Which claim lists roles; names that are no roles of ours give nothing."""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "Ed25519")
    """What its signatures may be. A symmetric algorithm is refused, whatever stands here."""
