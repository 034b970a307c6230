"""Asking one Prometheus endpoint, and telling a dead one from a hung one.

Every sample has `up` and `up.refused`: a target that answers is 1 and 0, one that nobody listens for is 0 and 1, one
that takes the connection and does not answer (or answers with an error) is 0 and 0. When `up` is 0 the two are all.
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
    """Who is asked, and where."""

    entity: str
    url: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """The target written as `entity=URL`, or as a URL alone, whose host and port are then the entity.

        Raises:
            UserError: it is neither.
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
    """Asks one target. Keeps its counters, so that the next answer yields rates."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        self.target = target
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._rates = Rates()

    async def scrape(self, session: aiohttp.ClientSession) -> Sample:
        """Its state now. Never raises for what the target does; returns within the time-out."""
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
            # a kept connection ended: only a new one can tell whether anybody still listens
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
