"""What the gate lets through, how often, and under which circumstances."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from croniter import croniter

from models.safety.masking import rules_with
from models.safety.modes import Mode
from topics.spec import Count, Instant

Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]


class Freeze(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A time in which nothing is changed: from each time of a cron expression (UTC), for some minutes."""

    cron: str
    minutes: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    scope: str = ""  # a system or service; empty: everything

    def __post_init__(self) -> None:
        if not croniter.is_valid(self.cron):
            raise ValueError(f"{self.cron!r} is no cron expression")

    def holds(self, target: str, now: Instant) -> bool:
        """Whether a target is frozen now."""
        at = datetime.fromtimestamp(now / 1000, UTC)
        began: datetime = croniter(self.cron, at, ret_type=datetime, second_at_beginning=False).get_prev(datetime)
        exactly = croniter.match(self.cron, at)
        return within(target, self.scope) and (exactly or (at - began).total_seconds() < self.minutes * 60)


class SafetySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the gate lets through, and how often."""

    mode: Mode = Mode.APPROVE
    scopes: dict[str, Mode] = {}  # narrower than the mode above: `{"shop/catalog" = "suggest"}`
    environments: dict[str, str] = {}  # what policies see: `{"shop" = "staging"}`; production where none is named
    quorum: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1  # votes that are needed where votes are needed
    allowed: tuple[str, ...] = ("restart_service", "scale_out", "scale_in", "rollback_config")
    earn: bool = False  # nothing acts alone but what has earned it, and was granted it by a lead
    dry_run: bool = False  # actuators do everything but act
    cooldown_ms: Count = 10_000  # between two actions on one target
    per_target: Count = 3  # actions on one target in a window
    per_system: Count = 20  # actions on one system in a window
    per_site: Count = 30  # actions at one actuator in a window
    window_ms: Count = 600_000
    concurrency: Count = 5  # decisions of one system that have not ended
    blast_share: Share = 0.6  # of a system's services that are acted on in a blast window; one is always allowed
    blast_window_ms: Count = 20_000
    failures: Count = 3  # actions in a row that did not help a target; then a person has to look
    backoff_ms: Count = 10_000  # after the second of them, doubled by each further one
    storm_share: Share = 0.5  # of a system's services with open incidents: above it, one action at a time, cause first
    stale_ms: Count = 15_000  # nothing acts alone on telemetry older than this
    freezes: tuple[Freeze, ...] = ()
    masks: dict[str, str] = {}  # besides those of models.safety.masking: a name → what it takes the place of
    approval_ms: Count = 120_000  # a pending decision turns into a refusal after this
    promotion_ms: Count = 86_400_000  # a promotion waits so long for a lead, and so long until it is proposed again
    command_ms: Count = 30_000  # a command that has not begun by then never runs
    open_for_ms: Count = 180_000  # a decision whose end was never seen blocks its target no longer than this

    def __post_init__(self) -> None:
        rules_with(self.masks)


def within(target: str, scope: str) -> bool:
    """Whether a target is a scope or lies in it; everything lies in the empty one."""
    return not scope or target == scope or target.startswith(f"{scope}/")
