"""`opsloop label`: a person says what an incident was, and the detectors learn from it."""

from __future__ import annotations

import getpass
from enum import StrEnum
from typing import Annotated

import typer

from app.cli.options import BrokerOption, broker_of
from app.printing import err


class Was(StrEnum):
    """What an incident can have been."""

    CONFIRMED = "confirmed"
    EXPECTED = "expected"
    FALSE_ALARM = "false_alarm"
    NEW_TREND = "new_trend"


def register(app: typer.Typer) -> None:
    app.command()(label)


def label(
    incident: Annotated[str, typer.Argument(help="Its id, or the beginning of it")],
    was: Annotated[Was, typer.Argument(help="What it was")],
    by: Annotated[str, typer.Option(help="Who says so  [default: the user of this shell]")] = "",
    broker: BrokerOption = "",
) -> None:
    """Say what an open incident was: the detectors take it for ordinary from then on, or never.

    confirmed: a fault, and the same one is as strange the next time. expected, new_trend: what is seen now is ordinary.
    false_alarm: it is, and the entity's boundary is wider. An incident that ends without a label was a fault.

    Example: `opsloop label 3f2a new_trend`
    """
    from app.client import Publisher
    from app.clock import now_ms
    from app.history.queries import incident_of
    from app.kafka.broker import require
    from topics.learning import Label

    where = broker_of(broker)
    require(where)
    found = incident_of(where, incident)
    said = Label(incident=found.id, entity=found.entity, label=was.value, ts=now_ms(), by=by or getpass.getuser())
    with Publisher(where) as publisher:
        publisher.send(said)
    err.print(f"{found.id} of {found.entity} was {was.value.replace('_', ' ')}")
