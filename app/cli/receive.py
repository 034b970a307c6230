"""`opsloop receive`: telemetry and events by HTTP."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.listening import address_of, configured, is_loopback, listen
from app.cli.options import BrokerOption, broker_of
from app.errors import UserError
from app.printing import err

if TYPE_CHECKING:
    from app.kafka.broker import Broker
    from app.settings import Settings

SHORTEST_TOKEN = 16  # characters: what is shorter can be guessed


def register(app: typer.Typer) -> None:
    app.command()(receive)


def receive(
    address: Annotated[str, typer.Option("--listen", help="host:port; port 0 is any that is free")] = "127.0.0.1:9464",
    broker: BrokerOption = "",
    token_file: Annotated[Path | None, typer.Option(help="File with the token that senders show, or several")] = None,
    cert: Annotated[Path | None, typer.Option(help="Certificate chain for TLS, PEM")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM")] = None,
    behind_proxy: Annotated[bool, typer.Option("--behind-proxy", help="A proxy before it has the TLS")] = False,
) -> None:
    """Receive telemetry and events by HTTP until stopped.

    Prometheus remote write on /api/v1/write, OTLP on /v1/metrics and /v1/logs, Alertmanager on /alertmanager, influx
    lines on /influx/api/v2/write, CloudEvents on /events, JSON on /telemetry. A request is answered when the broker has
    it. Addresses other than loopback need a token, and TLS or a proxy that has it.

    Example: `opsloop receive --listen 127.0.0.1:9464`
    """
    try:
        import uvicorn  # noqa: F401

        import app.ingest.receive.server  # noqa: F401
    except ImportError as error:
        raise UserError(f"HTTP needs a package that is not installed ({error.name})",
                        "Install opsloop with the extra api") from None  # fmt: skip
    from app.kafka.broker import require
    from app.settings import load

    host, port = address_of(address)
    settings = load()
    tokens = _tokens(settings.receive.token, token_file)
    _require_safe(host, bool(tokens), (cert, key), behind_proxy)
    chosen = broker_of(broker)
    require(chosen)
    _require_topics(chosen)
    with listen(host, port, "--listen") as listening:
        _run(chosen, settings, tokens, (host, listening), (cert, key) if cert and key else None)


def _tokens(setting: str, file: Path | None) -> list[str]:
    """The tokens of the file, else of the setting. Raises UserError: they cannot be read, or are too short."""
    from app.secrets import resolve

    if file is None and not setting:
        return []
    found = resolve(f"file:{file}" if file else setting).split()
    if not found or min(map(len, found)) < SHORTEST_TOKEN:
        what = "there is no token in it" if not found else f"a token has less than {SHORTEST_TOKEN} characters"
        raise UserError(f"{file or '[receive] token'}: {what}", "Make one: openssl rand -hex 32")
    return found


def _require_safe(host: str, has_token: bool, tls: tuple[Path | None, Path | None], behind_proxy: bool) -> None:
    """Raise UserError when others could post without a token, or read it on the way."""
    if bool(tls[0]) != bool(tls[1]):
        raise UserError("TLS takes a certificate and its key", "Give both --cert and --key")
    if is_loopback(host):
        return
    if not has_token:
        raise UserError(f"{host} is no loopback address, and anybody could post there", "Give --token-file")
    if tls[0] is None and not behind_proxy:
        raise UserError(f"{host} is no loopback address, and the token would be readable on the way",
                        "Give --cert and --key, or --behind-proxy when a proxy before it has the TLS")  # fmt: skip


def _require_topics(broker: Broker) -> None:
    """Raise UserError when a topic is missing that parts of requests are written to."""
    from app.client import Publisher
    from topics.telemetry import EVENTS, METRICS

    publisher = Publisher(broker)
    for topic in (METRICS, EVENTS):
        publisher.partitions(topic.name)
        publisher.partitions(topic.dlq)


def _run(
    broker: Broker, settings: Settings, tokens: list[str], where: tuple[str, socket.socket],
    tls: tuple[Path, Path] | None,
) -> None:  # fmt: skip
    import uvicorn

    from app.ingest.receive.delivery import Delivery
    from app.ingest.receive.server import Receiver
    from app.ingest.settings import naming

    receiving = settings.receive
    delivery = Delivery(broker, receiving)
    left = 0
    try:
        receiver = Receiver(delivery, receiving, tokens, naming(settings.ingest))
        config = configured(
            receiver.app(), tls, receiving.connections,
            keep_alive_s=75,  # longer than senders pause: one that writes on a connection while it is closed fails
            shutdown_s=math.ceil(receiving.read_s + receiving.deliver_s),  # what is accepted is finished
        )  # fmt: skip
        host, listening = where
        shown = f"[{host}]" if ":" in host else host
        err.print(f"receiving on {'https' if tls else 'http'}://{shown}:{listening.getsockname()[1]}", style="green")
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        left = delivery.close(receiving.deliver_s)
    if left:
        raise UserError(f"{left} messages were not delivered, and their senders were told", exit_code=1)
