"""Addresses that commands listen on."""

from __future__ import annotations

import ipaddress
import socket

from app.errors import UserError
from topics.spec import integer


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
