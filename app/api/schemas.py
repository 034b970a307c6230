"""Answers of the routes, and the OpenAPI document with their schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI

from app.api.routes import PUBLIC, ROUTES
from topics.approvals import Approval
from topics.audit import AuditEntry
from topics.decisions import Decision
from topics.incidents import Incident
from topics.settings import Setting
from topics.spec import Instant

_REF: Final = "#/components/schemas/{name}"


class Health(msgspec.Struct, frozen=True):
    """Whether the answers of this interface are up to date."""

    status: str  # `ok` or `behind`
    cause: str  # why it is behind; empty when ok


class Token(msgspec.Struct, frozen=True):
    """A token for Authorization: Bearer."""

    token: str


class Me(msgspec.Struct, frozen=True):
    """The principal of the token."""

    name: str
    roles: list[str]
    operations: list[str]  # operations that these roles allow


class Proposed(msgspec.Struct, frozen=True):
    """Ids of a proposal that was sent."""

    proposal: str
    decision: str  # id of the decision that the gate will make


class Switch(msgspec.Struct, frozen=True):
    """The kill switch."""

    position: str  # on or off
    said: str  # who turned it on, and why


class Maintained(msgspec.Struct, frozen=True):
    """Maintenance of one scope."""

    scope: str
    until: Instant


class Error(msgspec.Struct, frozen=True):
    """The error and its remedy."""

    error: str
    code: str
    remedy: str


class Index(msgspec.Struct, frozen=True):
    """Links to the routes."""

    name: str
    version: str
    docs: str
    openapi: str
    health: str
    token: str


# route → status → type of a successful answer
ANSWERS: Final[Mapping[tuple[str, str], Mapping[int, Any]]] = {
    ("GET", "/"): {200: Index},
    ("GET", "/health"): {200: Health, 503: Health},
    ("POST", "/tokens"): {200: Token},
    ("GET", "/openapi.json"): {200: dict[str, Any]},
    ("GET", "/me"): {200: Me},
    ("GET", "/decisions"): {200: list[Decision]},
    ("GET", "/decisions/{identity}"): {200: Decision},
    ("POST", "/decisions/{identity}/votes"): {200: Decision, 202: Approval},
    ("POST", "/proposals"): {202: Proposed},
    ("GET", "/incidents"): {200: list[Incident]},
    ("GET", "/incidents/{identity}"): {200: Incident},
    ("POST", "/incidents/{identity}/acknowledge"): {200: Incident, 202: Setting},
    ("POST", "/incidents/{identity}/resolve"): {200: Incident, 202: Setting},
    ("GET", "/kill-switch"): {200: Switch},
    ("POST", "/kill-switch/on"): {200: Switch},
    ("POST", "/kill-switch/off"): {200: Switch},
    ("GET", "/maintenance"): {200: dict[str, Instant]},
    ("POST", "/maintenance"): {200: Maintained},
    ("GET", "/audit"): {200: list[AuditEntry]},
}
MEANS: Final[Mapping[int, str]] = {
    200: "Done, as it stands now",
    202: "Sent; no worker has answered yet",
    401: "No good token",
    403: "A role that may not do this",
    404: "Nothing has this id",
    409: "Not possible as things stand",
    422: "The request is not as it should be",
    429: "Too often",
    503: "The broker does not answer, or what happened is still being read",
}


def document(app: FastAPI) -> dict[str, Any]:
    """The application as OpenAPI 3.1: requests as FastAPI describes them, answers by the table above."""
    described: dict[str, Any] = app.openapi()
    answers, components = _schemas()
    described["components"]["schemas"].update(components)
    for (method, path), operation in ROUTES.items():
        route = described["paths"][path][method.lower()]
        good = {
            status: _answer(status, answers[method, path, status]) for status in ANSWERS.get((method, path), ())
        } or {200: {"description": MEANS[200], "content": {"text/html": {"schema": {"type": "string"}}}}}
        route["responses"] = {
            str(status): answer for status, answer in sorted((_errors(path, operation) | good).items())
        }
        route["x-operation"] = operation or "public"
    return described


def _schemas() -> tuple[dict[tuple[str, str, int], Any], dict[str, Any]]:
    """The schema of each successful answer, and of the records in it."""
    kinds = {(*route, status): kind for route, told in ANSWERS.items() for status, kind in told.items()}
    found, components = msgspec.json.schema_components([*kinds.values(), Error], ref_template=_REF)
    return dict(zip(kinds, found[:-1], strict=True)), components


def _errors(path: str, operation: str) -> dict[int, Any]:
    """The error statuses that a route may answer."""
    statuses = [422, 429] + ([401, 403, 503] if operation != PUBLIC else []) + ([404, 409] if "{" in path else [])
    return {status: _answer(status, {"$ref": _REF.format(name="Error")}) for status in statuses}


def _answer(status: int, schema: Any) -> dict[str, Any]:
    return {"description": MEANS[status], "content": {"application/json": {"schema": schema}}}
