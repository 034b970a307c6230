"""Settings of identity: `[security]`."""

from __future__ import annotations

import msgspec


class SecuritySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Issuers of tokens: this host by default, and an OIDC issuer when one is set."""

    issuer: str = ""
    """The `iss` of the issuer's tokens; empty: only tokens of this host are accepted."""
    audience: str = "opsloop"
    """The `aud` that its tokens must have."""
    jwks: str = ""
    """The issuer's public keys: a file, or an https address."""
    name_claim: str = "sub"
    """The claim that names the person. Roles come from `roles_claim`, or from the principal of that name here."""
    roles_claim: str = "roles"
    """The claim that lists roles. Names that are no roles of Opsloop are ignored."""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "Ed25519")
    """Accepted signature algorithms. Symmetric ones are always refused."""
