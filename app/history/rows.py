"""What is kept of a message in the index: from a record to the rows of its tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from app.history.schema import KIND
from models.incidents.lifecycle import is_open
from topics.actions import Result, SignedCommand
from topics.approvals import Approval
from topics.audit import AUDIT, AuditEntry
from topics.catalog import BY_NAME
from topics.codec import DecodeError, decode_value
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident
from topics.proposals import Proposal
from topics.refusals import Refusal
from topics.settings import Setting
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant, Origin, Record, derive
from topics.verdicts import Verdict

TEXT: Final = 1_000  # characters that are kept of a text that anybody may have written into a header
MOST_PARTITIONS: Final = 100_000  # of a topic: an origin that names a larger number is no place
DLQ: Final = ".dlq"
_AUDIT, _ANOMALIES = AUDIT.name, ANOMALIES.name
_HEADERS: Final = frozenset({"dlq_cause", "dlq_detail", "dlq_origin", "replayed_from"})


@dataclass(slots=True)
class Rows:
    """The rows of a batch of messages, by table; every value is bound to its statement as a parameter."""

    part_of: Callable[[str, int], int]  # the id of a partition
    row: int  # the number of the last row in `records`
    records: list[tuple[Any, ...]] = field(default_factory=list)
    latest: list[tuple[Any, ...]] = field(default_factory=list)
    seen: dict[str, Instant] = field(default_factory=dict)  # entities, and when they were last told of
    anomalies: list[tuple[Any, ...]] = field(default_factory=list)
    audit: list[tuple[Any, ...]] = field(default_factory=list)
    letters: list[tuple[Any, ...]] = field(default_factory=list)
    unreadable: int = 0

    def add(self, message: Any, part: int, arrived: Instant) -> None:
        """Take in a message of confluent-kafka. One that does not decode is counted and left out."""
        topic, offset = message.topic(), message.offset()
        if topic.endswith(DLQ):
            self._letter(message, part, arrived)
            return
        value = message.value()
        try:
            record = decode_value(BY_NAME[topic], value)
        except DecodeError:
            self.unreadable += 1
            return
        if topic == _ANOMALIES:
            assert isinstance(record, Anomaly)
            self._see(record.entity, arrived)
            cleared = record.state == "cleared"
            place = (part, offset, arrived, cleared, record.id, record.evidence[:TEXT])
            self.anomalies.append((record.entity, record.ts, *place))
        elif topic == _AUDIT:
            assert isinstance(record, AuditEntry)
            of_part, of_offset = self._place(record.origin)
            self.audit.append((record.chain, record.seq, record.ts, part, offset, arrived, of_part, of_offset))
        else:
            self._record(record, (KIND[topic], part, offset, arrived), value)

    def _record(self, record: Record, place: tuple[int, int, int, Instant], body: bytes) -> None:
        self.row += 1
        own, other = ids_of(record)
        self.records.append((self.row, *place, own, other, thread_of(record), _about(record), body))
        if isinstance(record, Incident):
            self._see(record.entity, place[-1])
            open_ = is_open(record.state)
            self.latest.append((place[0], record.id, seq_of(record), record.onset, place[-1], open_, self.row))
        elif isinstance(record, Decision):
            open_ = record.state is DecisionState.PENDING
            self.latest.append((place[0], record.id, seq_of(record), record.ts, place[-1], open_, self.row))

    def _letter(self, message: Any, part: int, arrived: Instant) -> None:
        told = {n: (v or b"").decode(errors="replace") for n, v in message.headers() or () if n in _HEADERS}
        here = f"{message.topic()}-{message.partition()}-{message.offset()}"
        origin = told.get("dlq_origin") or here
        self.letters.append((
            derive("dead-letter", origin), message.topic(), told.get("dlq_cause", "unknown")[:TEXT],
            told.get("dlq_detail", "")[:TEXT], origin[:TEXT], told.get("replayed_from", "")[:TEXT], part,
            message.offset(), arrived,
        ))  # fmt: skip

    def _see(self, entity: str, arrived: Instant) -> None:
        self.seen[entity] = max(arrived, self.seen.get(entity, 0))

    def _place(self, origin: str) -> tuple[int | None, int | None]:
        """The partition's id and the offset of an origin; None, None when it names none of ours."""
        try:
            place = Origin.parse(origin)
        except ValueError:
            return None, None
        if place.topic not in KIND or not 0 <= place.partition < MOST_PARTITIONS or not 0 <= place.offset < 2**63:
            return None, None
        return self.part_of(place.topic, place.partition), place.offset


def seq_of(record: Incident | Decision) -> int:
    """The number of a state of an incident or decision: a later state has a larger one, a repeat has the same."""
    return record.seq


def is_older(record: Incident | Decision, known: Incident | Decision | None) -> bool:
    """Whether a state of an incident or decision is one that was passed before the known one."""
    return known is not None and seq_of(record) < seq_of(known)


def ids_of(record: Record) -> tuple[str, str]:
    """The ids by which a record is found: its own, or of what it is about; the second may be empty."""
    match record:
        case Incident() | Proposal() | SignedCommand():
            return record.id, ""
        case Decision():
            return record.id, record.command
        case Approval():
            return record.decision, ""
        case Result() | Verdict():
            return record.command, ""
        case Setting():  # a grant that was voted for
            voted = sorted({approval.decision for approval in record.approvals})
            return (*voted, "", "")[:2]  # type: ignore[return-value]
    return "", ""


def thread_of(record: Record) -> str:
    """The incident that a record belongs to, or the decision, when somebody asked for it without an incident."""
    match record:
        case Incident():
            return record.id
        case Decision():
            return record.proposal.incident or record.id
        case SignedCommand():
            return (record.claim.incident or record.claim.decision) if record.claim else ""
        case Proposal():
            return record.incident or derive("decision", record.id)
        case Result() | Verdict():
            return record.incident or record.decision
    return ""


def _about(record: Record) -> str:
    """What else a record is found by: the record that was refused, the setting that was set."""
    match record:
        case Refusal():
            return record.origin
        case Setting():
            return record.name
    return ""


def rank_of(record: Record) -> int:
    """The place of a record among those that arrived in the same millisecond: causes before their effects."""
    order = (Incident, Proposal, Decision, Approval, SignedCommand, Result, Verdict)
    return next((i for i, kind in enumerate(order) if isinstance(record, kind)), len(order))
