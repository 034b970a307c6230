"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.connection import Broker
from app.errors import UserError
from topics.spec import Instant

BrokerOption = Annotated[
    str, typer.Option("--broker", envvar="OPSLOOP_BROKER", help="Address of a Kafka broker, host:port[,host:port]")
]
SiteOption = Annotated[
    Path | None,
    typer.Option("--site", exists=True, file_okay=False, help="Folder of the site that `act` commands"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")]


def broker_of(address: str) -> Broker:
    """The broker of an option, of OPSLOOP_BROKER, or of the last `kafka up`, with the security settings given."""
    import os

    from app.kafka.remembered import remembered

    return Broker.from_environment(address or os.environ.get("OPSLOOP_BROKER", "") or remembered())


def window(start: str, end: str) -> tuple[Instant, Instant]:
    """The times that --from and --to name: the epoch and now when they are left out. Raises UserError."""
    from app.clock import now_ms
    from app.ingest.publish import instant

    try:
        return (instant(start) if start else 0), (instant(end) if end else now_ms())
    except ValueError as error:
        raise UserError(f"--from or --to is no time ({error})", "Write 2026-11-21T09:00, or an epoch") from None


def user_name() -> str:
    """The name of the user at this terminal; their number where the host has no name for it."""
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
