"""`opsloop entities`: what is watched, of which kind it is, and what it has to do with what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.history.render import clock
from app.printing import err, escaped, marked, out, plain, print_json, print_table

if TYPE_CHECKING:
    from topics.entities import Entity

GLOBS = "*?["


def register(app: typer.Typer) -> None:
    app.command()(entities)


def entities(
    entity: Annotated[str, typer.Argument(metavar="[ENTITY]", help="One, or a glob: 'shop/*'")] = "",
    kind: Annotated[str, typer.Option(help="Only those of a kind")] = "",
    gone: Annotated[bool, typer.Option("--gone", help="Those that are gone, too")] = False,
    apply: Annotated[Path | None, typer.Option(metavar="FILE", help="Tell what a topology.toml says")] = None,
    broker: BrokerOption = "",
    json: JsonOption = False,
) -> None:
    """List entities with their kind, last sample and relations.

    With the name of one, all that is known of it; --apply FILE tells what a file says of entities.

    Example: `opsloop entities 'shop/*' --kind pod`
    """
    from app.kafka.broker import require
    from app.knowledge.entities import apply as apply_file
    from app.knowledge.entities import known
    from topics.entities import Presence

    where = broker_of(broker)
    require(where)
    if apply is not None:
        done = apply_file(where, apply)
        if json:
            print_json(done)
        else:
            err.print(f"{done['entities']} entities are told, {done['ended']} are no more in {apply.name}")
        return
    seen = known(where, entity, gone=True)
    exact = [each for each in seen if each.entity == entity]  # its name may look like a glob
    one = bool(exact) or (bool(entity) and not any(char in entity for char in GLOBS))
    there = exact or [each for each in seen if gone or each.state is not Presence.GONE]
    found = [each for each in there if not kind or each.kind == kind]
    if one and not found:
        raise UserError(f"nothing is known of {entity}", "See opsloop entities", exit_code=1)
    if json:
        print_json(found[0] if one else found)
    elif one:
        _details(found[0])
    else:
        _table(found)


def _table(found: list[Entity]) -> None:
    print_table("Entities", ("entity", "kind", "state", "last sample", "relations"), (
        (e.entity, e.kind, e.state, clock(e.last) if e.last else "", ", ".join(f"{r.kind} {r.to}" for r in e.relations))
        for e in found
    ))  # fmt: skip


def _details(e: Entity) -> None:
    out.print(
        marked(f"[bold]{escaped(e.entity)}[/bold]  {e.kind or 'of no known kind'}, {e.state} since {clock(e.ts)}")
    )
    heard = f"; last sample {clock(e.last)}" if e.last else ""
    out.print(f"  first heard of {clock(e.first)}{heard}; said by {plain(', '.join(e.sources)) or 'its samples'}")
    if e.template:
        out.print(f"  named by {plain(e.template)}")
    for name, text in e.attributes.items():
        out.print(f"  {plain(name)} = {plain(text)}")
    for r in e.relations:
        said = f"{escaped(r.source)}, {r.confidence:.0%}, since {clock(r.since)}"
        out.print(marked(f"  {r.kind} {escaped(r.to)}  [dim]{said}[/dim]"))
