"""Secrets by reference: what stands in a setting is where a secret is, and never the secret.

    env:NAME            the environment
    file:/path          a file, as an orchestrator mounts them; a line end at its end is left out
    vault:path#field    a server that speaks Vault's KV version 2, at VAULT_ADDR with VAULT_TOKEN (extra `vault`)

Anything else is taken as it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from app.errors import UserError


def resolve(value: str, environment: Mapping[str, str] = os.environ) -> str:
    """What a reference points to.

    Raises:
        UserError: there is nothing, or it cannot be read; the message names the reference and never the secret.
    """
    scheme, _, place = value.partition(":")
    if scheme == "env":
        if place not in environment:
            raise UserError(f"the secret {value} is not set", f"Set {place}")
        return environment[place]
    if scheme == "file":
        try:
            return Path(place).read_text().rstrip("\r\n")
        except OSError as error:
            raise UserError(f"the secret {value} cannot be read ({error.strerror})", "Look at the path") from None
    if scheme == "vault":
        return _vault(place, environment)
    return value


def _vault(place: str, environment: Mapping[str, str]) -> str:
    path, _, field = place.partition("#")
    mount, _, name = path.partition("/")
    address, token = environment.get("VAULT_ADDR", ""), environment.get("VAULT_TOKEN", "")
    if not (address and token and name and field):
        raise UserError(
            f"the secret vault:{place} cannot be asked for",
            "Write vault:MOUNT/PATH#FIELD, and set VAULT_ADDR and VAULT_TOKEN",
        )
    try:
        import hvac
    except ImportError:
        raise UserError("vault: secrets need hvac", "Install opsloop with the extra vault") from None
    try:
        answer = hvac.Client(url=address, token=token, timeout=5).secrets.kv.v2.read_secret_version(
            path=name, mount_point=mount, raise_on_deleted_version=True
        )
        return str(answer["data"]["data"][field])
    except KeyError:
        raise UserError(f"the secret vault:{path} has no field {field}", "Look at its fields") from None
    except Exception as error:  # the client has dozens, and a secret must not be in any message of ours
        raise UserError(f"the secret vault:{path} was not given ({type(error).__name__})",
                        "Look at VAULT_ADDR, the token's policy and the path", exit_code=1) from None  # fmt: skip
