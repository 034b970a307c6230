"""Policies for tests: a body with the head that it needs."""

from __future__ import annotations

from typing import Any

import msgspec

GRANT = "default allow := true"


def rule(body: str = GRANT, name: str = "probe", kind: str = "operational", **head: Any) -> str:
    """A policy file; `head` is its other metadata."""
    keys = {"id": name, "type": kind, "owner": "tests"} | head
    lines = [f"#   {key}: {_text(value)}" for key, value in keys.items()]
    return "\n".join(["# METADATA", "# custom:", *lines, f"package opsloop.{name}", "", "import rego.v1", "", body, ""])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
