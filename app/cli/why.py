"""`opsloop why`: what is known of an entity, and why it has no incident."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.history.render import clock
from app.printing import err, out, print_json, print_table

if TYPE_CHECKING:
    from app.knowledge.why import Why

SHOWN: Final = 20  # rows of a table


def register(app: typer.Typer) -> None:
    app.command()(why)


def why(
    entity: Annotated[str, typer.Argument(metavar="ENTITY", help="As `opsloop watch` shows it")],
    broker: BrokerOption = "", json: JsonOption = False,
    everything: Annotated[bool, typer.Option("--all", help="Every series, not the first twenty")] = False,
) -> None:  # fmt: skip
    """Tell what is known of an entity, and why it has no incident.

    Its series with their ordinary ranges (as of the last snapshot), and the symptoms, causes and cures that packs know.
    Example: `opsloop why shop/redis/0`
    """
    from app.kafka.broker import require
    from app.knowledge.store import load
    from app.knowledge.why import why as find
    from app.security.keys import Keys
    from app.settings import home
    from app.settings import load as settings_of
    from models.knowledge.knowledge import Knowledge

    if not entity.isprintable():  # bytes that are no UTF-8 are not, either
        raise UserError("an entity has no such characters in its name", "See opsloop entities", exit_code=1)
    where, settings = broker_of(broker), settings_of()
    require(where)
    knowledge = Knowledge.of(load(where, Keys(home())).packs())
    found = find(where, knowledge, settings.detection, entity)
    if json:
        print_json(found)
        return
    _print(found, None if everything else SHOWN)


def _print(found: Why, most: int | None) -> None:
    known = found.learned
    kinds = ", ".join(found.kinds) or "unknown: no pack names its series"
    out.print(Text(found.entity, "bold"), Text(f"kind {kinds}"))
    if found.relations:
        out.print(Text(", ".join(f"{r.kind} {r.to}" for r in found.relations)), soft_wrap=True)
    period = f", one each {known.period_ms / 1000:g} s" if known.period_ms else ""
    out.print(Text(f"{known.samples} samples{period}, the last at {clock(known.newest)}"))
    out.print(Text("no incident: " if not found.incidents else "incident: ", "bold"), Text(found.because), sep="")
    if found.symptoms:
        rows = [
            [s.symptom, s.pack, _some(s.series), ", ".join(s.causes), ", ".join(s.cures),
             "lacks " + ", ".join(s.missing) if s.missing else ""]
            for s in found.symptoms
        ]  # fmt: skip
        names = ("symptom", "pack", "series", "causes", "cures", "")
        print_table("Symptoms that it can have", names, ([Text(cell) for cell in row] for row in rows))
    named = [one for one in known.series if one.series not in found.unnamed]
    rest = [one for one in known.series if one.series in found.unnamed]
    series = [
        [one.series, f"{one.low:.4g}", f"{one.expected:.4g}", f"{one.high:.4g}", "" if one in named else "in no pack"]
        for one in [*named, *rest][:most]
    ]
    columns = ("series", "low", "ordinary", "high", "")
    print_table("Series", columns, ([Text(cell) for cell in row] for row in series))
    if len(series) < len(known.series):
        err.print(f"the first {len(series)} of {len(known.series)}; all of them: --all", style="dim")


def _some(series: tuple[str, ...]) -> str:
    """The first two of some series."""
    return ", ".join(series[:2]) + (f" and {len(series) - 2} more" if len(series) > 2 else "")
