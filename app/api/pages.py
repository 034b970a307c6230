"""Pages for a browser: links to the routes, and a list of all routes."""

from __future__ import annotations

from html import escape
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from app.api.routes import PUBLIC, ROUTES
from models.safety.roles import OPERATIONS

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Opsloop by HTTP</title></head><body>
<h1>Opsloop {version}</h1>
<p>A request takes a token: <code>curl -H "Authorization: Bearer $(opsloop user token NAME)" …</code>,
or POST /tokens with a name and its password. The schemas of all requests and answers are in
<a href="/openapi.json">/openapi.json</a> (with a token).</p>
<table><thead><tr><th>Route</th><th>What it does</th><th>Who may</th></tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def index() -> dict[str, str]:
    """The links on `/`."""
    return {
        "name": "opsloop", "version": version("opsloop"), "docs": "/docs", "openapi": "/openapi.json",
        "health": "/health", "token": "opsloop user token NAME, or POST /tokens",
    }  # fmt: skip


def docs(app: FastAPI) -> str:
    """All routes with their descriptions and the roles that may call them, as HTML without scripts or styles."""
    told = app.openapi()["paths"]
    rows = (
        f"<tr><td><code>{method} {escape(path)}</code></td>"
        f"<td>{escape(told[path][method.lower()].get('description', ''))}</td><td>{_who(operation)}</td></tr>"
        for (method, path), operation in ROUTES.items()
    )
    return _PAGE.format(version=version("opsloop"), rows="\n".join(rows))


def _who(operation: str) -> str:
    return "anybody" if operation == PUBLIC else ", ".join(sorted(OPERATIONS[operation]))
