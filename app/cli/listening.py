"""Addresses that commands listen on."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import UserError
from topics.spec import integer

if TYPE_CHECKING:
    import uvicorn


def address_of(text: str) -> tuple[str, int]:
    """The host and the port of `host:port` or `[host]:port`; port 0 is any that is free. Raises UserError."""
    host, _, digits = text.rpartition(":")
    port = integer(digits, 65_535)
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or port is None or (":" in bare) != (host != bare):
        raise UserError(f"{text!r} is no address to listen on", "Write host:port, for example 127.0.0.1:9464")
    return bare, port


def is_loopback(host: str) -> bool:
    """Whether only this host reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int, option: str) -> socket.socket:
    """A socket that listens. Raises UserError, which names the option to change."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]  # Python appends the address once more
        raise UserError(f"cannot listen on {host}:{port} ({why})", f"Choose another {option}") from None


def configured(
    app: Any, tls: tuple[Path, Path] | None, connections: int, keep_alive_s: int, shutdown_s: int
) -> uvicorn.Config:  # fmt: skip
    """How an application of ours is served: so many connections, kept for so long, with so long to end.

    tls: files of the certificate and its key. Raises UserError: they cannot be used.
    """
    import uvicorn

    cert, key = tls or (None, None)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none", proxy_headers=False,
        ssl_certfile=cert, ssl_keyfile=key, limit_concurrency=connections, timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=shutdown_s,
    )  # fmt: skip
    try:
        config.load()
    except OSError as error:
        raise UserError(f"the certificate cannot be used ({error})", "Look at --cert and --key") from None
    return config
