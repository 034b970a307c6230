"""`opsloop policy`: what may be done, written as Rego: tried, registered under a signature, taken back."""

from __future__ import annotations

import getpass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from app.cli import policy_study
from app.cli.options import BrokerOption, JsonOption
from app.connection import Broker
from app.errors import UserError
from app.printing import out, print_json, print_table

if TYPE_CHECKING:
    from app.policy.store import Store
    from app.policy.trial import Trial
    from topics.policies import Policy
    from topics.spec import Instant

File = Annotated[Path, typer.Argument(metavar="FILE", help="A .rego file")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The id in the policy's metadata")]
By = Annotated[str, typer.Option("--as", help="An admin with a key on this host; you by default")]
Comment = Annotated[str, typer.Option("--comment", help="Why; it is kept with the version")]

policy_app = typer.Typer(no_args_is_help=True, help="Policies: try, register, list, compare, roll back.")


def register(app: typer.Typer) -> None:
    app.add_typer(policy_app, name="policy")
    for study in (policy_study.simulate, policy_study.conflicts, policy_study.recommend, policy_study.sync):
        policy_app.command()(study)


@policy_app.command("test")
def try_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Policies as .rego files")],
    json: JsonOption = False,
) -> None:
    """Try policies: their text, the worked examples beside them (NAME_test.json), and inputs of every kind.

    Example: `opsloop policy test deploy/policies/storm.rego`. Exit code 1 when one may not be registered.
    """
    from app.policy.trial import cases_of, text_of, tried

    found = {str(file): tried(text_of(file), cases_of(file)) for file in files}
    if json:
        print_json(found)
    else:
        for file, trial in found.items():
            _tell(file, trial)
    if not all(trial.good for trial in found.values()):
        raise typer.Exit(1)


def _tell(file: str, trial: Trial) -> None:
    for why in trial.failed:
        out.print(Text(f"✗ {file}: {why}", "red"), soft_wrap=True)
    if trial.good:
        effects = ", ".join(f"{count} {effect}" for effect, count in sorted(trial.effects.items()))
        out.print(Text(
            f"✓ {file}: {len(trial.passed)} worked examples, {trial.evaluated} inputs ({effects}), "
            f"at most {trial.slowest_ms:.2f} ms"
        ), soft_wrap=True)  # fmt: skip


@policy_app.command("register")
def register_(
    file: File, comment: Comment = "", broker: BrokerOption = "", by: By = "", json: JsonOption = False
) -> None:
    """Try a policy and make it the version that holds, everywhere, from the next proposal on.

    Example: `opsloop policy register no_friday.rego --comment "after the outage"`
    """
    from app.policy.trial import cases_of, text_of, tried

    source = text_of(file)
    trial = tried(source, cases_of(file))
    if not trial.good:
        raise UserError(f"{file} is not registered: {trial.failed[0]}", f"opsloop policy test {file}", exit_code=1)
    where, store = open_store(broker)
    word = store.next(source, comment)
    if word is None:
        out.print(f"{trial.policy} holds already, with this text")
        return
    _say(where, [word], by, json, f"{word.name} version {word.version} holds from now on")


@policy_app.command("list")
def list_(broker: BrokerOption = "", json: JsonOption = False) -> None:
    """List the policies, with the version that holds.

    Example: `opsloop policy list`
    """
    from app.policy.store import rows

    _, store = open_store(broker)
    found = rows(store)
    if json:
        print_json(found)
        return
    print_table("Policies", ("name", "holds", "type", "enforcement", "scope", "owner", "title"), (
        [Text(str(cell)) for cell in (
            row.name, "–" if row.holds is None else row.holds or "shipped", row.type, row.enforcement, row.scope,
            row.owner, row.title,
        )] for row in found
    ))  # fmt: skip


