"""`opsloop status`: who is at work, how far behind, what stops acting, and what waits for people."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.printing import escaped, marked, out, print_json, print_table
from topics.spec import Instant

if TYPE_CHECKING:
    from app.kafka.broker import Broker
    from app.kafka.status import Group
    from topics.decisions import Decision


def register(app: typer.Typer) -> None:
    app.command()(status)


def status(
    broker: BrokerOption = "",
    json: JsonOption = False,
    entities: Annotated[bool, typer.Option(help="Count the entities that sent something in the last minute")] = True,
) -> None:
    """Say how things stand: workers, actuators, lag, entities, kill switch, maintenance, what waits for people.

    Example: `opsloop status --json`. Exit code 0 whatever it finds; see `opsloop doctor` for what needs you.
    """
    from app.clock import now_ms
    from app.kafka.broker import require
    from app.kafka.status import groups
    from app.security.standing import standing, waiting
    from app.settings import home, load

    where, safety = broker_of(broker), load().safety
    require(where)
    found = {
        "broker": where.bootstrap,
        "workers": groups(where),
        "entities": _entities(where) if entities else None,
        "standing": standing(where, home()),
        "waiting": waiting(where, now_ms() - max(safety.approval_ms, safety.promotion_ms)),
    }
    if json:
        print_json(_as_json(found))
    else:
        _show(found)


def _entities(broker: Broker) -> dict[str, Any]:
    """How many entities sent samples in the last minute; `complete` is false when there were too many to read."""
    from app.history.entities import WITHIN_S, recent

    found = recent(broker)
    return {"count": len(found.names), "within_s": WITHIN_S, "complete": found.complete}


def _as_json(found: dict[str, Any]) -> dict[str, Any]:
    groups, stands = found["workers"], found["standing"]
    return {
        "broker": found["broker"],
        "workers": groups,
        "actuators": [member for group in groups or () for member in _actuators(group)],
        "entities": found["entities"],
        "kill_switch": {
            "position": "on" if stands.killed else "off", "topic": stands.by_topic, "file": stands.by_file,
        },
        "maintenance": stands.maintenance,
        "waiting": found["waiting"],
    }  # fmt: skip


def _actuators(group: Group) -> list[dict[str, Any]]:
    if not group.group.startswith("opsloop-act"):
        return []
    return [{"group": group.group, "client": member.client, "host": member.host} for member in group.members]


def _show(found: dict[str, Any]) -> None:
    out.print(f"broker       {found['broker']}", markup=False)
    _show_workers(found["workers"])
    if (seen := found["entities"]) is not None:
        more = "" if seen["complete"] else " or more"
        out.print(f"entities     {seen['count']}{more} sent something in the last {seen['within_s']} s")
    stands = found["standing"]
    out.print(marked(f"kill switch  {'[red]on[/red]: ' + escaped(stands.killed) if stands.killed else 'off'}"))
    kept = ", ".join(f"{scope} until {_time(until)}" for scope, until in sorted(stands.maintenance.items()))
    out.print(f"maintenance  {kept or 'none'}")
    _show_waiting(found["waiting"])


def _show_workers(groups: list[Group] | None) -> None:
    from app.kafka.status import missing, missing_verbs
    from app.pipeline import verbs

    if groups is None:
        out.print("workers      this broker does not tell who reads from it")
        return
    absent = [*missing(groups), *(f"loop's {verb}" for verb in missing_verbs(groups, verbs("loop")))]
    out.print(f"workers      {'no worker for ' + ', '.join(absent) if absent else 'lane, loop and act are at work'}")
    if groups:
        print_table("", ("group", "state", "members", "behind", "where most"), (
            (g.group, g.state, len(g.members), g.behind, _most(g)) for g in groups
        ))  # fmt: skip
    hosts = sorted({member["host"] for group in groups for member in _actuators(group)})
    out.print(f"actuators    {', '.join(hosts) if hosts else 'none: nothing that is approved can be done'}")


def _most(group: Group) -> str:
    """The topic that a group is behind in most."""
    topic, lag = max(group.lag.items(), key=lambda pair: pair[1], default=("", 0))
    return topic.removeprefix("opsloop.") if lag else ""


def _show_waiting(decisions: list[Decision]) -> None:
    if not decisions:
        out.print("waiting      nothing waits for people")
        return
    out.print(f"waiting      {len(decisions)} for people: opsloop approve ID, opsloop reject ID")
    print_table("", ("id", "until", "action", "target", "why"), (
        (d.id, _time(d.expires), d.proposal.action, d.proposal.target, d.reasons[-1])
        for d in decisions
    ))  # fmt: skip


def _time(ts: Instant) -> str:
    return datetime.fromtimestamp(ts / 1000).astimezone().strftime("%m-%d %H:%M:%S")
