"""What is decided about: a case with its causes and its context; and what the user wants of decisions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from topics.incidents import Hypothesis
from topics.spec import Count, Instant

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]
WEEKEND: Final = 5


class Kind(StrEnum):
    """The eight kinds of decision."""

    SCALING = "scaling"
    PROVISIONING = "provisioning"
    INCIDENT_RESPONSE = "incident_response"
    OPTIMISATION = "optimisation"
    SECURITY_RESPONSE = "security_response"
    COMPLIANCE = "compliance"
    MAINTENANCE = "maintenance"
    DISASTER_RECOVERY = "disaster_recovery"


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under which circumstances options are scored."""

    busy: Share = 0.0  # 1: in the hours in which a short outage is felt most
    load: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 1.0  # of what is ordinary
    cost: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 1.0  # what a replica costs, of what is ordinary
    compliance: Share = 0.0  # how strictly risk is to be avoided
    budget: Share = 1.0  # of the error budget that is left
    urgency: Share = 0.5  # 1: P0, 0: P4
    attempt: Count = 0  # actions before it for the same incident

    def facts(self) -> dict[str, float]:
        """As it stands on a proposal."""
        return {name: round(float(value), 4) for name, value in msgspec.structs.asdict(self).items()}


class Case(msgspec.Struct, frozen=True):
    """Something to be decided: what may be the cause, where to act on it, and under which circumstances."""

    id: str
    kind: Kind
    hypotheses: tuple[Hypothesis, ...]
    context: Context = Context()
    parameters: Mapping[str, str] = {}  # what rules may fill in, as the revision that was approved
    requester: str = "decide"
    incident: str = ""
    evidence: tuple[str, ...] = ()


class DecisionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wanted of decisions."""

    weights: dict[str, Weight] = {}  # other than those in models.decision.scoring: `{cost = 0.5}`
    own: dict[str, dict[str, float]] = {}  # objectives of one's own, by action: `carbon = {scale_out = -1}`
    explore: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0  # SquareCB's gamma, larger: less; 0: never
    busy_from: Annotated[int, msgspec.Meta(ge=0, le=24)] = 8  # UTC hours of Monday to Friday
    busy_until: Annotated[int, msgspec.Meta(ge=0, le=24)] = 18
    compliance: Share = 0.0  # see Context
    cost: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 1.0  # see Context
    slo: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.999  # of the time a service is to be well
    slo_days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 30

    def busy(self, now: Instant) -> float:
        """1.0 in the busy hours, else 0.0."""
        at = datetime.fromtimestamp(now / 1000, UTC)
        return float(at.weekday() < WEEKEND and self.busy_from <= at.hour < self.busy_until)

    def context(self, now: Instant, **changes: float) -> Context:
        """The circumstances of a moment, as far as they are settings."""
        known = Context(busy=self.busy(now), cost=self.cost, compliance=self.compliance)
        return msgspec.structs.replace(known, **changes)