@policy_app.command()
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(min=0, help="Another than the one that holds; 0: shipped")] = None,
    broker: BrokerOption = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """Print a policy, and who signed which version of it.

    Example: `opsloop policy show storm`
    """
    _, store = open_store(broker)
    chosen, source = (version, store.source(name, version)) if version is not None else store.held(name)
    words = [word for _, word in sorted(store.versions.get(name, {}).items())]
    if json:
        history = [(w.version, w.ts, w.by, w.comment, w.commit) for w in words]
        print_json({"name": name, "version": chosen, "holds": store.holds(name), "source": source, "history": [
            dict(zip(("version", "ts", "by", "comment", "commit"), row, strict=True)) for row in history
        ]})  # fmt: skip
        return
    for word in words:
        mark = "→" if word.version == store.holds(name) else " "
        commit = f" (commit {word.commit[:12]})" if word.commit else ""
        out.print(Text(f"{mark} version {word.version}  {_date(word.ts)}  {word.by}  {word.comment}{commit}", "dim"))
    out.print(Text(source.rstrip()), soft_wrap=True)


@policy_app.command()
def diff(
    what: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A policy, or a file to hold against what holds")],
    first: Annotated[
        int | None, typer.Option("--from", min=0, help="A version; the one before the other by default")
    ] = None,
    second: Annotated[int | None, typer.Option("--to", min=0, help="A version; the one that holds by default")] = None,
    broker: BrokerOption = "",
) -> None:
    """What differs between two versions of a policy, or between a file and what holds.

    Example: `opsloop policy diff storm --from 0 --to 1`. Exit code 1 when something differs.
    """
    import difflib

    from app.policy.trial import text_of
    from models.policy.base import PolicyFault
    from models.policy.header import read

    _, store = open_store(broker)
    if what.endswith(".rego"):
        new = text_of(Path(what))
        try:
            name = read(new).id
        except PolicyFault as fault:
            raise UserError(f"{what} is no policy ({fault.detail})", f"opsloop policy test {what}") from None
        version = store.holds(name)
        old = store.source(name, version) if version is not None else ""
        labels = f"{name}/{'none' if version is None else version}", what
    else:
        to = second if second is not None else store.held(what)[0]
        below = [v for v in store.known(what) if v < to]
        since = first if first is not None else max(below, default=to)
        old, new = store.source(what, since), store.source(what, to)
        labels = f"{what}/{since}", f"{what}/{to}"
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), *labels, lineterm=""))
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        out.print(Text(line, colours.get(line[:1], "")), soft_wrap=True)
    if lines:
        raise typer.Exit(1)


@policy_app.command()
def activate(
    name: Name, version: Annotated[int, typer.Argument(min=0, help="The version that is to hold; 0: shipped")],
    comment: Comment = "", broker: BrokerOption = "", by: By = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """Let an earlier or later version of a policy hold.

    Example: `opsloop policy activate storm 2`
    """
    where, store = open_store(broker)
    _say(where, [store.again(name, version, comment)], by, json, f"{name} version {version} holds from now on")


@policy_app.command()
def rollback(
    name: Name, comment: Comment = "", broker: BrokerOption = "", by: By = "", json: JsonOption = False
) -> None:
    """Let the version before the one that holds hold again; of the first one: none.

    Example: `opsloop policy rollback no_friday`
    """
    where, store = open_store(broker)
    words, told = store.back(name, comment)
    _say(where, words, by, json, told)


@policy_app.command()
def withdraw(
    name: Name, comment: Comment = "", broker: BrokerOption = "", by: By = "", json: JsonOption = False
) -> None:
    """Let no version of a policy hold, not even one that is shipped.

    Example: `opsloop policy withdraw no_friday`
    """
    where, store = open_store(broker)
    _say(where, store.none(name, comment), by, json, f"no version of {name} holds from now on")


def open_store(address: str) -> tuple[Broker, Store]:
    from app.policy.store import opened

    return opened(address)


def _say(where: Broker, words: list[Policy], by: str, as_json: bool, told: str) -> None:
    from app.policy.versions import publish
    from app.security.keys import Keys
    from app.settings import home

    signed = publish(where, words, by or getpass.getuser(), Keys(home()))
    if as_json:
        print_json(signed[0])
    else:
        out.print(Text(told))


def _date(ts: Instant) -> str:
    return datetime.fromtimestamp(ts / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
