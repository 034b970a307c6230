"""Types of policies: header, answer, fault, and the protocol of evaluators."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec

from models.safety.modes import Mode
from topics.spec import Instant

NAME: Final = r"[a-z][a-z0-9_]{0,62}"


class PolicyKind(StrEnum):
    """Subject of a policy. Only `access` grants; every other kind restricts what is granted."""

    ACCESS = "access"
    QUOTA = "quota"
    SECURITY = "security"
    COMPLIANCE = "compliance"
    COST = "cost"
    QUALITY = "quality"
    OPERATIONAL = "operational"


class Enforcement(StrEnum):
    """How a policy's answer is applied."""

    STRICT = "strict"
    GRADUAL = "gradual"  # strict for a share of the targets from `since` on, and for all of them from `until` on
    ADVISORY = "advisory"  # shown with the decision, not applied
    MONITOR = "monitor"  # recorded only


class PolicyEffect(StrEnum):
    """Result of a policy. A fault counts as a denial."""

    ALLOW = "allow"
    REQUIRE_APPROVAL = "require_approval"
    DEGRADE = "degrade"
    DENY = "deny"
    FAULT = "fault"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metadata of a policy file: an OPA `# METADATA` block, these keys below `custom`."""

    id: Annotated[str, msgspec.Meta(pattern=f"^{NAME}$")]
    type: PolicyKind
    owner: Annotated[str, msgspec.Meta(min_length=1)]
    scope: str = ""  # pattern of a system, service or instance; empty: everything
    actions: frozenset[str] = frozenset()  # empty: all
    enforcement: Enforcement = Enforcement.STRICT
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0  # gradual: percentage of the targets from `since` on
    since: Instant = 0
    until: Instant = 0  # gradual: strict for all targets from then on; 0: never
    overrides: str = ""  # id of a policy with a wider scope that this one replaces, if that one is overridable
    overridable: bool = False
    valid_until: Instant = 0  # end of validity: after it, the policy denies all that it covers; 0: none
    standing: bool = False  # also checks earlier changes that are still in effect, see models.policy.violations
    title: str = ""


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Votes that a policy requires."""

    role: Literal["approver", "lead"] = "approver"
    quorum: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    reason: str = ""


class Less(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A restriction: a more restrictive mode, or other parameters."""

    mode: Mode = Mode.AUTONOMOUS
    parameters: dict[str, str] = {}
    reason: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The values of a policy's package that are used. `allow` must be defined, and must be true or false."""

    allow: bool
    reasons: tuple[str, ...] = ()
    require_approval: tuple[Ask, ...] = ()
    degrade: tuple[Less, ...] = ()

    @property
    def effect(self) -> PolicyEffect:
        """The effect of the answer: deny, else require approval, else degrade, else allow."""
        if not self.allow:
            return PolicyEffect.DENY
        if self.require_approval:
            return PolicyEffect.REQUIRE_APPROVAL
        return PolicyEffect.DEGRADE if self.degrade else PolicyEffect.ALLOW


class PolicyFault(Exception):
    """A policy gave no answer. `code` is invalid, undefined, error, timeout, not_boolean, missing or old."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Compiled(Protocol):
    """A compiled policy."""

    def evaluate(self, facts: dict[str, Any]) -> Any:
        """Evaluate the policy's package for an input document. Returns its document. Raises PolicyFault."""


class Evaluator(Protocol):
    """Compiles Rego."""

    def compile(self, source: str, package: str) -> Compiled:
        """Compile a module for queries of the document of its package.

        Raises:
            PolicyFault: invalid.
        """
