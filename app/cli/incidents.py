"""`opsloop incidents`, `decisions`, `explain`: what happened, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape

from app.cli.options import BrokerOption, JsonOption, broker_of, out, print_json, print_table
from topics.actions import Order, Result
from topics.approvals import Approval
from topics.audit import Entry
from topics.decisions import Decision, Verdict
from topics.incidents import Hypothesis, Incident
from topics.proposals import Proposal
from topics.refusals import Refusal
from topics.signals import Anomaly
from topics.spec import Instant, Record
from topics.verdicts import Judgement

Since = Annotated[float, typer.Option("--since", help="Only the last so many seconds; 0: all")]
STYLE = {"resolved": "green", "triggered": "red", "pending_approval": "yellow", "denied": "red", "completed": "green"}


def register(app: typer.Typer) -> None:
    for command in (incidents, decisions, explain):
        app.command()(command)


def clock(ts: Instant) -> str:
    """Local time of day with milliseconds."""
    return datetime.fromtimestamp(ts / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _since(seconds: float) -> Instant | None:
    from app.clock import now_ms

    return now_ms() - int(seconds * 1000) if seconds else None


def incidents(
    broker: BrokerOption = "", json: JsonOption = False, since: Since = 0,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that still need somebody")] = False,
) -> None:  # fmt: skip
    """List incidents with their state, cause and age, newest first.

    Example: `opsloop incidents --open`
    """
    from app.broker import require
    from app.story import incidents as read
    from models.incidents.lifecycle import is_open

    where = broker_of(broker)
    require(where)
    found = [i for i in read(where, _since(since)) if not open_only or is_open(i.state)]
    if json:
        print_json(found)
        return
    print_table("Incidents", ("id", "since", "P", "state", "where", "symptom", "hypothesis", "attempts"), (
        (i.id, clock(i.onset), i.priority, _styled(i.state), escape(i.entity), i.symptom,
         escape(f"{i.hypotheses[0].cause} of {i.hypotheses[0].target}") if i.hypotheses else "", len(i.attempts))
        for i in found
    ))  # fmt: skip


def decisions(
    broker: BrokerOption = "", json: JsonOption = False, since: Since = 0,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for a person")] = False,
) -> None:  # fmt: skip
    """List decisions with their state, action and reasons, newest first.

    Example: `opsloop decisions --waiting`
    """
    from app.broker import require
    from app.story import decisions as read

    where = broker_of(broker)
    require(where)
    found = [d for d in read(where, _since(since)) if not waiting or d.state is Verdict.PENDING]
    if json:
        print_json(found)
        return
    print_table("Decisions", ("id", "at", "state", "action", "target", "confidence", "tier", "reasons"), (
        (d.id, clock(d.ts), _styled(d.state), escape(d.proposal.action), escape(d.proposal.target),
         f"{d.proposal.confidence:.2f}", d.tier, escape(d.blocked or d.reasons[-1]))
        for d in found
    ))  # fmt: skip


def explain(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Of an incident, proposal, decision or command")],
    broker: BrokerOption = "",
    json: JsonOption = False,
) -> None:
    """Tell the whole story of an id: from the sample that showed it to the verdict, each step with its place.

    Example: `opsloop explain 4be1`: the beginning of an id is enough.
    """
    from app.broker import require
    from app.story import explain as tell

    where = broker_of(broker)
    require(where)
    story = tell(where, identity)
    told = [*story.evidence, *story.steps]
    if json:
        print_json({
            "incident": story.incident,
            "steps": [{"at": r.arrived, "origin": str(r.origin), "record": r.record} for r in told],
            "audit": [{"origin": str(r.origin), "entry": r.record} for r in story.audit],
        })  # fmt: skip
        return
    entries = {r.record.origin: r.record for r in story.audit if isinstance(r.record, Entry)}
    out.print(f"[bold]Incident {story.incident}[/bold]")
    for read in told:
        entry = entries.get(str(read.origin))
        kept = f"  audit {entry.chain}/{entry.seq}" if entry else ""
        out.print(f"{clock(read.arrived)}  {sentence(read.record)}", style=None)
        out.print(f"              [dim]{read.origin}{kept}[/dim]")


def sentence(record: Record) -> str:
    """One record as a sentence for a person."""
    match record:
        case Anomaly():
            return _said("red", "anomaly", f"{record.entity}: {_deviations(record)}; sample {record.evidence}")
        case Incident():
            rest = f"({record.step}) {record.symptom} of {record.entity}"
            if record.step in ("confirm", "revise", "still_wrong"):
                rest += f"; {'; '.join(_why(h) for h in record.hypotheses[:3])}"
            return _said("bold", "incident", rest, record.state)
        case Proposal():
            others = f"; not: {'; '.join(record.alternatives)}" if record.alternatives else ""
            rest = f"{record.action} on {record.target} {record.confidence:.2f}: {'; '.join(record.reasons)}{others}"
            return _said("cyan", "proposal", rest)
        case Decision():
            rest = f"{record.proposal.action} on {record.proposal.target}: {record.reasons[-1]}"
            return _said("magenta", "decision", rest, record.state)
        case Approval():
            return _said("yellow", "vote", f"{record.voter}: {record.vote} {record.reason}")
        case Order():
            return _said("blue", "command", f"{record.id} {_ordered(record)}, signed by key {record.key[:8]}")
        case Result():
            return _said("blue", "result", f"{record.outcome}: {record.detail}")
        case Judgement():
            return _said("green", "verdict", f"{record.effect}: {'; '.join(record.reasons)}")
        case Refusal():
            rest = f"{record.code}: {record.detail} (of {record.who}, {record.origin})"
            return _said("red", "refused", rest)
    return escape(repr(record))


def _said(style: str, kind: str, rest: str, state: str = "") -> str:
    """A sentence in markup; what comes from records is text, whatever brackets are in it."""
    return f"[{style}]{kind}[/{style}] {_styled(state) + ' ' if state else ''}{escape(rest)}"


def _ordered(order: Order) -> str:
    command = order.claim
    if command is None:
        return f"for {order.target} cannot be read"
    votes = ", ".join(approval.voter for approval in command.approvals)
    said = f"{command.action} on {command.target}, valid until {clock(command.expires)}"
    return f"{said}, epoch {command.epoch}" + (f", approved by {votes}" if votes else "")


def _deviations(anomaly: Anomaly) -> str:
    first = anomaly.attribution[:3]
    return ", ".join(f"{c.metric} {c.value:.4g} (expected {c.expected:.4g}, z {c.z:+.1f})" for c in first)


def _why(hypothesis: Hypothesis) -> str:
    return f"{hypothesis.cause} of {hypothesis.target} {hypothesis.score:.2f}: {', '.join(hypothesis.reasons)}"


def _styled(state: str) -> str:
    style = STYLE.get(state)
    return f"[{style}]{state}[/{style}]" if style else str(state)
