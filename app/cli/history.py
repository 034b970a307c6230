"""`opsloop history`: the index that `incidents`, `decisions`, `explain` and the API answer from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.printing import out, print_json

if TYPE_CHECKING:
    from app.history.view import Kept

history_app = typer.Typer(no_args_is_help=True, help="The index of what happened: show, rebuild.")


def register(app: typer.Typer) -> None:
    app.add_typer(history_app, name="history")


@history_app.command()
def show(broker: BrokerOption = "", json: JsonOption = False) -> None:
    """Show what the index of this cluster holds on this host, after it was brought up to date.

    Example: `opsloop history show`
    """
    from app.history.progress import shown
    from app.history.view import current
    from app.kafka.broker import require

    where = broker_of(broker)
    require(where)
    with current(where, progress=shown()) as view:
        kept = view.kept()
    if json:
        print_json(kept)
    else:
        _print(kept)


@history_app.command()
def rebuild(broker: BrokerOption = "", json: JsonOption = False) -> None:
    """Build the index of this cluster anew from its topics. The topics are not changed.

    Example: `opsloop history rebuild`
    """
    from app.history.progress import shown_always
    from app.history.view import rebuild as build
    from app.kafka.broker import require

    where = broker_of(broker)
    require(where)
    began = time.monotonic()
    read, kept = build(where, shown_always())
    seconds = time.monotonic() - began
    if json:
        print_json({"messages": read, "seconds": seconds, "kept": kept})
        return
    out.print(f"{read:,} messages read in {seconds:.1f} s, {read / max(seconds, 1e-3):,.0f} a second")
    _print(kept)


def _print(kept: Kept) -> None:
    out.print(
        f"the index holds {kept.records:,} records, {kept.anomalies:,} anomalies, {kept.audit:,} audit entries, "
        f"{kept.dead_letters:,} dead letters and {kept.entities:,} entities in {kept.bytes / 1e6:,.1f} MB; "
        f"{kept.unreadable:,} messages did not decode", soft_wrap=True,
    )  # fmt: skip
