"""`opsloop watch`: see what goes by on topics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

import msgspec
import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.history.render import suppressed
from app.printing import out, print_json
from models.bounded import keep
from topics.actions import Result, SignedCommand
from topics.approvals import Approval
from topics.audit import AuditEntry, Checkpoint
from topics.catalog import named
from topics.codec import DecodeError, decode
from topics.decisions import Decision
from topics.entities import Entity
from topics.frames import CONTENT_TYPE, unpack, unpack_names
from topics.incidents import Incident
from topics.learning import ENDED, LEARNING, Label
from topics.packs import PackVersion
from topics.policies import Policy
from topics.proposals import Proposal
from topics.refusals import Refusal
from topics.settings import Setting
from topics.signals import ANOMALIES, NO_SYMPTOM, SYMPTOMS, Anomaly, Symptom, severity
from topics.spec import Instant, Raw
from topics.state import Snapshot
from topics.telemetry import Event, Heartbeat, Sample
from topics.verdicts import Verdict

ALARMS_KEPT = 10_000
SHOWN = 6  # metrics of a sample on its line


def register(app: typer.Typer) -> None:
    app.command()(watch)


def watch(
    topics: Annotated[list[str], typer.Argument(help="Names, with or without `opsloop.`; NAME.dlq: what was refused")],
    broker: BrokerOption = "",
    json: JsonOption = False,
    from_start: Annotated[bool, typer.Option(help="What is there already, then what comes")] = False,
    count: Annotated[int, typer.Option(min=0, help="Stop after as many; 0: never")] = 0,
    every: Annotated[bool, typer.Option("--every", help="Each look at an alarm; --json has all")] = False,
) -> None:  # fmt: skip
    """Print the records of topics as they come, one a line. An alarm is told when it begins, gets worse and ends.

    Example: `opsloop watch incidents decisions actions.results` · `opsloop watch audit --from-start --json --count 10`
    """
    from app.kafka.broker import require, tail

    names = [_full(topic) for topic in topics]
    chosen = broker_of(broker)
    require(chosen)
    messages = tail(chosen, names, from_end=not from_start)
    for raw in islice(messages if json or every else without_repeats(messages), count or None):
        if json:
            print_json(_as_json(raw))
        else:
            out.print(line(raw), markup=False, soft_wrap=True)


def without_repeats(messages: Iterable[Raw]) -> Iterator[Raw]:
    """Messages without those that say again, a second later, that an alarm or a symptom is on."""
    alarms: dict[tuple[str, str, str], int] = {}  # (entity, detector, view) → the worst grade that was told
    for raw in messages:
        if raw.topic == SYMPTOMS.name and _goes_on(raw):
            continue
        anomaly = _anomaly(raw)
        if anomaly is not None:
            alarm = anomaly.entity, anomaly.detector, anomaly.view
            if anomaly.state == "cleared":
                alarms.pop(alarm, None)
            elif anomaly.state == "continuing" and alarms.get(alarm, -1) >= severity(anomaly.grade):
                continue
            else:
                keep(alarms, alarm, severity(anomaly.grade), ALARMS_KEPT)
        yield raw


def _anomaly(raw: Raw) -> Anomaly | None:
    if raw.topic != ANOMALIES.name:
        return None
    try:
        record = decode(raw).record
    except DecodeError:
        return None
    return record if isinstance(record, Anomaly) else None


def _goes_on(raw: Raw) -> bool:
    try:
        record = decode(raw).record
    except DecodeError:
        return False
    return isinstance(record, Symptom) and record.state == "continuing"


def _full(topic: str) -> str:
    try:
        return named(topic.removesuffix(".dlq")).name + (".dlq" if topic.endswith(".dlq") else "")
    except KeyError as error:
        raise UserError(str(error.args[0])) from None


def _as_json(raw: Raw) -> dict[str, Any]:
    value = raw.value or b"null"
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = msgspec.json.encode(value)  # base64
    headers = {name: content.decode(errors="replace") for name, content in raw.headers}
    return {
        "topic": raw.topic,
        "partition": raw.partition,
        "offset": raw.offset,
        "key": (raw.key or b"").decode(errors="replace"),
        "arrived": raw.arrived,
        "headers": headers,
        "record": msgspec.Raw(value),
    }


def line(raw: Raw) -> str:
    """A message as one line for a person: when, where from, and what it says."""
    key = (raw.key or b"").decode(errors="replace")
    topic = raw.topic.removeprefix("opsloop.")
    if raw.topic.endswith(".dlq"):
        headers = {name: content.decode(errors="replace") for name, content in raw.headers}
        said = f"{headers.get('dlq_cause')}: {headers.get('dlq_detail')}  from {headers.get('dlq_origin')}"
        return f"{_clock(raw.arrived)} {topic} {key} {said}"
    try:
        record = decode(raw).record
    except DecodeError as error:
        return f"{_clock(raw.arrived)} {topic} {key} {_another(raw, str(error))}"
    return f"{_clock(getattr(record, 'ts', raw.arrived))} {topic} {say(record)}"


def _another(raw: Raw, why: str) -> str:
    """What is said by a message that is no record of its topic: a frame or a control among samples; else `why` not."""
    value, content = raw.value or b"", dict(raw.headers).get("content-type", b"")
    if content == CONTENT_TYPE:
        try:
            frame = unpack(value)
            entities, _ = unpack_names(frame.names)
        except DecodeError as error:
            return f"not readable: {error}"
        more = f" and {len(entities) - SHOWN} more" if len(entities) > SHOWN else ""
        return f"samples: {len(frame.ts)}, values: {len(frame.value)}, of {', '.join(entities[:SHOWN])}{more}"
    if content in (LEARNING.content_type, ENDED.content_type):
        return value.decode(errors="replace")
    return f"{len(value)} bytes {content.decode(errors='replace')}" if content else f"not readable: {why}"


def _clock(ts: Instant) -> str:
    return datetime.fromtimestamp(ts / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]


@functools.singledispatch
def say(record: Any) -> str:
    """What a record says, without its time and topic."""
    return msgspec.json.encode(record).decode()


def _say(kind: type) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    return say.register(kind)


@_say(Label)
def _(label: Label) -> str:
    return f"{label.entity}: incident {label.incident} was {label.label.replace('_', ' ')}, says {label.by}"


@_say(Sample)
def _(sample: Sample) -> str:
    shown = ", ".join(f"{name}={value:.4g}" for name, value in islice(sample.metrics.items(), SHOWN))
    more = len(sample.metrics) - SHOWN
    return f"{sample.entity} {shown}" + (f" +{more}" if more > 0 else "")


@_say(Event)
def _(event: Event) -> str:
    change = f" ({event.previous or '?'} → {event.revision})" if event.revision else ""
    facts = f"{event.facts.kind} by {event.facts.source}" if event.facts else event.text
    return f"{event.entity} {event.kind}: {facts}{change}"


@_say(Entity)
def _(entity: Entity) -> str:
    relations = ", ".join(f"{r.kind} {r.to}" for r in entity.relations[:SHOWN])
    return f"{entity.entity} {entity.kind or 'entity'} is {entity.state}" + (f"; {relations}" if relations else "")


@_say(Heartbeat)
def _(beat: Heartbeat) -> str:
    return f"{beat.node} beat {beat.seq} every {beat.period_ms} ms"


@_say(Anomaly)
def _(anomaly: Anomaly) -> str:
    return (
        f"{anomaly.entity} {anomaly.state} {anomaly.grade} score {anomaly.score:.2f}: {anomaly.metric} is"
        f" {anomaly.value:.4g}, expected {anomaly.expected:.4g}{suppressed(anomaly)}"
    )


@_say(Symptom)
def _(symptom: Symptom) -> str:
    if symptom.symptom == NO_SYMPTOM:
        return f"{symptom.entity} shows no symptom" + (", its alarm is on" if symptom.alarm else "")
    return (
        f"{symptom.entity} {symptom.symptom} {symptom.state}: {symptom.metric} is {symptom.value:.4g}, expected"
        f" {symptom.expected:.4g}, says {symptom.detector}"
    )


@_say(Incident)
def _(incident: Incident) -> str:
    best = incident.hypotheses[0] if incident.hypotheses else None
    cause = f" because {best.cause} of {best.target} ({best.score:.0%})" if best else ""
    return f"{incident.id} P{incident.priority} {incident.state} {incident.entity} {incident.symptom}{cause}"


@_say(Proposal)
def _(proposal: Proposal) -> str:
    why = f", {proposal.cause}" if proposal.cause else ""
    return f"{proposal.id} {proposal.action} {proposal.target} by {proposal.requester} ({proposal.confidence:.0%}{why})"


@_say(Decision)
def _(decision: Decision) -> str:
    why = decision.blocked or (decision.reasons[-1] if decision.reasons else "")
    proposal = decision.proposal
    state = f"{decision.state} ({decision.outcome})" if decision.outcome else decision.state
    return f"{decision.id} {state} {proposal.action} {proposal.target} [mode {decision.mode}] {why}"


@_say(Approval)
def _(approval: Approval) -> str:
    return f"{approval.decision} {approval.vote} by {approval.voter}: {approval.reason}"


@_say(SignedCommand)
def _(order: SignedCommand) -> str:
    command = order.claim
    if command is None:
        return f"{order.id} {order.target} cannot be read"
    parameters = " ".join(f"{name}={value}" for name, value in command.parameters.items())
    return f"{command.id} {command.action} {command.target} {parameters}".rstrip()


@_say(Refusal)
def _(refused: Refusal) -> str:
    return f"{refused.code} {refused.who} {refused.origin}: {refused.detail}"


@_say(Result)
def _(result: Result) -> str:
    return f"{result.command} {result.outcome} {result.action} {result.target}: {result.detail}"


@_say(Verdict)
def _(verdict: Verdict) -> str:
    return f"{verdict.incident} {verdict.effect} {verdict.action} {verdict.entity}: {'; '.join(verdict.reasons)}"


@_say(Setting)
def _(setting: Setting) -> str:
    return f"{setting.name} = {setting.value} by {setting.by} {setting.reason}".rstrip()


@_say(Policy)
@_say(PackVersion)
def _(word: Policy | PackVersion) -> str:
    return f"{word.name} version {word.version} {'active' if word.active else 'registered'} by {word.by}"


@_say(Checkpoint)
def _(point: Checkpoint) -> str:
    return f"chain {point.chain} entries {point.first} to {point.last} signed by key {point.key[:8]}"


@_say(AuditEntry)
def _(entry: AuditEntry) -> str:
    return f"chain {entry.chain} #{entry.seq} {entry.topic} {entry.origin} {entry.hash[:12]}"


@_say(Snapshot)
def _(snapshot: Snapshot) -> str:
    return f"{snapshot.agent} partition {snapshot.partition}: {len(snapshot.state):,} bytes at {snapshot.applied}"
