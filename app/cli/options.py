"""Options that many commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from app.broker import Broker

BrokerOption = Annotated[
    str, typer.Option("--broker", envvar="OPSLOOP_BROKER", help="Address of a Kafka broker, host:port[,host:port]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")]


def broker_of(address: str) -> Broker:
    """The broker that an option names, with the security settings of the environment."""
    return Broker.from_environment(address)
