"""Scrapes a Prometheus endpoint, and distinguishes a dead target from a hung one.

Every sample has `up` and `up.refused`: 1 and 0 for a target that answers; 0 and 1 when the connection is refused; 0 and
0 when it accepts the connection and does not answer, or answers with an error. With `up` 0 there is no other metric but
`scrape_duration_seconds`, which every sample has.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from app.clock import now_ms
from app.errors import UserError
from app.ingest.collect.prometheus import MAX_SERIES, Exposition
from topics.telemetry import Sample

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 4_000_000
MOST_METRICS: Final = 1_000  # of one sample: however long the names are, its message has less than a megabyte
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
    """Scrapes one target. What is wrong with its text is logged when it begins."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        self.target = target
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._exposition = Exposition()
        self._bad = self._left_out = False

    async def scrape(self, session: aiohttp.ClientSession) -> list[Sample]:
        """Scrape the target once: a sample, in parts of at most MOST_METRICS. The first one has `up`.

        Raises nothing, whatever the target does; returns within the time-out.
        """
        began, metrics = time.monotonic(), dict[str, float]()
        try:
            async with asyncio.timeout(self._timeout.total):
                text = await self._fetch(session)
            metrics, up = self._read(text), _ANSWERED
        except ConnectionRefusedError:
            up = _REFUSED
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            up = _SILENT
        now, own = now_ms(), {**up, "scrape_duration_seconds": round(time.monotonic() - began, 4)}
        found = list((own | {name: value for name, value in metrics.items() if name not in own}).items())
        parts = (dict(found[at : at + MOST_METRICS]) for at in range(0, len(found), MOST_METRICS))
        return [Sample(entity=self.target.entity, ts=now, metrics=part) for part in parts]

    def _read(self, text: str) -> dict[str, float]:
        """Raises ValueError: it is not Prometheus' text format."""
        found, target = self._exposition.read(text), {"entity": self.target.entity, "url": self.target.url}
        if found.bad and not self._bad:
            log.warning("lines of a target are refused, the others taken", lines=found.bad, first=found.why, **target)
        if found.left_out and not self._left_out:
            log.warning(
                f"a target has more than {MAX_SERIES} series: those that came last are left out. Drop labels with many "
                "values, or let Prometheus scrape it and write to `opsloop receive`", left_out=found.left_out, **target,
            )  # fmt: skip
        self._bad, self._left_out = bool(found.bad), bool(found.left_out)
        return found.metrics

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
            return body.decode(errors="surrogateescape")
