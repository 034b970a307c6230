"""What a policy is, what it may answer, and what evaluates it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec

from models.safety.modes import Mode
from topics.spec import Instant

NAME: Final = r"[a-z][a-z0-9_]{0,62}"


class Kind(StrEnum):
    """What a policy is about. Only `access` grants; every other kind can only restrict what is granted."""

    ACCESS = "access"
    QUOTA = "quota"
    SECURITY = "security"
    COMPLIANCE = "compliance"
    COST = "cost"
    QUALITY = "quality"
    OPERATIONAL = "operational"


class Enforcement(StrEnum):
    """How much a policy's answer counts."""

    STRICT = "strict"
    GRADUAL = "gradual"  # strict for a share of the targets from one date, for all of them from another
    ADVISORY = "advisory"  # said, not done
    MONITOR = "monitor"  # written down


class Effect(StrEnum):
    """What an answer comes to. A fault counts as a denial."""

    ALLOW = "allow"
    REQUIRE_APPROVAL = "require_approval"
    DEGRADE = "degrade"
    DENY = "deny"
    FAULT = "fault"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metadata of a policy file: an OPA `# METADATA` block, these keys below `custom`."""

    id: Annotated[str, msgspec.Meta(pattern=f"^{NAME}$")]
    type: Kind
    owner: Annotated[str, msgspec.Meta(min_length=1)]
    scope: str = ""  # a system, service or instance; empty: everything
    actions: frozenset[str] = frozenset()  # empty: all
    enforcement: Enforcement = Enforcement.STRICT
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0  # gradual: share of the targets, from `since` on
    since: Instant = 0
    until: Instant = 0  # gradual: strict for everything from then on; 0: never
    overrides: str = ""  # a policy of a wider scope that this one takes the place of, where that one says it may
    overridable: bool = False
    valid_until: Instant = 0  # after this it is too old to be believed, and denies what it covers; 0: never
    standing: bool = False  # it also denies what was done before and still stands, see models.policy.violations
    title: str = ""


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Votes that a policy wants."""

    role: Literal["approver", "lead"] = "approver"
    quorum: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    reason: str = ""


class Less(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Allowed, but less of it: a mode that does less by itself, or other parameters."""

    mode: Mode = Mode.AUTONOMOUS
    parameters: dict[str, str] = {}
    reason: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The rules of a policy's package that count. `allow` must be there, and must be true or false."""

    allow: bool
    reasons: tuple[str, ...] = ()
    require_approval: tuple[Ask, ...] = ()
    degrade: tuple[Less, ...] = ()

    @property
    def effect(self) -> Effect:
        if not self.allow:
            return Effect.DENY
        if self.require_approval:
            return Effect.REQUIRE_APPROVAL
        return Effect.DEGRADE if self.degrade else Effect.ALLOW


class PolicyFault(Exception):
    """A policy that gave no answer: `code` is invalid, undefined, error, timeout, not_boolean, missing or old."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Compiled(Protocol):
    """A policy that is ready to be asked."""

    def evaluate(self, facts: dict[str, Any]) -> Any:
        """The document of the policy's package for an input. Raises PolicyFault."""


class Evaluator(Protocol):
    """What understands Rego."""

    def compile(self, source: str, package: str) -> Compiled:
        """Make a module ready to be asked for the document of its package.

        Raises:
            PolicyFault: invalid.
        """
