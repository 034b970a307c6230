"""The header of a policy file: the package, and the OPA metadata annotation above it.

    # METADATA
    # title: Irreversible actions need a lead
    # custom:
    #   id: irreversible
    #   type: security
    #   owner: platform
    #   actions: ["reboot_node", "flush_cache"]
    package opsloop.irreversible

OPA reads annotations as YAML. Here only the part that headers need is read: one level below `custom`, and values that
are JSON or bare text. Dates are `2026-12-01`, in UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from models.policy.base import Header, PolicyFault
from topics.patterns import fault

DATES: Final = ("since", "until", "valid_until")
_PACKAGE: Final = re.compile(r"^package\s+([\w.]+)[ \t]*(?:#.*)?$", re.MULTILINE)


def read(source: str) -> Header:
    """Parse the metadata of a policy's text.

    Raises:
        PolicyFault: invalid, with what is missing or wrong.
    """
    package = _PACKAGE.search(source)
    if package is None:
        raise PolicyFault("invalid", "there is no package")
    values = _annotation(source[: package.start()])
    try:
        values = {key: _date(value) if key in DATES else value for key, value in values.items()}
        header = msgspec.convert(values, Header)
    except (msgspec.ValidationError, ValueError) as error:
        raise PolicyFault("invalid", f"metadata: {error}") from None
    if package[1] != package_of(header.id):
        raise PolicyFault("invalid", f"the package of {header.id} is {package_of(header.id)}, not {package[1]}")
    if header.scope and (wrong := fault(header.scope)):
        raise PolicyFault("invalid", f"metadata: scope: {wrong}")
    if header.overrides == header.id:
        raise PolicyFault("invalid", "a policy cannot override itself")
    return header


def package_of(name: str) -> str:
    """Return the Rego package of a policy."""
    return f"opsloop.{name}"


def _annotation(text: str) -> dict[str, Any]:
    lines = [line.strip()[1:] for line in text.splitlines() if line.strip().startswith("#")]
    heads = [number for number, line in enumerate(lines) if line.strip() == "METADATA"]
    if not heads:
        raise PolicyFault("invalid", "there is no `# METADATA` block above the package")
    values: dict[str, Any] = {}
    below = False
    for line in lines[heads[-1] + 1 :]:
        key, colon, value = line.strip().partition(":")
        if not colon:
            raise PolicyFault("invalid", f"metadata: {line.strip()!r} is no `key: value`")
        nested = line.startswith("  ")
        if not nested:
            below = key == "custom"
        if key == "title" and not nested:
            values["title"] = _value(value.strip())
        elif nested and below:
            values[key] = _value(value.strip())
    return values


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _date(value: Any) -> int:
    return int(datetime.strptime(str(value), "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
