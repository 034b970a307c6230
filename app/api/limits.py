"""Limits on requests, and security headers of answers, for all routes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from app.api.settings import ApiSettings
from app.api.throttle import Throttle

HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
HTTPS: Final = (b"strict-transport-security", b"max-age=31536000")


class HttpLimits:
    """ASGI middleware: limits the rate of requests of each address, and adds headers to every answer."""

    def __init__(self, app: Any, settings: ApiSettings) -> None:
        self._app = app
        self._throttle = Throttle(settings.per_s, settings.burst)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = [*HEADERS, *([HTTPS] if scope["scheme"] == "https" else [])]

        async def answer(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        wait = self._throttle.wait_s((scope.get("client") or ("",))[0])
        if wait:
            await _too_often(answer, wait)
        else:
            await self._app(scope, receive, answer)


async def _too_often(send: Any, wait_s: float) -> None:
    seconds = b"%d" % (int(wait_s) + 1)
    headers = [(b"content-type", b"application/json"), (b"retry-after", seconds)]
    body = msgspec.json.encode({"error": "too many requests", "code": "too_often", "remedy": "Wait, and ask again"})
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": body})
