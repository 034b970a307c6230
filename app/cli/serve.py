"""`opsloop serve`: approvals by HTTP."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from app.cli.listening import configured, is_loopback, listen
from app.cli.options import BrokerOption, broker_of
from app.errors import UserError
from app.kafka.broker import Broker, require
from app.printing import err

PORT = 8642


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    broker: BrokerOption = "",
    host: Annotated[str, typer.Option(help="Where to listen; other than loopback only with TLS")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = PORT,
    cert: Annotated[Path | None, typer.Option(help="Certificate chain for TLS, PEM")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM")] = None,
) -> None:
    """Decisions, votes, incidents, the kill switch, maintenance and the audit by HTTP, until it is stopped.

    Votes are signed with the voters' keys on this host. Example: `opsloop serve --port 8642`
    """
    try:
        import uvicorn  # noqa: F401

        import app.api.server
        import app.security.tokens  # noqa: F401
    except ImportError as error:
        raise UserError(f"HTTP needs a package that is not installed ({error.name})",
                        "Install opsloop with the extra api") from None  # fmt: skip
    if bool(cert) != bool(key):
        raise UserError("TLS takes a certificate and its key", "Give both --cert and --key")
    if not is_loopback(host) and cert is None:
        raise UserError(f"{host} is no loopback address, and tokens would be readable on the way",
                        "Give --cert and --key, or listen on 127.0.0.1")  # fmt: skip
    where = broker_of(broker)
    require(where)
    with listen(host, port, "--port") as listening:
        _run(where, host, listening, (cert, key) if cert and key else None)


def _run(broker: Broker, host: str, listening: socket.socket, tls: tuple[Path, Path] | None) -> None:
    import msgspec
    import uvicorn

    from app.api.read_model import ReadModel
    from app.api.server import make_app
    from app.security.keys import keys_of
    from app.security.tokens import Tokens
    from app.settings import home, load

    settings, keys = load(), keys_of(home())
    api = msgspec.structs.replace(settings.api, hosts=(*settings.api.hosts, host))
    read_model = ReadModel(broker, keys)
    served = make_app(read_model, Tokens(keys, settings.security), api)
    config = configured(served, tls, api.connections, keep_alive_s=5, shutdown_s=3)
    read_model.start()
    err.print(f"serving on {'https' if tls else 'http'}://{host}:{listening.getsockname()[1]}", style="green")
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        read_model.stop()
