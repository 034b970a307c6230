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
    """List tiers and classes of action with their outcomes: broken, earned, granted.

    Example: `opsloop autonomy show`
    """
    from app.broker import require
    from app.settings import load
    from app.story import trust as fold

    where = broker_of(broker)
    require(where)
    trust = fold(where, load().safety)
    rows = [
        {"name": name, "outcomes": s.count, "helped": s.helped, "broken": bool(s.broken), "earned": s.earned,
         "granted": trust.granted(name)}
        for name, s in sorted(trust.standing.items())
    ]  # fmt: skip
    if json:
        print_json({"kind": "autonomy", "standing": rows})
        return
    marks = ("broken", "earned", "granted")
    print_table("Standing", ("name", "outcomes", "helped", *marks), (
        (r["name"], r["outcomes"], r["helped"], *("yes" if r[mark] else "" for mark in marks)) for r in rows
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
    from app.broker import require
    from app.client import Publisher
    from app.clock import now_ms
    from app.security.keys import Keys
    from app.settings import home, masked
    from models.safety.roles import may
    from models.safety.signing import sign_setting
    from models.safety.trust import AUTONOMY, PROMISES
    from topics.settings import Setting

    words = name.split("/")
    if len(words) != 4 and not (len(words) == 2 and words[1] in PROMISES):
        raise UserError(f"{name!r} is neither a class of action nor a tier", "See `opsloop autonomy show`")
    where, by, keys = broker_of(address), who or getpass.getuser(), Keys(home())
    entry = keys.entry(by)
    if entry is None or not may(entry.roles, "ratify"):
        raise UserError(f"{by} may not say what acts alone", "Ask a lead: opsloop user list")
    require(where)
    bare = Setting(name=f"{AUTONOMY}{name}", value=value, ts=now_ms(), by=by, reason=masked(reason))
    setting = sign_setting(bare, keys.own(by))
    with Publisher(where) as publisher:
        publisher.send(setting)
    if json:
        print_json(setting)
    else:
        out.print(f"{value}: {name}", soft_wrap=True, markup=False)
