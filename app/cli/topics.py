"""`opsloop topics`: the catalogue, and the broker's topics against it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.printing import out, print_json, print_table
from topics.catalog import ALL

if TYPE_CHECKING:
    from app.kafka.admin import TopicStep
    from app.kafka.grow import Done, Job

commands = typer.Typer(no_args_is_help=True, help="The topics of Opsloop: list, plan, apply, grow, export.")

GrowOption = Annotated[bool, typer.Option("--grow", hidden=True)]  # what it did is `topics grow` now


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="topics")


@commands.command("list")
def list_topics(as_json: JsonOption = False) -> None:
    """Every topic: its record, partitions and what it is for.

    Example: `opsloop topics list`
    """
    rows = [
        {
            "topic": _short(topic.name) if not as_json else topic.name,
            "record": topic.record.__name__,
            "partitions": topic.partitions,
            "kept": _kept(topic.config),
            "what": topic.what,
        }
        for topic in ALL
    ]
    if as_json:
        print_json(rows)
    else:
        print_table("", rows[0], (row.values() for row in rows))


@commands.command()
def plan(broker: BrokerOption = "", as_json: JsonOption = False) -> None:
    """Say what `apply` would do. Exit code 0: nothing, 1: something differs, 2: no answer.

    Example: `opsloop topics plan || opsloop topics apply`
    """
    from app.kafka.admin import connected, size, wanted
    from app.kafka.admin import plan as differences
    from app.kafka.broker import require
    from app.settings import load

    chosen = broker_of(broker)
    require(chosen)
    with connected(chosen) as client:
        steps = differences(client, list(wanted(size(client), settings=load().topics)))
    _show("Differences", steps, as_json)
    if any(step.kind in ("grow", "shrink") for step in steps) and not as_json:
        out.print("The cluster has other numbers of partitions than the settings; see `opsloop topics grow --help`.")
    if steps:
        raise typer.Exit(1)
    if not as_json:
        out.print("The topics are as the catalogue wants them.")


@commands.command()
def apply(
    broker: BrokerOption = "", grow: GrowOption = False, as_json: JsonOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Make the first topics of a cluster unasked")] = False,
) -> None:  # fmt: skip
    """Create topics that are missing and put their settings right. Deletes nothing and shrinks nothing.

    It asks before it makes the first topics on a cluster other than the one that `opsloop kafka up` started.

    Example: `opsloop topics apply --broker 127.0.0.1:9092`. Exit code 1 when something is left that it may not do.
    """
    from app.kafka.admin import apply as bring_about
    from app.kafka.admin import connected, foreign, plan, size, wanted
    from app.kafka.broker import require
    from app.kafka.remembered import remembered
    from app.settings import load

    if grow:
        raise UserError("new partitions would take keys from their states", "Grow with: opsloop topics grow FAMILY N")
    chosen = broker_of(broker)
    require(chosen)
    with connected(chosen) as client:
        want = list(wanted(size(client), settings=load().topics))
        steps = plan(client, want)
        if not yes and remembered() != chosen.bootstrap:
            _confirm(foreign(client, chosen), steps, ask=not as_json)
        done = bring_about(client, want, steps)
    _show(f"Done at {chosen.bootstrap}", done, as_json)
    left = [step for step in steps if step not in done]
    if left:
        names = ", ".join(sorted({f"{step.topic} ({step.kind})" for step in left}))
        raise UserError(
            f"left as it is: {names}",
            "Partitions are added by `opsloop topics grow FAMILY N` alone, and never taken away; or write the number"
            " that is there into [topics] of the settings",
            exit_code=1,
        )
    if not steps and not as_json:
        out.print(f"Nothing to do: the topics at {chosen.bootstrap} are as the catalogue wants them.")


@commands.command("grow")
def grow_family(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="telemetry, or loop: all that the loop reads")],
    partitions: Annotated[int, typer.Argument(metavar="N", min=1, help="A multiple of the present number")],
    broker: BrokerOption = "", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Give a family of topics more partitions. Keys move with their state, epochs and audit chains.

    No worker may run, and everything must have been read. When it is interrupted, run it again: it goes on.

    Example: `opsloop topics grow loop 12`, then `loop_partitions = 12` in [topics] of the settings
    """
    from agents._changelog import StateUnreadable
    from app.kafka.grow import grow

    job = _job(family, partitions, broker)
    try:
        done = grow(job)
    except StateUnreadable as error:
        raise UserError(str(error), exit_code=1) from None
    if as_json:
        print_json(done)
    elif done.before == done.after:
        out.print(f"Nothing to do: {family} has {partitions} partitions.")
    else:
        _show_grown(done)


