"""Signatures: encoding, signing and verification of proposals, votes, commands, checkpoints and settings.

Every signature covers the payload's type (DSSE pre-authentication encoding, secure-systems-lab/dsse protocol.md), so
that a vote cannot be used as a command. The caller provides the keys: nothing here reads a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from models.safety.roles import Role, may
from topics.actions import Command, SignedCommand
from topics.approvals import Approval
from topics.audit import Checkpoint
from topics.proposals import Proposal
from topics.settings import Setting
from topics.spec import Instant

PROPOSAL: Final = "opsloop.proposal/1"
COMMAND: Final = "opsloop.command/1"
APPROVAL: Final = "opsloop.approval/1"
SETTING: Final = "opsloop.setting/1"
CHECKPOINT: Final = "opsloop.checkpoint/1"

TRUST: Final = "trust"
OURS: Final = frozenset({"decide", "uphold", TRUST})  # agents of Opsloop in whose names its workers sign
PROPOSAL_TTL_MS: Final = 600_000  # a proposal expires after this


AHEAD_MS: Final = 300_000  # maximum lead of an author's clock over the broker's


class Refused(Exception):
    """A record was refused: `code` from a closed set, `detail` for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of a key, and their roles."""

    name: str
    roles: frozenset[str]


class Signer(Protocol):
    """A private key."""

    key: str

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature (64 bytes) of a message."""


class Keyring(Protocol):
    """The known public keys."""

    def verify(self, key: str, message: bytes, signature: bytes) -> Principal:
        """Return who signed a message.

        Raises:
            Refused: unknown_key, revoked, or forged when the signature is not of this key and message.
        """


def check_clock(ts: Instant, arrived: Instant) -> None:
    """Return if an author's time is at most `AHEAD_MS` ahead of the record's arrival at the broker.

    Raises:
        Refused: clock_ahead.
    """
    if ts > arrived + AHEAD_MS:
        ahead = f"{(ts - arrived) / 1000:.0f} s ahead of its arrival"
        raise Refused("clock_ahead", f"it says {ts}, {ahead}: set the clock of its author's host, and say it again")


