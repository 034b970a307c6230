"""Checks of an actuator before it runs a command: all checks of the gate and the approval, again.

It trusts only its own settings, its own ledger and its own keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from models.safety.approval import SKEW_MS, Matter, check_approvals
from models.safety.modes import SILENT, Need, mode_of, need
from models.safety.settings import SafetySettings
from models.safety.signing import Keyring, Refused, unseal
from topics.actions import Command, SignedCommand
from topics.spec import Instant, service_of

LONGEST_MS: Final = 60_000  # maximum validity of a command


class Past(msgspec.Struct, frozen=True):
    """A command that this actuator began."""

    id: str
    target: str
    ts: Instant  # time of the command
    epoch: int


class Guard:
    """Verifies commands in front of one actuator.

    audiences: the kinds of actuator and the systems that it serves, each as `supervisor/shop`.
    """

    def __init__(self, keyring: Keyring, settings: SafetySettings, *audiences: str) -> None:
        self.keyring, self.settings, self.audiences = keyring, settings, audiences

    def open(self, order: SignedCommand) -> Command:
        """Return the command of a signed command whose signature is valid. Raises Refused."""
        return unseal(order, self.keyring)

    def check(self, command: Command, past: Sequence[Past], now: Instant) -> None:
        """Return if the command may run.

        Raises:
            Refused: wrong_audience, expired, stale_epoch, mode, unapproved, the code of an invalid vote, or a limit.
        """
        if command.audience not in self.audiences:
            raise Refused("wrong_audience", f"it is for {command.audience}, this is {', '.join(self.audiences)}")
        if now > command.expires:
            raise Refused("expired", f"{now - command.expires} ms ago")
        if command.ts > now + SKEW_MS or command.expires - command.ts > LONGEST_MS:
            raise Refused("expired", f"a command is valid for at most {LONGEST_MS // 1000} s from when it is given")
        self._epoch(command, past)
        self._approved(command, now)
        self._limits(command, past)

    def _epoch(self, command: Command, past: Sequence[Past]) -> None:
        service = service_of(command.target)
        newest = max((p.epoch for p in past if service_of(p.target) == service and p.id != command.id), default=0)
        if command.epoch <= newest:
            raise Refused("stale_epoch", f"{service} has obeyed epoch {newest}, this is {command.epoch}")

    def _approved(self, command: Command, now: Instant) -> None:
        settings = self.settings
        mode = mode_of(command.target, settings.scopes, settings.mode)
        if mode in SILENT:
            raise Refused("mode", f"mode {mode}: nothing acts")
        asked = Need(command.role, command.quorum) if command.role else None
        needs = tuple(filter(None, (need(mode, command.confidence, settings.quorum), asked)))
        matter = Matter(command.subject, command.requester, needs)
        check_approvals(command.approvals, matter, self.keyring, now)

    def _limits(self, command: Command, past: Sequence[Past]) -> None:
        """Check limits over all commands that this actuator began, by the times of the commands, as the gate does."""
        s = self.settings
        recent = [p for p in past if command.ts - p.ts < s.window_ms and p.id != command.id]
        here = [p for p in recent if p.target == command.target]
        if here and command.ts - max(p.ts for p in here) < s.cooldown_ms:
            raise Refused("recently_remediated", f"{command.target} was acted on less than {s.cooldown_ms} ms before")
        if len(here) >= s.per_target:
            raise Refused("budget_exhausted", f"{len(here)} actions on {command.target} within the window are enough")
        scope = s.scope_of(command.target)
        if sum(s.scope_of(p.target) == scope for p in recent) >= s.per_scope or len(recent) >= s.per_site:
            raise Refused("budget_exhausted", f"{len(recent)} actions within the window are enough")