def _job(family: str, partitions: int, broker: str) -> Job:
    """What is to grow, with the agents as the workers of this host make them. Raises UserError."""
    from app import pipeline
    from app.kafka.broker import require
    from app.kafka.families import FAMILIES, hears_heartbeats
    from app.kafka.grow import Job
    from app.printing import err
    from app.runtime.drivers import client_config
    from app.security.keys import WORKER, keys_of
    from app.settings import home, load
    from app.system import Parts

    if family not in FAMILIES:
        raise UserError(f"there is no family {family!r}", f"Choose one of {', '.join(FAMILIES)}")
    chosen, keys = broker_of(broker), keys_of(home())
    require(chosen)
    parts = Parts(load(), keys.own(WORKER), keys, heartbeats=hears_heartbeats(chosen))
    stages = pipeline.stages("loop" if family == "loop" else "lane", parts)
    return Job(chosen, FAMILIES[family], partitions, stages, client_config(chosen), err.print)


def _show_grown(done: Done) -> None:
    from app.kafka.families import FAMILIES
    from app.settings import load

    out.print(
        f"{done.family} has {done.after} partitions, and had {done.before}. Moved: {done.states} states, {done.links}"
        f" audit chains, {done.copied} records that every partition has."
    )
    if done.late:
        out.print(f"Published meanwhile, and read by the old partition if its keys have moved: {', '.join(done.late)}.")
    out.print("Restart what publishes or follows topics (collect, serve, watch, your own programs).")
    if FAMILIES[done.family].wanted(load().topics) != done.after:
        out.print(
            f"Write {done.family}_partitions = {done.after} into [topics] of the settings; then start the workers."
        )


@commands.command()
def export(
    asyncapi: Annotated[
        Path | None, typer.Option("--asyncapi", help="Write the AsyncAPI 3.0 document to this file; - prints it")
    ] = None,
) -> None:
    """The catalogue for others, as AsyncAPI 3.0 with JSON Schemas.

    Example: `opsloop topics export --asyncapi topics.json`
    """
    from app.kafka.asyncapi import document

    if asyncapi is None or str(asyncapi) == "-":
        print_json(document())
        return
    import msgspec

    asyncapi.write_bytes(msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n")
    out.print(f"{len(ALL)} topics are described in {asyncapi}")


def _confirm(cluster: str, steps: Sequence[TopicStep], *, ask: bool) -> None:
    """Ask whether to make topics on a cluster that has none of ours. Raises UserError: no, or nobody can be asked."""
    new = sum(step.kind == "create" for step in steps)
    if not cluster or not new:
        return
    if not (ask and sys.stdin.isatty()):
        raise UserError(f"{cluster} has no topic of Opsloop's, and {new} would be made on it", "Say so with --yes")
    if not typer.confirm(f"{cluster} has no topic of Opsloop's. Make {new} topics on it?"):
        raise UserError("no topic was made", "Point --broker at another cluster", exit_code=1)


def _show(title: str, steps: Sequence[TopicStep], as_json: bool) -> None:
    rows = [{"do": step.kind, "topic": step.topic, "safe": step.safe, "detail": step.detail} for step in steps]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(title, ("do", "topic", "what"), ((s.kind, _short(s.topic), _changes(s)) for s in steps))


def _changes(step: TopicStep) -> str:
    if step.kind == "create":
        return f"{step.detail['partitions'][1]} partitions, {step.detail['replicas'][1]} replicas"
    return ", ".join(f"{name}: {old} → {new or 'default'}" for name, (old, new) in step.detail.items())


def _short(topic: str) -> str:
    return topic.removeprefix("opsloop.")


def _kept(config: dict[str, str]) -> str:
    if config["cleanup.policy"] == "compact":
        return "newest of each key"
    days = int(config["retention.ms"]) / 86_400_000
    return "for ever" if days < 0 else f"{days:g} day{'s' * (days != 1)}"