def encoding(kind: str, body: bytes) -> bytes:
    """Return the bytes to sign for a body of a kind: both with their lengths, so that the encoding is unambiguous."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


# --- proposals --------------------------------------------------------------------------------------------------------


def sign_proposal(proposal: Proposal, signer: Signer) -> Proposal:
    """Return the proposal signed in the form in which it will be read: JSON turns a 1 in a float field into 1.0."""
    expires: Instant = proposal.expires or proposal.ts + PROPOSAL_TTL_MS
    bare = msgspec.structs.replace(proposal, expires=expires, key=signer.key, signature=b"")
    read = msgspec.json.decode(msgspec.json.encode(bare), type=Proposal)
    return msgspec.structs.replace(read, signature=signer.sign(_proposal(read)))


def requester(proposal: Proposal, keyring: Keyring) -> Principal:
    """Return who made a proposal, with their current roles.

    Raises:
        Refused: unsigned, unknown_key, revoked, forged, wrong_requester (a good key, and the name of somebody else).
    """
    who = _signed(keyring, proposal.key, _proposal(proposal), proposal.signature)
    if not _speaks_for(who, proposal.requester):
        raise Refused("wrong_requester", f"the key is {who.name}'s, the proposal says it is {proposal.requester}'s")
    return who


def _proposal(proposal: Proposal) -> bytes:
    bare = msgspec.structs.replace(proposal, signature=b"")
    return encoding(PROPOSAL, msgspec.json.encode(bare, order="sorted"))


def _speaks_for(who: Principal, name: str) -> bool:
    return Role.WORKER in who.roles if name in OURS else who.name == name


# --- commands ---------------------------------------------------------------------------------------------------------


def seal(command: Command, signer: Signer) -> SignedCommand:
    """Sign a command."""
    body = msgspec.json.encode(command)
    return SignedCommand(
        id=command.id, target=command.target, ts=command.ts, key=signer.key,
        signature=signer.sign(encoding(COMMAND, body)), body=msgspec.Raw(body),
    )  # fmt: skip


def unseal(order: SignedCommand, keyring: Keyring) -> Command:
    """Return the command of a signed command. It is parsed only after its signature was verified.

    Raises:
        Refused: unsigned, unknown_key, revoked, forged, wrong_role, altered (the envelope names another command).
    """
    body = bytes(order.body)
    who = _signed(keyring, order.key, encoding(COMMAND, body), order.signature)
    if not may(who.roles, "command"):
        raise Refused("wrong_role", f"{who.name} may not give commands")
    try:
        command = msgspec.json.decode(body, type=Command)
    except msgspec.DecodeError as error:
        raise Refused("altered", f"the body is not a command: {error}") from None
    if (command.id, command.target) != (order.id, order.target):
        raise Refused("altered", "the envelope names another command or target than the body")
    return command


# --- votes ------------------------------------------------------------------------------------------------------------


def sign_vote(approval: Approval, signer: Signer) -> Approval:
    """Return the vote with its signature."""
    approval = msgspec.structs.replace(approval, key=signer.key)
    return msgspec.structs.replace(approval, signature=signer.sign(_vote(approval)))


def voter(approval: Approval, keyring: Keyring) -> Principal:
    """Return who cast a vote, with their current roles.

    Raises:
        Refused: unsigned, unknown_key, revoked, forged, wrong_voter (a good key, and the name of somebody else).
    """
    who = _signed(keyring, approval.key, _vote(approval), approval.signature)
    if who.name != approval.voter:
        raise Refused("wrong_voter", f"the key is {who.name}'s, the vote says it is {approval.voter}'s")
    return who


def _vote(approval: Approval) -> bytes:
    a = approval
    return encoding(APPROVAL, msgspec.json.encode(
        (a.id, a.decision, a.system, a.ts, a.voter, a.vote, a.reason, a.subject, a.expires, a.key)
    ))  # fmt: skip


# --- checkpoints of the audit -----------------------------------------------------------------------------------------


def sign_checkpoint(point: Checkpoint, signer: Signer) -> Checkpoint:
    """Return the checkpoint with its signature."""
    point = msgspec.structs.replace(point, key=signer.key)
    return msgspec.structs.replace(point, signature=signer.sign(_checkpoint(point)))


def check_checkpoint(point: Checkpoint, keyring: Keyring) -> None:
    """Return if a worker has signed a checkpoint.

    Raises:
        Refused: unsigned, unknown_key, revoked, forged, wrong_role.
    """
    who = _signed(keyring, point.key, _checkpoint(point), point.signature)
    if not may(who.roles, "checkpoint"):
        raise Refused("wrong_role", f"{who.name} may not sign the audit")


def _checkpoint(point: Checkpoint) -> bytes:
    p = point
    return encoding(CHECKPOINT, msgspec.json.encode(
        (p.chain, p.first, p.last, p.ts, p.domain, p.head, p.root, p.key)
    ))  # fmt: skip


# --- live settings ----------------------------------------------------------------------------------------------------


def sign_setting(setting: Setting, signer: Signer) -> Setting:
    """Return the setting with its signature."""
    setting = msgspec.structs.replace(setting, key=signer.key)
    return msgspec.structs.replace(setting, signature=signer.sign(_setting(setting)))


def setter(setting: Setting, keyring: Keyring) -> Principal:
    """Return who made a setting. Agents of Opsloop sign with a worker's key.

    Raises:
        Refused: unsigned, unknown_key, revoked, forged, wrong_voter (a good key, and the name of somebody else).
    """
    who = _signed(keyring, setting.key, _setting(setting), setting.signature)
    if not _speaks_for(who, setting.by):
        raise Refused("wrong_voter", f"the key is {who.name}'s, the setting says it is {setting.by}'s")
    return who


def _setting(setting: Setting) -> bytes:
    s = setting
    votes = (s.approvals,) if s.approvals else ()  # without votes the bytes are those of older versions
    ends = ({"ends": s.ends},) if s.ends else ()  # as above
    return encoding(SETTING, msgspec.json.encode((s.name, s.value, s.ts, s.by, s.reason, s.key, *votes, *ends)))


def _signed(keyring: Keyring, key: str, message: bytes, signature: bytes) -> Principal:
    if not key or not signature:
        raise Refused("unsigned", "it has no signature")
    return keyring.verify(key, message, signature)
