"""The table of routes and the operation that each needs. A route without a row is refused to all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PUBLIC: Final = ""  # needs no token

# (method, path) → operation of models.safety.roles
ROUTES: Final[Mapping[tuple[str, str], str]] = {
    ("GET", "/"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/health"): PUBLIC,
    ("POST", "/tokens"): PUBLIC,  # authenticated by name and password
    ("GET", "/openapi.json"): "read",
    ("GET", "/me"): "read",
    ("GET", "/decisions"): "read",
    ("GET", "/decisions/{identity}"): "read",
    ("POST", "/decisions/{identity}/votes"): "vote",
    ("POST", "/proposals"): "propose",
    ("GET", "/incidents"): "read",
    ("GET", "/incidents/{identity}"): "read",
    ("POST", "/incidents/{identity}/acknowledge"): "respond",
    ("POST", "/incidents/{identity}/resolve"): "respond",
    ("GET", "/kill-switch"): "read",
    ("POST", "/kill-switch/on"): "stop",
    ("POST", "/kill-switch/off"): "resume",
    ("GET", "/maintenance"): "read",
    ("POST", "/maintenance"): "maintain",
    ("GET", "/audit"): "audit",
}
