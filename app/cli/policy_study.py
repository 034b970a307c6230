"""`opsloop policy simulate`, `conflicts`, `recommend`, `sync`: what policies would do, before they do it."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
import typer
from rich.text import Text

from app.cli.options import BrokerOption, JsonOption, window
from app.errors import UserError
from app.printing import err, out, print_json, print_table

if TYPE_CHECKING:
    from models.policy.compare import Simulation
    from models.policy.engine import Active

T = TypeVar("T")
From = Annotated[str, typer.Option("--from", help="Decisions from here on: ISO 8601 (UTC) or epoch")]
To = Annotated[str, typer.Option("--to", help="Decisions before here; now when it is left out")]

SHOWN: Final = 40  # rows of a table


def counted(what: str, things: Iterable[T]) -> Iterator[T]:
    """The things, counted on stderr while they pass."""
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        for number, thing in enumerate(things, 1):
            yield thing
            if number % 500 == 0:
                progress.update(task, completed=number)


def simulate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Policies as they would be")],
    start: From = "", end: To = "",
    broker: BrokerOption = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """Put recorded decisions to the policies as they are and as they would be, and tell what changes.

    Nothing is registered. Exit code 1 when something changes.
    Example: `opsloop policy simulate storm.rego --from 2026-11-21T00:00 --to 2026-11-22T00:00`
    """
    from app.policy.recorded import asked
    from app.policy.store import opened
    from models.policy.compare import Simulation

    first, last = window(start, end)
    where, store = opened(broker)
    before, after = store.active, _with(store.active, files)
    simulation = Simulation()
    for decision in counted("decisions", asked(where, first, last)):
        simulation.add(decision, before, after)
    if not simulation.decisions:
        raise UserError("no recorded decision was put to policies in that time", "Look at --from, --to and --broker",
                        exit_code=1)  # fmt: skip
    if json:
        print_json(simulation)
    else:
        _tell(simulation)
    if simulation.changes:
        raise typer.Exit(1)


def _with(active: list[Active], files: list[Path]) -> list[Active]:
    """These policies, with the texts of files in the place of those of their names."""
    from app.policy.shipped import policies
    from app.policy.trial import text_of, tried
    from models.policy.engine import Active

    named = {policy.name: policy for policy in active}
    for file in files:
        source = text_of(file)
        found = tried(source)
        if not found.good:
            raise UserError(f"{file} could not be registered: {found.failed[0]}", f"opsloop policy test {file}")
        known = named.get(found.policy)
        named[found.policy] = Active(found.policy, known.version if known else 0, policies().load(source))
    return [named[name] for name in sorted(named)]


def _tell(found: Simulation) -> None:
    out.print(
        f"{found.decisions:,} decisions: {found.newly_allowed:,} newly allowed, {found.newly_blocked:,} newly blocked, "
        f"{found.changed:,} with other votes, mode or parameters", soft_wrap=True,
    )  # fmt: skip
    if found.faults:
        out.print(Text(f"{found.faults:,} times a policy gave no answer, which denies", "red"))
    if found.drifted:
        out.print(f"{found.drifted:,} were made under other policies than those of today: both sides are today's here")
    if found.changes:
        print_table("", ("decision", "action", "target", "", "before", "after", "why"), (
            [Text(cell) for cell in (
                c.decision[:12], c.action, c.target, c.kind.replace("_", " "), c.before, c.after, "; ".join(c.why)
            )] for c in found.changes[:SHOWN]
        ))  # fmt: skip
    if len(found.changes) > SHOWN:
        out.print(f"… and {len(found.changes) - SHOWN:,} more: --json has them all")


def conflicts(
    start: From = "", end: To = "",
    generated: Annotated[int, typer.Option(min=0, max=100_000, help="Inputs to make besides recorded ones")] = 2_000,
    broker: BrokerOption = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """Policies that contradict each other, each pair with an input on which it does, recorded or generated.

    Exit code 1 when there are some. Example: `opsloop policy conflicts --from 2026-11-21T00:00`
    """
    from app.policy.recorded import asked
    from app.policy.store import opened
    from models.policy.conflicts import conflicts as find

    first, last = window(start, end)
    where, store = opened(broker)
    recorded = ((d.id, d.facts) for d in counted("decisions", asked(where, first, last)) if d.facts is not None)
    texts = [store.held(policy.name)[1] for policy in store.active]
    found = find(store.active, texts, recorded, generated)
    if json:
        print_json({"policies": len(store.active), "conflicts": found})
    else:
        out.print(f"{len(store.active)} policies, {len(found)} contradictions")
        for conflict in found:
            (one, other), (says, denies) = conflict.policies, conflict.says
            out.print(Text(f"{conflict.kind}  {one}: {says}  ⟷  {other}: {denies}"), soft_wrap=True)
            if conflict.witness is not None:
                source = f"decision {conflict.recorded[:12]}" if conflict.recorded else "generated"
                out.print(Text(
                    f"  on {conflict.inputs} of {conflict.shared} inputs that both cover; {source}: "
                    f"{msgspec.json.encode(conflict.witness).decode()}", "dim"
                ), soft_wrap=True)  # fmt: skip
    if found:
        raise typer.Exit(1)


def recommend(
    file: Annotated[Path, typer.Option("--out", help="The .rego file to write")],
    start: From = "", end: To = "", broker: BrokerOption = "",
) -> None:  # fmt: skip
    """Write a policy from recorded behaviour: quotas and votes that would have stopped nothing that helped.

    It is a file to look at; registered as it is, it only writes down what it would say (enforcement monitor).
    Example: `opsloop policy recommend --from 2026-11-01 --out recommended.rego`
    """
    from app.policy.recorded import history
    from app.policy.store import opened
    from app.policy.trial import tried
    from models.policy.base import NAME
    from models.policy.recommend import experiences
    from models.policy.recommend import recommend as write

    if not re.fullmatch(NAME, file.stem) or file.suffix != ".rego":
        raise UserError(f"{file.name} is no name of a policy's file", "Write --out recommended.rego")
    first, last = window(start, end)
    where, _ = opened(broker)
    seen = experiences(*history(where, first, last))
    if not seen:
        raise UserError("no recorded decision was put to policies in that time", "Look at --from, --to and --broker",
                        exit_code=1)  # fmt: skip
    days = [datetime.fromtimestamp(at / 1000, UTC).date().isoformat() for at in (first, last)]
    text = write(seen, file.stem, *days)
    trial = tried(text)
    if not trial.good:
        raise UserError(f"what was found makes no policy: {trial.failed[0]}", "Choose another --from", exit_code=1)
    file.write_text(text)
    rules = text.count("\n# ") - 1
    out.print(f"{file}: {rules} rules from {len(seen):,} decisions. Look at it, then: opsloop policy register {file}")


def sync(
    url: Annotated[str, typer.Argument(metavar="URL|PATH", help="Of a Git repository")],
    branch: Annotated[str, typer.Option(help="Another than the repository's own")] = "",
    folder: Annotated[str, typer.Option(help="Policies are in this folder of it")] = "",
    require_signed: Annotated[
        Path | None, typer.Option(metavar="SIGNERS", help="OpenSSH's allowed signers: the commit must be of one")
    ] = None,
    broker: BrokerOption = "", by: Annotated[str, typer.Option("--as", help="An admin; you by default")] = "",
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Take the policies of a Git repository: the newest commit as a whole, or nothing of it.

    Example: `opsloop policy sync https://git.example.org/policies.git --require-signed allowed_signers`
    """
    from app.policy.store import opened
    from app.policy.sync import Source, words
    from app.policy.versions import publish
    from app.security.keys import Keys
    from app.settings import home

    where, store = opened(broker)
    commit, found = words(store, Source(url, branch, folder, require_signed))
    if found:
        publish(where, found, by or getpass.getuser(), Keys(home()))
    changed = sorted({word.name for word in found if word.active})
    gone = sorted({word.name for word in found if not word.active})
    if json:
        print_json({"commit": commit.id, "policies": len(commit.texts), "registered": changed, "withdrawn": gone})
    else:
        out.print(Text(
            f"commit {commit.id[:12]} ({commit.subject}): {len(commit.texts)} policies; registered: "
            f"{', '.join(changed) or 'none'}; withdrawn: {', '.join(gone) or 'none'}"
        ), soft_wrap=True)  # fmt: skip
