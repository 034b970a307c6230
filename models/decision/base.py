"""A case with its hypotheses and context, and the settings of decisions."""

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


class DecisionKind(StrEnum):
    """The kinds of decision."""

    SCALING = "scaling"
    PROVISIONING = "provisioning"
    INCIDENT_RESPONSE = "incident_response"
    OPTIMISATION = "optimisation"
    SECURITY_RESPONSE = "security_response"
    COMPLIANCE = "compliance"
    MAINTENANCE = "maintenance"
    DISASTER_RECOVERY = "disaster_recovery"


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The circumstances under which options are scored."""

    busy: Share = 0.0  # 1: within the busy hours, when a short outage costs most
    load: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 1.0  # ratio of the request rate to the expected one
    cost: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 1.0  # ratio of a replica's cost to its usual cost
    compliance: Share = 0.0  # weight of risk: 0 ignores it, 1 avoids it most
    budget: Share = 1.0  # share of the error budget that is left
    urgency: Share = 0.5  # 1: P0, 0: P4
    attempt: Count = 0  # number of earlier actions for the same incident

    def facts(self) -> dict[str, float]:
        """Return the fields by name, rounded to 4 digits, as a proposal carries them."""
        return {name: round(float(value), 4) for name, value in msgspec.structs.asdict(self).items()}


class Case(msgspec.Struct, frozen=True):
    """One case to decide: its possible causes, where to act, and the circumstances."""

    id: str
    kind: DecisionKind
    hypotheses: tuple[Hypothesis, ...]
    context: Context = Context()
    parameters: Mapping[str, str] = {}  # values for parameters of rules, for example `approved_revision`
    requester: str = "decide"
    incident: str = ""
    evidence: tuple[str, ...] = ()


class DecisionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of decisions."""

    weights: dict[str, Weight] = {}  # weights by objective, override models.decision.scoring.WEIGHTS: `{cost = 0.5}`
    own: dict[str, dict[str, float]] = {}  # additional objectives, values by action: `carbon = {scale_out = -1}`
    explore: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0  # SquareCB's gamma, larger explores less; 0: off
    busy_from: Annotated[int, msgspec.Meta(ge=0, le=24)] = 8  # UTC hours of Monday to Friday
    busy_until: Annotated[int, msgspec.Meta(ge=0, le=24)] = 18
    compliance: Share = 0.0  # see Context
    cost: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 1.0  # see Context
    slo: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.999  # share of the time in which a service must be well
    slo_days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 30

    def busy(self, now: Instant) -> float:
        """Return 1.0 within the busy hours, else 0.0."""
        at = datetime.fromtimestamp(now / 1000, UTC)
        return float(at.weekday() < WEEKEND and self.busy_from <= at.hour < self.busy_until)

    def context(self, now: Instant, **changes: float) -> Context:
        """Return the context at `now` from these settings. changes: fields that replace those."""
        known = Context(busy=self.busy(now), cost=self.cost, compliance=self.compliance)
        return msgspec.structs.replace(known, **changes)
