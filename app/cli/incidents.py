"""`opsloop incidents`, `decisions`, `explain`: what happened, and why. `acknowledge`, `resolve`: who has it in hand."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.history.render import clock, details, sentence, styled
from app.printing import err, escaped, marked, out, print_json, print_table
from topics.audit import AuditEntry
from topics.refusals import Refusal
from topics.settings import ACKNOWLEDGED, RESOLVED
from topics.spec import Instant

Identity = Annotated[str, typer.Argument(metavar="INCIDENT", help="Its id; the beginning is enough")]
Note = Annotated[str, typer.Option("--note", help="What you found or did; it is kept with the incident")]
Person = Annotated[str, typer.Option("--as", help="Who says so; you by default")]
Last = Annotated[int | None, typer.Option(min=0, help="Only the newest so many; 0: all  [default: 50, JSON: all]")]
SHOWN = 50  # rows of a table
Since = Annotated[float, typer.Option("--since", min=0, help="Only the last so many seconds; 0: all")]


def register(app: typer.Typer) -> None:
    for command in (incidents, decisions, explain, acknowledge, resolve):
        app.command()(command)


def _shown_of(count: int, shown: int) -> None:
    """Say that a table does not show everything there is."""
    if shown < count:
        err.print(f"the newest {shown} of {count:,}; all of them: --last 0", style="dim")


def _since(seconds: float) -> Instant | None:
    from app.clock import now_ms

    return now_ms() - int(seconds * 1000) if seconds else None


def incidents(
    broker: BrokerOption = "", json: JsonOption = False, since: Since = 0, last: Last = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that still need somebody")] = False,
) -> None:  # fmt: skip
    """List incidents with their state, cause and age, newest first.

    Example: `opsloop incidents --open`
    """
    from app.history.queries import newest
    from app.kafka.broker import require
    from topics.incidents import INCIDENTS, Incident

    where = broker_of(broker)
    require(where)
    limit = (0 if json else SHOWN) if last is None else last
    found, count = newest(where, INCIDENTS, Incident, _since(since), limit=limit, open_only=open_only)
    if json:
        print_json(found)
        return
    print_table("Incidents", ("id", "since", "P", "state", "where", "symptom", "hypothesis", "attempts"), (
        (i.id, clock(i.onset), i.priority, styled(i.state), i.entity, i.symptom,
         f"{i.hypotheses[0].cause} of {i.hypotheses[0].target}" if i.hypotheses else "", len(i.attempts))
        for i in found
    ))  # fmt: skip
    _shown_of(count, len(found))


def decisions(
    broker: BrokerOption = "", json: JsonOption = False, since: Since = 0, last: Last = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for a person")] = False,
) -> None:  # fmt: skip
    """List decisions with their state, action and reasons, newest first.

    Example: `opsloop decisions --waiting`
    """
    from app.history.queries import newest
    from app.kafka.broker import require
    from topics.decisions import DECISIONS, Decision

    where = broker_of(broker)
    require(where)
    limit = (0 if json else SHOWN) if last is None else last
    found, count = newest(where, DECISIONS, Decision, _since(since), limit=limit, open_only=waiting)
    if json:
        print_json(found)
        return
    print_table("Decisions", ("id", "at", "state", "outcome", "action", "target", "confidence", "reasons"), (
        (d.id, clock(d.ts), styled(d.state), d.outcome, d.proposal.action, d.proposal.target,
         f"{d.proposal.confidence:.2f}", d.blocked or d.reasons[-1])
        for d in found
    ))  # fmt: skip
    _shown_of(count, len(found))


def explain(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Of an incident, proposal, decision or command")],
    broker: BrokerOption = "",
    json: JsonOption = False,
) -> None:
    """Explain what belongs to an id: from the sample that showed it to the verdict, each step with its place.

    Options with their scores by part, what each policy said, votes, the command with its signature, result, verdict.

    Example: `opsloop explain 4be1`: the beginning of an id is enough.
    """
    from app.history.explain import explain as find
    from app.kafka.broker import require

    where = broker_of(broker)
    require(where)
    found = find(where, identity)
    reads = [*found.evidence, *found.steps]
    if json:
        print_json({
            "incident": found.incident,
            "steps": [{"at": r.arrived, "origin": str(r.origin), "record": r.record} for r in reads],
            "audit": [{"origin": str(r.origin), "entry": r.record} for r in found.audit],
        })  # fmt: skip
        return
    entries = {r.record.origin: r.record for r in found.audit if isinstance(r.record, AuditEntry)}
    out.print(f"{'Incident' if found.states else 'Decision'} {found.incident}", style="bold")
    for read in reads:
        entry = entries.get(str(read.origin))
        kept = f"  audit {entry.chain}/{entry.seq}" if entry else ""
        out.print(marked(f"{clock(read.arrived)}  {sentence(read.record)}"))
        for line in details(read.record):
            out.print(marked(f"              {line}"))
        out.print(f"              {read.origin}{kept}", style="dim")


def acknowledge(
    identity: Identity, broker: BrokerOption = "", note: Note = "", person: Person = "", json: JsonOption = False
) -> None:
    """Say that you have an incident in hand. What Opsloop tries for it goes on.

    Example: `opsloop acknowledge 4be1`
    """
    _answer(identity, ACKNOWLEDGED, broker, person, note, json)


def resolve(
    identity: Identity, broker: BrokerOption = "", note: Note = "", person: Person = "", json: JsonOption = False
) -> None:
    """Close an incident by hand: what still waits for it is refused, and nothing more is tried.

    Example: `opsloop resolve 4be1 --note "the disk was replaced"`
    """
    _answer(identity, RESOLVED, broker, person, note, json)


def _answer(identity: str, word: str, address: str, person: str, note: str, json: bool) -> None:
    from app.history.queries import incident_of
    from app.kafka.broker import require
    from app.security.messages import answered, tell

    where = broker_of(address)
    require(where)
    said = tell(where, answered(incident_of(where, identity), word, person or getpass.getuser(), note))
    if isinstance(said, Refusal):
        raise UserError(f"that does not count: {said.code}, {said.detail}", "See opsloop user list", exit_code=1)
    if said is None:
        raise UserError("it was said, and no worker has answered yet", "See opsloop incidents", exit_code=1)
    if json:
        print_json(said)
    else:
        out.print(marked(f"incident {said.id} ({escaped(f'{said.symptom} of {said.entity}')}) is {styled(said.state)}"))
