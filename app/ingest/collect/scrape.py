"""Scrapes a Prometheus endpoint, and distinguishes a dead target from a hung one.

Every sample has `up` and `up.refused`: 1 and 0 for a target that answers; 0 and 1 when the connection is refused; 0 and
0 when it accepts the connection and does not answer, or answers with an error. With `up` 0 there are no other metrics.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from app.clock import now_ms
from app.errors import UserError
from app.ingest.collect.prometheus import parse
from app.ingest.collect.rates import Rates
from topics.telemetry import Sample

MAX_BODY_BYTES: Final = 4_000_000
_ANSWERED: Final = {"up": 1.0, "up.refused": 0.0}
_SILENT: Final = {"up": 0.0, "up.refused": 0.0}
_REFUSED: Final = {"up": 0.0, "up.refused": 1.0}


class Target(msgspec.Struct, frozen=True):
    """An entity and the URL of its metrics."""

    entity: str
    url: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse `entity=URL`, or a URL alone, whose host and port are then the entity.

        Raises:
            UserError: the text has neither form.
        """
        entity, _, url = text.partition("=") if "=" in text.partition("://")[0] else ("", "", text)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(
                f"{text!r} is not a target",
                "Write it as http://host:port/metrics or shop/catalog/0=http://host:port/metrics",
            )
        return cls(entity or parts.netloc, url)


class Scraper:
    """Scrapes one target. Keeps its counters, so that the next scrape yields rates."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        self.target = target
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._rates = Rates()

    async def scrape(self, session: aiohttp.ClientSession) -> Sample:
        """Scrape the target once. Raises nothing, whatever the target does; returns within the time-out."""
        try:
            async with asyncio.timeout(self._timeout.total):
                text = await self._fetch(session)
            now = now_ms()
            metrics = parse(text, self._rates, now) | _ANSWERED
        except ConnectionRefusedError:
            now, metrics = now_ms(), dict(_REFUSED)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            now, metrics = now_ms(), dict(_SILENT)
        return Sample(entity=self.target.entity, ts=now, metrics=metrics)

    async def _fetch(self, session: aiohttp.ClientSession) -> str:
        try:
            return await self._get(session)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ConnectionRefusedError):
                raise error.os_error from None
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # a kept connection ended: only a new one shows whether the target still listens
            try:
                return await self._get(session)
            except aiohttp.ClientConnectorError as error:
                raise error.os_error from None

    async def _get(self, session: aiohttp.ClientSession) -> str:
        async with session.get(self.target.url, timeout=self._timeout) as response:
            response.raise_for_status()
            body = bytearray()
            async for part in response.content.iter_any():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise ValueError(f"{self.target.url} answers with more than {MAX_BODY_BYTES} bytes")
            return body.decode()
