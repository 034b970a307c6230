"""Actions: commands to actuators, and what became of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from topics.approvals import Approval, subject
from topics.spec import Count, Instant, Record, Topic, Word, domain_of

# what a writer of today may say; a reader accepts every Word, see topics.spec
Outcome = Literal["succeeded", "failed", "timed_out", "canceled", "unknown", "refused"]


class Command(Record, frozen=True):
    """A command to one actuator. It runs at most once, and never after it has expired."""

    id: str  # H(decision, step): used once, so it serves as nonce too
    decision: str
    incident: str
    ts: Instant
    action: str
    target: str
    parameters: dict[str, str]
    expires: Instant
    audience: str = ""  # the kind of actuator and the system, as `supervisor/shop`
    epoch: Count = 0  # grows with every command to a service: an actuator refuses a lower one than it has obeyed
    requester: str = ""  # who asked for it, and so has no vote on it
    confidence: float = 0.0
    role: str = ""  # whose votes the policy asks for; empty: only the actuator's own mode decides
    quorum: Count = 0
    decided: str = ""  # SHA-256 of the approved decision's JSON
    audit: str = ""  # chain/seq of the audit entry that keeps the approved decision
    approvals: tuple[Approval, ...] = ()

    @property
    def subject(self) -> str:
        """What its approvals must be bound to."""
        return subject(self.decision, self.action, self.target, self.parameters, self.requester)


class SignedCommand(Record, frozen=True):
    """A command with its signature. `id` and `target` serve routing alone: the actuator obeys the body."""

    id: str
    target: str
    ts: Instant
    key: str  # id of the key that signed
    signature: bytes  # Ed25519 over the payload type and the body, see models.safety.signing
    body: msgspec.Raw  # the command as JSON, byte for byte as it was signed

    @property
    def claim(self) -> Command | None:
        """The command in the body, its signature not checked, for display alone; None when it is none."""
        try:
            return msgspec.json.decode(self.body, type=Command)
        except msgspec.DecodeError:
            return None


class Result(Record, frozen=True):
    """What an actuator did with a command."""

    id: str  # H(command)
    command: str
    decision: str
    incident: str
    action: str
    target: str
    ts: Instant
    outcome: Word  # see `Outcome`
    detail: str
    started: Instant = 0  # 0: it never began
    actuator: str = ""


COMMANDS = Topic(
    "opsloop.actions.commands",
    SignedCommand,
    key=lambda order: domain_of(order.target),
    what="signed orders to actuators",
)
RESULTS = Topic(
    "opsloop.actions.results", Result, key=lambda result: domain_of(result.target), what="what actuators did"
)
