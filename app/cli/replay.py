"""`opsloop replay`: a recorded history through the agents as they are now, or with other settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from app.cli.options import BrokerOption, JsonOption, broker_of, window
from app.errors import UserError
from app.printing import err, out, print_json, print_table

if TYPE_CHECKING:
    from app.offline.replay import DecisionChange, IncidentChange
    from topics.decisions import Decision
    from topics.spec import Raw


def register(app: typer.Typer) -> None:
    app.command()(replay)


def replay(
    start: Annotated[str, typer.Option("--from", help="Begin here: ISO 8601 (UTC) or epoch")] = "",
    end: Annotated[str, typer.Option("--to", help="End before here; now when it is left out")] = "",
    settings: Annotated[Path | None, typer.Option(help="Compare with what these settings would decide")] = None,
    pack: Annotated[Path | None, typer.Option(help="Compare with what this pack (.toml) would change")] = None,
    history: Annotated[Path | None, typer.Option(help="A saved history instead of a broker's topics")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the history to this file (.jsonl.gz) too")] = None,
    broker: BrokerOption = "", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """What the agents decide on recorded topics, in memory: nothing is written and nothing acts.

    Without --settings or --pack it is held against what was decided at the time; with one, against settings and packs
    of now. Learners begin with nothing at --from. Exit code 1 when something differs.
    Examples: `opsloop replay --from 2026-11-21T09:00 --to 2026-11-21T10:00` · `opsloop replay --history day.jsonl.gz
    --settings stricter.toml` · `opsloop replay --history day.jsonl.gz --pack redis.toml`.
    """
    from app.knowledge.store import load as load_packs
    from app.knowledge.store import pack_of
    from app.offline import replay as play
    from app.security.keys import WORKER, keys_of
    from app.settings import home
    from app.settings import load as settings_of
    from app.shipped import packs
    from models.knowledge.packs import Packs

    first, last = window(start, end)
    chosen = broker_of(broker)
    taken: list[Raw] = play.load(history) if history else play.recorded(chosen, first, last)
    if not taken:
        raise UserError("nothing was recorded in that time", "Look at --from, --to and --broker", exit_code=1)
    if save is not None:
        play.save(taken, save)
        err.print(f"written: {save}")
    keys = keys_of(home())
    base = packs() if history else Packs(load_packs(chosen, keys, first).texts().values())
    trial = play.with_pack(pack_of(pack, base)[0], base) if pack else base
    held = play.Memory(settings_of(), keys.own(WORKER), keys, base)
    now, incidents = held.run(taken), []
    if settings is not None or pack is not None:
        tried = play.Memory(settings_of(settings), keys.own(WORKER), keys, trial)
        before, after = now, tried.run(taken)
        incidents = play.compare_incidents(held.incidents(), tried.incidents())
    elif history is None:
        before, after = play.decided(chosen, first, last), now
    else:
        before = after = now
    changes = play.compare(before, after)
    _show(len(taken), after, changes, incidents, as_json)
    if changes or incidents:
        raise typer.Exit(1)


def _show(
    taken: int, decisions: list[Decision], changes: list[DecisionChange], incidents: list[IncidentChange], as_json: bool
) -> None:
    count = len({decision.id for decision in decisions})
    if as_json:
        print_json({"messages": taken, "decisions": count, "changes": changes, "incidents": incidents})
        return
    out.print(f"{taken:,} messages replayed, {count} decisions, {len(changes)} of them differ")
    if changes:
        rows = ((c.decision[:12], c.action, c.target, c.before or "–", c.after or "–") for c in changes)
        print_table("", ("decision", "action", "target", "before", "after"), ([Text(t) for t in row] for row in rows))
    if incidents:
        told = ((i.incident[:12], i.entity, i.symptom, i.before or "–", i.after or "–") for i in incidents)
        print_table("", ("incident", "entity", "symptom", "before", "after"), ([Text(t) for t in row] for row in told))
