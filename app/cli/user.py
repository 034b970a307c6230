"""`opsloop user`: who may do what here, and their keys, passwords and tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import JsonOption
from app.errors import UserError
from app.printing import out, print_json, print_table
from models.safety.roles import Role
from topics.spec import Instant

if TYPE_CHECKING:
    from app.security.tokens import Tokens

Name = Annotated[str, typer.Argument(help="Of a person or a program")]
Roles = Annotated[list[Role], typer.Option("--role", help="What they are trusted with; repeatable")]

user_app = typer.Typer(no_args_is_help=True, help="Who may do what here: principals, keys, passwords, tokens.")


def register(app: typer.Typer) -> None:
    app.add_typer(user_app, name="user")
    app.command()(keys)


def keys(json: JsonOption = False) -> None:
    """Make the keys that this host needs, and list whose keys are believed.

    Example: `opsloop keys`. Copy `principals.json` to hosts with other workers: it holds public keys alone.
    """
    from app.security.keys import enrol
    from app.settings import home

    enrol(home())
    list_(json)


@user_app.command()
def add(name: Name, role: Roles, password: Annotated[
    bool, typer.Option("--password", help="Ask for a password too, to log in over HTTP")
] = False, json: JsonOption = False) -> None:  # fmt: skip
    """Make a key for somebody; of somebody known, it takes the place of the old one.

    Example: `opsloop user add ana --role approver --role lead`
    """
    from app.security.keys import Keys
    from app.settings import home

    store = Keys(home())
    if Role.WORKER in role:
        raise UserError("the role worker is for Opsloop's own processes", "Give another role")
    before = store.entry(name)
    entry = store.add(name, tuple(role))
    if password:
        _tokens().set_password(name, typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    if json:
        print_json(entry)
    else:
        out.print(f"{name} is {', '.join(entry.roles)}; key {entry.key} in {store.home / 'keys'}")
        if before is not None:
            out.print(f"the key before, {before.key}, is not believed any more")


@user_app.command("list")
def list_(json: JsonOption = False) -> None:
    """List everybody, with their roles and keys.

    Example: `opsloop user list --json`
    """
    from app.security.keys import Keys
    from app.settings import home

    entries = Keys(home()).entries()
    if json:
        print_json(entries)
        return
    print_table("Principals", ("name", "roles", "key", "since", "revoked"), (
        (e.name, ", ".join(e.roles), e.key, _date(e.since), _date(e.revoked) if e.revoked else "") for e in entries
    ))  # fmt: skip


@user_app.command()
def grant(name: Name, role: Roles) -> None:
    """Give somebody these roles instead of those they have.

    Example: `opsloop user grant ben --role approver`
    """
    from app.security.keys import Keys
    from app.settings import home

    entry = Keys(home()).grant(name, tuple(role))
    out.print(f"{name} is {', '.join(entry.roles)}")


@user_app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Of a person or program, or the id of a token")],
    token: Annotated[bool, typer.Option("--token", help="Only this one token")] = False,
) -> None:
    """Believe somebody no more, or accept one token no more. It works from the next vote or request on.

    Example: `opsloop user revoke ben`
    """
    from app.security.keys import Keys
    from app.settings import home

    if token:
        _tokens().revoke(name)
    else:
        Keys(home()).revoke(name)
    out.print(f"{name} is revoked")


@user_app.command()
def token(
    name: Name,
    ttl: Annotated[int, typer.Option(min=1, help="For how many seconds it is valid")] = 28_800,
    json: JsonOption = False,
) -> None:
    """Print a token for the HTTP interface.

    Example: `curl -H "Authorization: Bearer $(opsloop user token ana)" …`
    """
    made = _tokens().issue(name, ttl)
    if json:
        print_json({"name": name, "token": made, "ttl": ttl})
    else:
        typer.echo(made)


@user_app.command()
def tokens(json: JsonOption = False) -> None:
    """List the tokens that were given out and have not expired.

    Example: `opsloop user tokens`
    """
    issued = _tokens().issued()
    if json:
        print_json(issued)
        return
    print_table("Tokens", ("id", "name", "since", "until", "revoked"), (
        (i, t.name, _date(t.since), _date(t.expires), _date(t.revoked) if t.revoked else "") for i, t in issued.items()
    ))  # fmt: skip


@user_app.command()
def acls() -> None:
    """Print the broker's access rules for every role and topic, as lines for kafka-acls.

    Example: `opsloop user acls | grep User:viewer`. Give each role's clients a principal of the role's name.
    """
    from models.safety.roles import may_read, may_write
    from topics.catalog import ALL

    for topic in ALL:
        for role in Role:
            rights = [("Write", may_write), ("Read", may_read)]
            given = " ".join(f"--operation {right}" for right, has in rights if has([role], topic.name))
            if given:
                typer.echo(f"--add --allow-principal User:{role} --topic {topic.name} {given} --operation Describe")


def _tokens() -> Tokens:
    try:
        from app.security.tokens import Tokens
    except ImportError as error:
        raise UserError(f"tokens need a package that is not installed ({error.name})",
                        "Install opsloop with the extra security") from None  # fmt: skip
    from app.security.keys import Keys
    from app.settings import home, load

    return Tokens(Keys(home()), load().security)


def _date(ts: Instant) -> str:
    return datetime.fromtimestamp(ts / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
