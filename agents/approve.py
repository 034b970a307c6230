"""What the gate let through becomes a command once it may: at once, or when people have said yes.

Of a promotion it becomes a grant, which carries their votes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.safety.limits import SafetySettings
from models.safety.signing import Keyring, Refused, Signer, seal, sign_setting
from models.safety.votes import ApprovalTracker, Rules
from topics.actions import COMMANDS, RESULTS, Command, Result
from topics.approvals import APPROVALS, Approval
from topics.audit import AUDIT, AuditEntry
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.refusals import REFUSALS, refusal
from topics.settings import SETTINGS, Setting
from topics.spec import Instant, Read, Record


class Approve(Stateful[ApprovalTracker]):
    """Holds what waits for votes; the only writer of commands, each under its signature."""

    name = "approve"
    reads = (DECISIONS, APPROVALS, INCIDENTS, RESULTS, SETTINGS, AUDIT)
    writes = (DECISIONS, COMMANDS, SETTINGS, REFUSALS)
    shape = ApprovalTracker

    def __init__(self, settings: SafetySettings, signer: Signer, keyring: Keyring) -> None:
        self.rules, self.signer = Rules(settings, keyring), signer
        super().__init__()

    def prepare(self) -> None:
        self.state.hold_to(self.rules.settings)

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Record]:
        if not records:
            yield from self.state.expire(self.rules, now)
        for read in records:
            try:
                for record in self._one(read, now):
                    yield self._signed(record)
            except Refused as refused:
                yield refusal(read.record, str(read.origin), refused.code, refused.detail, now)

    def _signed(self, record: Record) -> Record:
        match record:
            case Command():
                return seal(record, self.signer)
            case Setting():
                return sign_setting(record, self.signer)
        return record

    def _one(self, read: Read[Record], now: Instant) -> Iterator[Record]:
        match record := read.record:
            case Decision():
                yield from self.state.decided(record, self.rules, now)
            case Approval():
                yield from self.state.vote(record, str(read.origin), self.rules, now)
            case AuditEntry():
                yield from self.state.audited(record, self.rules, now)
            case Incident():
                yield from self.state.incident(record, now)
            case Result():
                yield from self.state.acted(record, now)
            case Setting():
                self.state.switch.take(record, self.rules.keyring, read.arrived or now)
