"""One record as a sentence for a person, in rich's markup."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from app.printing import escaped
from topics.actions import Result, SignedCommand
from topics.approvals import Approval
from topics.audit import AuditEntry
from topics.decisions import Decision
from topics.incidents import Hypothesis, Incident
from topics.policies import PolicyResult
from topics.proposals import Option, Proposal
from topics.refusals import Refusal
from topics.settings import Setting
from topics.signals import Anomaly
from topics.spec import Instant, Record
from topics.telemetry import Event, Heartbeat
from topics.verdicts import Verdict

STYLE: Final = {
    "resolved": "green",
    "triggered": "red",
    "pending_approval": "yellow",
    "denied": "red",
    "completed": "green",
}


STEPS: Final = {  # of an incident, in words; others are told as they are
    "confirm": "detected",
    "acknowledge": "somebody has it in hand",
    "act": "an action runs",
    "probe": "the action has ended, its effect is checked",
    "cured": "cured",
    "still_wrong": "the action did not help",
    "self_resolved": "it went away by itself",
    "revise": "more is known",
    "escalate": "a person has to look",
    "close": "closed by hand",
    "gone": "what it was about is gone",
    "return": "it is back",
}


def clock(ts: Instant) -> str:
    """Local time of day with milliseconds."""
    return datetime.fromtimestamp(ts / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]


def sentence(record: Record) -> str:
    """One record as a sentence for a person."""
    match record:
        case Anomaly():
            rest = f"{record.entity}: {_deviations(record)}; sample {record.evidence}{suppressed(record)}"
            return _marked("red", "anomaly", rest)
        case Event():
            return _marked("red", "event", f"{record.entity}: {record.text}", record.kind)
        case Heartbeat():
            return _marked("red", "heartbeat", f"the last of {record.node}, number {record.seq}")
        case Incident():
            rest = f"({STEPS.get(record.step, record.step)}) {record.symptom} of {record.entity}"
            if record.step in ("confirm", "revise", "still_wrong"):
                rest += f"; {'; '.join(_why(h) for h in record.hypotheses[:3])}"
            if record.by:
                rest += f", by {record.by}" + (f": {record.note}" if record.note else "")
            return _marked("bold", "incident", rest, record.state)
        case Proposal():
            others = f"; not: {'; '.join(record.alternatives)}" if record.alternatives else ""
            rest = f"{record.action} on {record.target} {record.confidence:.2f}: {'; '.join(record.reasons)}{others}"
            return _marked("cyan", "proposal", rest)
        case Decision():
            rest = f"{record.proposal.action} on {record.proposal.target}: {record.reasons[-1]}"
            return _marked("magenta", "decision", rest, f"{record.state}{_outcome(record)}")
        case Approval():
            return _marked("yellow", "vote", f"{record.voter}: {record.vote} {record.reason}")
        case SignedCommand():
            return _marked("blue", "command", f"{record.id} {_command(record)}, signed by key {record.key[:8]}")
        case Result():
            return _marked("blue", "result", f"{record.outcome}: {record.detail}")
        case Verdict():
            return _marked("green", "verdict", f"{record.effect}: {'; '.join(record.reasons)}")
        case Setting():
            return _marked("green", "setting", f"{record.name} = {record.value} by {record.by}: {record.reason}")
        case Refusal():
            rest = f"{record.code}: {record.detail} (of {record.who}, {record.origin})"
            return _marked("red", "refused", rest)
        case AuditEntry():  # of another chain, which the chain of a new partition goes on from
            return _marked("green", "audit", f"goes on from {record.chain}/{record.seq}, {record.hash[:12]}")
    return escaped(repr(record))


def details(record: Record) -> list[str]:
    """The details of a record as lines in markup: options and scores, policies, votes, what was signed."""
    match record:
        case Proposal():
            circumstances = ", ".join(f"{name} {value:g}" for name, value in record.context.items())
            lines = [_option(option) for option in record.options]
            lines += [escaped(f"{record.kind}, decided under {circumstances}")] if circumstances else []
            lines += [escaped(f"expects that {record.expects} is ordinary again")] if record.expects else []
            signed = f"signed by key {record.key[:8]}, counts until {clock(record.expires)}"
            return [*lines, escaped(f"asked for by {record.requester}, {signed if record.key else 'not signed'}")]
        case Decision() if not record.voters and not record.command and record.state != "completed":
            held = f"mode {record.mode}, confidence {record.proposal.confidence:.2f}"
            asked = f", wants {record.quorum} × {record.required_role}" if record.required_role else ""
            return [escaped(held + asked), *map(_policy, record.policy)]
        case Approval():
            until = f"counts until {clock(record.expires)}, signed by key {record.key[:8]}"
            return [escaped(f"for {record.subject[:16]}…, {until}")]
        case SignedCommand() if record.claim is not None:
            kept = f"decision {record.claim.decided[:16]}… kept as audit {record.claim.audit}"
            return [escaped(f"for {record.claim.audience}; {kept}; signature {record.signature.hex()[:16]}…")]
        case Setting() if record.approvals:
            votes = ", ".join(f"{a.voter} ({a.key[:8]})" for a in record.approvals)
            return [escaped(f"on the votes of {votes}, signed by key {record.key[:8]}")]
        case Verdict() if record.evidence or record.basis:
            lines = [escaped(f"judged by {record.basis}")] if record.basis else []
            return lines + ([escaped(f"seen in {', '.join(record.evidence)}")] if record.evidence else [])
    return []


def _outcome(decision: Decision) -> str:
    """How the command of a completed decision ended, where that is not a success."""
    return f" ({decision.outcome})" if decision.outcome not in ("", "succeeded", "granted") else ""


def _option(option: Option) -> str:
    values = "".join(f" {name}={value}" for name, value in sorted(option.parameters.items()))
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in option.parts.items() if value)
    said = (
        f"{option.action}{values} on {option.target}: sure {option.confidence:.2f}, score {option.score:.2f} ({parts})"
    )
    mark = "[green]chosen[/green]" if not option.why_not else escaped(option.why_not)
    return f"option {escaped(said)}, chance {option.propensity:.2f}: {mark}"


def _policy(result: PolicyResult) -> str:
    version = f" v{result.version}" if result.version else ""
    said = f"policy {result.policy}{version} ({result.kind}): {result.effect}" + (
        "" if result.enforced else ", not enforced"
    )
    return escaped(said + (f": {', '.join(result.reasons)}" if result.reasons else ""))


def _marked(style: str, kind: str, rest: str, state: str = "") -> str:
    """A sentence in markup. Brackets in text that comes from records are escaped."""
    return f"[{style}]{kind}[/{style}] {styled(state) + ' ' if state else ''}{escaped(rest)}"


def _command(signed: SignedCommand) -> str:
    command = signed.claim
    if command is None:
        return f"for {signed.target} cannot be read"
    votes = ", ".join(approval.voter for approval in command.approvals)
    said = f"{command.action} on {command.target}, valid until {clock(command.expires)}"
    return f"{said}, epoch {command.epoch}" + (f", approved by {votes}" if votes else "")


def suppressed(anomaly: Anomaly) -> str:
    """That nobody was to be woken by an anomaly, and why; else nothing."""
    return "" if anomaly.suppressed == "none" else f", suppressed: the budget of the {anomaly.suppressed} is spent"


def _deviations(anomaly: Anomaly) -> str:
    first = anomaly.attribution[:3]
    return ", ".join(f"{c.metric} {c.value:.4g} (expected {c.expected:.4g}, z {c.z:+.1f})" for c in first)


def _why(hypothesis: Hypothesis) -> str:
    return f"{hypothesis.cause} of {hypothesis.target} {hypothesis.score:.2f}: {', '.join(hypothesis.reasons)}"


def styled(state: str) -> str:
    """A state in its colour, as markup."""
    style = STYLE.get(state)
    return f"[{style}]{state}[/{style}]" if style else escaped(state)
