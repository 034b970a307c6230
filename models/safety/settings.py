"""Safety settings: what the gate allows, how often, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from croniter import CroniterBadDateError, croniter

from models.actions.catalogue import SHIPPED
from models.safety.masking import rules_with
from models.safety.modes import Mode
from topics.patterns import covers, named, require, rules_of
from topics.spec import Count, Instant, service_of

SOME_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]


class Freeze(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change freeze: begins at each time of a cron expression (UTC) and lasts `minutes`."""

    cron: str
    minutes: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    scope: str = ""  # pattern of what is frozen, as `shop` or `shop/cat*`; empty: everything

    def __post_init__(self) -> None:
        require([self.scope] if self.scope else ())
        fields = self.cron.split()
        if not croniter.is_valid(self.cron) or any(field[0] in "rRhH" for field in fields):
            raise ValueError(f"{self.cron!r} is no cron expression")
        if len(fields) != 5 and not self.cron.startswith("@"):
            raise ValueError(f"{self.cron!r} has {len(fields)} fields: write minute, hour, day, month and weekday")
        try:
            croniter(self.cron, SOME_DAY).get_prev()
        except CroniterBadDateError:
            raise ValueError(f"{self.cron!r} never comes: no month of it has such a day") from None

    def holds(self, target: str, now: Instant) -> bool:
        """Whether a target is frozen at `now`."""
        at = datetime.fromtimestamp(now / 1000, UTC)
        began: datetime = croniter(self.cron, at, ret_type=datetime, second_at_beginning=False).get_prev(datetime)
        exactly = croniter.match(self.cron, at)
        return covers(self.scope, target) and (exactly or (at - began).total_seconds() < self.minutes * 60)


class SafetySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the gate allows, and how often."""

    mode: Mode = Mode.APPROVE
    scopes: dict[str, Mode] = {}  # modes by pattern, of which the narrowest counts: `{"shop/cat*" = "suggest"}`
    environments: dict[str, str] = {}  # environment by pattern, for policies; default production
    quorum: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1  # votes per decision, where votes are needed
    allowed: tuple[str, ...] | None = None  # names of actions; left out: those that come with Opsloop
    earn: bool = False  # only classes that earned it, and that a lead granted it, act without a person
    dry_run: bool = False  # actuators check and report but do not act
    cooldown_ms: Count = 10_000  # minimum time between two actions on one target
    per_target: Count = 3  # maximum actions on one target per window
    per_scope: Count = 20  # maximum actions in one safety scope per window
    limit_scopes: dict[str, str] = {}
    """Pattern of entities → the safety scope in which limits count them together, hosts and services alike. The first
    match counts; what none matches counts by its system, a host by itself. `{0}` and `{1}` in a name are parts of the
    entity. Actuators need the same scopes."""
    per_site: Count = 30  # maximum actions of one actuator per window
    window_ms: Count = 600_000
    concurrency: Count = 5  # maximum open decisions of one safety scope
    blast_share: Share = 0.6  # maximum share of a scope with actions per blast window; one is always allowed
    blast_window_ms: Count = 20_000
    failures: Count = 3  # consecutive failed actions on a service that block further ones: a person must look
    backoff_ms: Count = 10_000  # wait after the second failed action; doubles with each further one
    storm_share: Share = 0.5  # share of a scope with open incidents above which causes are treated first
    stale_ms: Count = 15_000  # maximum age of telemetry for acting without a person
    freezes: tuple[Freeze, ...] = ()
    masks: dict[str, str] = {}  # additional masks: replacement name → regular expression, see models.safety.masking
    approval_ms: Count = 120_000  # a pending decision expires after this
    promotion_ms: Count = 86_400_000  # time for a lead's vote on a promotion, and until it is proposed again
    command_ms: Count = 30_000  # a command that has not begun within this never runs
    open_for_ms: Count = 180_000  # a decision without an end releases its target after this

    def __post_init__(self) -> None:
        rules_with(self.masks)
        require((*self.scopes, *self.environments))
        rules_of(self.limit_scopes, parts=2)

    def allows(self, action: str) -> bool:
        """Whether an action is on the list of those that may be done."""
        return action in (SHIPPED if self.allowed is None else self.allowed)

    def scope_of(self, target: str) -> str:
        """The safety scope in which a target counts: its system, unless settings say otherwise."""
        return named(rules_of(self.limit_scopes, parts=2), service_of(target), "{0}")
