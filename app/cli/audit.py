"""`opsloop audit`: is the record of everything whole, what does it say, and a copy of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.kafka.broker import Broker
from app.printing import escaped, marked, out, print_json
from topics.audit import AUDIT, CHECKPOINTS, AuditEntry, Checkpoint
from topics.spec import integer

From = Annotated[int, typer.Option("--from", min=0, help="Begin at this entry of each chain")]

audit_app = typer.Typer(no_args_is_help=True, help="The record of everything that was decided, refused and done.")


def register(app: typer.Typer) -> None:
    app.add_typer(audit_app, name="audit")


@audit_app.command()
def verify(broker: BrokerOption = "", start: From = 0, json: JsonOption = False) -> None:
    """Look whether anything was changed, dropped, moved, cut off, forked or left out of the audit.

    Example: `opsloop audit verify`

    Exit code: 0 when it is whole, 1 when it is not, with every place.
    """
    from app.clock import now_ms
    from app.history.audit import examine
    from app.kafka.broker import require
    from app.security.keys import Keys
    from app.settings import home

    where = broker_of(broker)
    require(where)
    report = examine(where, Keys(home()), start, now=now_ms())
    if json:
        print_json(report)
    else:
        for line in report.wrong:
            out.print(marked(f"[red]wrong[/red] {escaped(line)}"), soft_wrap=True)
        word = "[green]whole[/green]" if not report.wrong else "[red]not whole[/red]"
        counted = f"{report.entries} entries in {report.chains} chains, {report.checkpoints} checkpoints"
        out.print(marked(f"{word}: {counted}, {report.unsigned} entries after the last of them"), soft_wrap=True)
    if report.wrong:
        raise typer.Exit(1)


@audit_app.command()
def show(
    broker: BrokerOption = "", start: From = 0, json: JsonOption = False,
    last: Annotated[int, typer.Option(min=0, help="Only the last so many; 0: all")] = 50,
) -> None:  # fmt: skip
    """Show entries of the audit, in the order in which they were written.

    Example: `opsloop audit show --last 20`
    """
    from app.history.queries import audit_entries
    from app.history.render import clock, sentence
    from app.kafka.broker import require
    from topics.catalog import named
    from topics.codec import decode_value

    where = broker_of(broker)
    require(where)
    for entry in audit_entries(where, last, start):
        if json:
            print_json(entry)
            continue
        record = decode_value(named(entry.topic), bytes(entry.body))
        out.print(marked(f"{clock(entry.ts)} {entry.chain}/{entry.seq} {sentence(record)}"), soft_wrap=True)


@audit_app.command()
def prove(
    place: Annotated[str, typer.Argument(metavar="CHAIN/SEQ", help="Of an entry, as `opsloop explain` shows it")],
    broker: BrokerOption = "",
) -> None:
    """Print the proof that one entry was in the audit when its checkpoint was signed, as JSON.

    Example: `opsloop audit prove 0/12`
    """
    from app.history.audit import prove as proof
    from app.kafka.broker import require

    chain, _, seq = place.partition("/")
    if integer(chain) is None or integer(seq) is None:
        raise UserError(f"{place!r} is no place in the audit", "Write CHAIN/SEQ, as in 0/12")
    where = broker_of(broker)
    require(where)
    print_json(proof(where, int(chain), int(seq)))


@audit_app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to: JSON lines, first the entries, then the checkpoints")],
    broker: BrokerOption = "", start: From = 0,
) -> None:  # fmt: skip
    """Write the audit to a file, with the checkpoints that prove it.

    Example: `opsloop audit export audit.jsonl`
    """
    from app.kafka.broker import require

    where = broker_of(broker)
    require(where)
    count = 0
    try:
        with file.open("wb") as lines:
            for record in _records(where, start):
                lines.write(msgspec.json.encode(record) + b"\n")
                count += 1
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror})", "Name another file") from None
    out.print(f"{count} records in {file}")


def _records(broker: Broker, start: int) -> Iterator[AuditEntry | Checkpoint]:
    """The entries of all chains from number `start` on, each chain in its order, then all checkpoints."""
    from app.history.records import records

    for read in records(broker, [AUDIT]):
        if isinstance(read.record, AuditEntry) and read.record.seq >= start:
            yield read.record
    for read in records(broker, [CHECKPOINTS]):
        if isinstance(read.record, Checkpoint):
            yield read.record
