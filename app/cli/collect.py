"""`opsloop collect`: measure this host and any Prometheus endpoint, and publish samples."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import BrokerOption, broker_of
from app.printing import err


def register(app: typer.Typer) -> None:
    app.command()(collect)


def collect(
    period: Annotated[float, typer.Option(min=0.05, help="Seconds between two measurements")] = 1.0,
    node: Annotated[str, typer.Option(help="Name of this host  [default: its host name]")] = "",
    host: Annotated[bool, typer.Option(help="Measure the host itself")] = True,
    process: Annotated[list[str] | None, typer.Option(help="Name or id of a process; may be repeated")] = None,
    scrape: Annotated[
        list[str] | None, typer.Option(help="Prometheus endpoint, URL or entity=URL; may be repeated")
    ] = None,
    targets: Annotated[Path | None, typer.Option(help='JSON list of {"entity", "url"}, followed as it changes')] = None,
    events: Annotated[Path | None, typer.Option(help="JSON lines of events, followed as it grows")] = None,
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds until a target counts as hung; 0: three periods")
    ] = 0.0,
    broker: BrokerOption = "",
) -> None:
    """Measure and publish until stopped.

    Examples: `opsloop collect --period 1 --process nginx` · `opsloop collect --no-host --scrape
    shop/catalog/0=http://127.0.0.1:8001/metrics`. Every target has `up` and `up.refused`: 1 and 0 when it answers, 0
    and 1 when nobody listens, 0 and 0 when it hangs. While the broker is away measurements are kept for a minute.
    """
    import socket

    from app.ingest.collect.scrape import Target
    from app.ingest.collector import Collector, Sources
    from app.kafka.broker import require

    chosen = broker_of(broker)
    sources = Sources(
        node or socket.gethostname().replace("/", "-"), period, host, tuple(process or ()),
        tuple(Target.parse(text) for text in scrape or ()), targets, events, timeout,
    )  # fmt: skip
    require(chosen)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    err.print(f"collecting every {period:g} s as {sources.node}", style="green")
    collector = Collector(chosen, sources)
    left = collector.run(stop)
    lost = left + collector.outbox.dropped
    err.print(f"published {collector.outbox.sent} messages" + (f", lost {lost}" if lost else ""))
    if lost:
        raise typer.Exit(1)
