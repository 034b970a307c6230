"""`opsloop autonomy`: what confidence has been worth, what has earned to act alone, and a lead's word on it."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.printing import out, print_json, print_table

autonomy = typer.Typer(no_args_is_help=True, help="What acts alone, and what it was trusted with.")
Name = Annotated[str, typer.Argument(help="SYSTEM/ACTION/KIND/ENVIRONMENT or SYSTEM/TIER, as `autonomy show` lists")]
Who = Annotated[str, typer.Option("--as", help="Who says so; you by default")]
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept with the setting")]


def register(app: typer.Typer) -> None:
    app.add_typer(autonomy, name="autonomy")


@autonomy.command()
def show(broker: BrokerOption = "", json: JsonOption = False) -> None:
    """List tiers and classes of action with their outcomes: broken, earned, granted; and promotions that wait.

    A promotion is ratified by a lead: `opsloop approve ID`. `reject` or silence leaves things as they are.

    Example: `opsloop autonomy show`
    """
    from app.clock import now_ms
    from app.history.queries import decisions
    from app.history.queries import trust as fold
    from app.history.render import clock
    from app.kafka.broker import require
    from app.settings import load
    from models.safety.promotion import GRANT, group_of

    where = broker_of(broker)
    require(where)
    trust = fold(where, load().safety)
    rows = [
        {"name": name, "outcomes": s.count, "helped": s.helped, "broken": bool(s.broken), "earned": s.earned,
         "granted": trust.granted(name)}
        for name, s in sorted(trust.standing.items())
    ]  # fmt: skip
    waiting = [
        d for d in decisions(where, waiting=True)
        if d.proposal.action == GRANT and now_ms() < d.expires
    ]  # fmt: skip
    if json:
        told = [
            {"id": d.id, "name": group_of(d.proposal), "reason": d.proposal.reasons[0], "expires": d.expires}
            for d in waiting
        ]  # fmt: skip
        print_json({"kind": "autonomy", "standing": rows, "promotions": told})
        return
    marks = ("broken", "earned", "granted")
    print_table("Standing", ("name", "outcomes", "helped", *marks), (
        (r["name"], r["outcomes"], r["helped"], *("yes" if r[mark] else "" for mark in marks)) for r in rows
    ))  # fmt: skip
    if waiting:
        print_table("Promotions that wait for a lead: opsloop approve ID", ("id", "since", "why"), (
            (d.id, clock(d.ts), d.proposal.reasons[0]) for d in waiting
        ))  # fmt: skip


@autonomy.command()
def grant(name: Name, broker: BrokerOption = "", reason: Why = "", who: Who = "", json: JsonOption = False) -> None:
    """Let a class of action that has earned it act alone, or trust a demoted tier again. It takes a lead or an admin.

    Example: `opsloop autonomy grant shop/restart_service/instance/production --reason "a good month"`
    """
    _say(name, "granted", broker, who, reason, json)


@autonomy.command()
def revoke(name: Name, broker: BrokerOption = "", reason: Why = "", who: Who = "", json: JsonOption = False) -> None:
    """Take a class's autonomy back. It takes a lead or an admin.

    Example: `opsloop autonomy revoke shop/restart_service/instance/production --reason "before the sale"`
    """
    _say(name, "revoked", broker, who, reason, json)


def _say(name: str, value: str, address: str, who: str, reason: str, json: bool) -> None:
    from app.client import Publisher
    from app.clock import now_ms
    from app.kafka.broker import require
    from app.security.keys import Keys
    from app.settings import home, masked
    from models.safety.promotion import AUTONOMY
    from models.safety.roles import Role, may
    from models.safety.signing import sign_setting
    from models.safety.trust import PROMISES
    from topics.settings import Setting

    words = name.split("/")
    if len(words) != 4 and not (len(words) == 2 and words[1] in PROMISES):
        raise UserError(f"{name!r} is neither a class of action nor a tier", "See `opsloop autonomy show`")
    where, by, keys = broker_of(address), who or getpass.getuser(), Keys(home())
    entry = keys.entry(by)
    if entry is None or not may(entry.roles, "ratify"):
        raise UserError(f"{by} may not say what acts alone", keys.whom_to_ask(Role.LEAD))
    require(where)
    bare = Setting(name=f"{AUTONOMY}{name}", value=value, ts=now_ms(), by=by, reason=masked(reason))
    setting = sign_setting(bare, keys.own(by))
    with Publisher(where) as publisher:
        publisher.send(setting)
    if json:
        print_json(setting)
    else:
        out.print(f"{value}: {name}", soft_wrap=True, markup=False)
