"""The state around a target: services with incidents, failed attempts, the age of telemetry.

The gate checks it before it allows a proposal. When something is unknown, the gate assumes the worse case for acting
without a person; a person may still approve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from models.actions.catalogue import ACTIONS
from models.incidents.lifecycle import is_open, is_over
from models.keyed import KeyedState, Table, by_domain, by_service, table
from models.safety.roles import may
from models.safety.settings import SafetySettings
from models.safety.signing import Keyring, Refused, setter
from models.topology import calls as topology
from models.topology.calls import Graph, Network, Networks
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident
from topics.patterns import canonical, covers, fault
from topics.proposals import Proposal
from topics.settings import Setting
from topics.signals import Anomaly
from topics.spec import Count, Instant, Record, domain_of, instant, service_of
from topics.telemetry import Event
from topics.verdicts import RESULT, Effect, Verdict

KEPT: Final = 20_000
MAINTENANCE: Final = "maintenance/"  # setting `maintenance/SCOPE`; its value is the end (ms since 1970)
LEAST_URGENT: Final = 4
FREE_TRIES: Final = 2  # failed attempts before the backoff begins: a second action may follow the first at once
STALE_PERIODS: Final = 2  # sample periods of an entity up to which its telemetry is fresh, beside `stale_ms`
LEAST_SERVICES: Final = 4  # minimum number of services and hosts of a scope for a storm

Objection = tuple[str, str] | None


class Trouble(msgspec.Struct, frozen=True):
    """An open incident: its priority and its affected services."""

    priority: int
    services: tuple[str, ...]
    seq: int


class FailedAttempts(msgspec.Struct, frozen=True):
    """Consecutive actions on a service that did not help."""

    count: int
    last: Instant


def _troubled(_incident: str, trouble: Trouble) -> str:
    return domain_of(trouble.services[0])


def in_scope(scope: str) -> str:
    """The group of all rows of a safety scope; rows of a service are in the group of its name."""
    return f"scope {scope}"


class SafetyContext(KeyedState):
    """Context of one partition's gate, by safety scope and service. Part of its state. See `count_by`."""

    calls: Table[Graph] = topology.graphs_table()
    networks: Networks = msgspec.field(default_factory=Networks)
    open: Table[Trouble] = table(KEPT, domain=_troubled)  # incident → trouble
    over: Table[int] = table(KEPT)  # incident → `seq` of the record that closed it
    samples: Table[Instant] = table(KEPT, domain=by_domain)  # entity → newest sample, in whole seconds
    periods: Table[Count] = table(KEPT, group=by_service, domain=by_domain)  # entity → ms between its samples
    failed: Table[FailedAttempts] = table(KEPT, domain=by_domain)  # service → failed attempts
    aimed: Table[str] = table(KEPT, domain=lambda _, service: domain_of(service))  # decision → service acted on
    judged: Table[Instant] = table(KEPT)  # verdict → its time, for those that were counted
    maintained: Table[Instant] = table(KEPT)  # scope → end of its maintenance

    def __post_init__(self) -> None:
        self.count_by(SafetySettings())

    def count_by(self, settings: SafetySettings) -> None:
        """Count by the safety scopes of these settings from here on."""

        def groups(services: Iterable[str]) -> list[str]:
            return [*services, *(in_scope(settings.scope_of(service)) for service in services)]

        self.open.grouped(lambda _, trouble: groups(trouble.services))
        self.samples.grouped(lambda entity, _: groups((service_of(entity),)))

    def network(self, entity: str) -> Network:
        """Return the calls in the correlation domain of an entity."""
        return self.networks.of(self.calls, domain_of(entity))

    def see(self, record: Record) -> None:
        """Update the context from a record of any topic that the gate reads."""
        match record:
            case Event():
                topology.take(self.calls, record)
            case Anomaly():
                newest = record.ts // 1000 * 1000
                if newest > self.samples.get(record.entity, 0):
                    self.samples[record.entity] = newest
                if record.period_ms and record.period_ms != self.periods.get(record.entity):
                    self.periods[record.entity] = record.period_ms
            case Incident():
                self._incident(record)
            case Decision(state=DecisionState.DISPATCHED):
                self.aimed[record.id] = service_of(record.proposal.target)
            case Verdict() if record.command and record.id not in self.judged:
                self.judged[record.id] = record.ts
                self._judgement(record)

    def maintain(self, setting: Setting, keyring: Keyring) -> None:
        """Apply a maintenance setting. Anybody may begin or prolong a maintenance; only the right `stop` ends it early.

        Raises:
            Refused: invalid_setting when its value is no time (ms) or its scope can match nothing; wrong_role, or what
                `setter` raises, when it would end a maintenance early.
        """
        if not setting.name.startswith(MAINTENANCE):
            return
        scope, until = canonical(setting.name.removeprefix(MAINTENANCE)), instant(setting.value)
        if until is None:
            raise Refused("invalid_setting", f"{setting.name[:100]}: its end must be a time in ms, as 1700000000000")
        if scope and (wrong := fault(scope)):
            raise Refused("invalid_setting", f"maintenance: {wrong}")
        if until < self.maintained.get(scope, 0) and not may((who := setter(setting, keyring)).roles, "stop"):
            raise Refused("wrong_role", f"{who.name} may not end the maintenance of {scope}")
        if scope not in self.maintained and len(self.maintained) >= self.maintained.most:
            self.maintained.pop(min(self.maintained, key=self.maintained.__getitem__))  # which ends, or ended, first
        self.maintained[scope] = until

    def services(self, target: str, settings: SafetySettings) -> set[str]:
        """Return the services and hosts in a target's scope: those that a topology names, and those seen in alarm."""
        scope = settings.scope_of(target)
        told = self.network(target).grouped(settings.limit_scopes, settings.scope_of).get(scope, set())
        return told | set(map(service_of, self.samples.keys_of(in_scope(scope))))

    def unwell(self, target: str, settings: SafetySettings) -> set[str]:
        """Return the services and hosts in a target's scope that open incidents affect."""
        scope = settings.scope_of(target)
        affected = {service for trouble in self.open.of(in_scope(scope)) for service in trouble.services}
        return {service for service in affected if settings.scope_of(service) == scope}

    def storm(self, target: str, settings: SafetySettings) -> bool:
        """Whether open incidents affect a larger share of a target's scope than `storm_share`."""
        known = len(self.services(target, settings))
        return known >= LEAST_SERVICES and len(self.unwell(target, settings)) > settings.storm_share * known

    def priority(self, proposal: Proposal) -> int:
        """Return the priority of a proposal's incident: 0 (most urgent) to 4; 4 without an incident."""
        trouble = self.open.get(proposal.incident)
        return trouble.priority if trouble else LEAST_URGENT

    def stale(self, proposal: Proposal, settings: SafetySettings, now: Instant) -> str:
        """Return why telemetry is too old or too incomplete for acting without a person; empty when it is neither.

        When no sample of the incident's services was read yet, the proposal's own time counts: it was read first.
        """
        trouble = self.open.get(proposal.incident)
        context = set(trouble.services) if trouble else {service_of(proposal.target)}
        newest = {service: max(self.samples.of(service), default=0) for service in context}
        if not any(newest.values()):
            fresh = bool(proposal.incident) and now - proposal.ts <= settings.stale_ms
            return "" if fresh else f"no telemetry of {', '.join(sorted(context))} is known"
        oldest = {service: self._oldest(service, settings) for service in context}
        old = sorted(service for service, ts in newest.items() if now - ts > oldest[service] + 1000)
        if service_of(proposal.target) in old or 2 * len(old) > len(context):
            return f"the telemetry of {', '.join(old)} is older than {max(oldest[s] for s in old) / 1000:g} s"
        return ""

    def _oldest(self, service: str, settings: SafetySettings) -> int:
        """Return the age (ms) up to which the telemetry of a service is good: the sample before the last one's."""
        return max(settings.stale_ms, STALE_PERIODS * max(self.periods.of(service), default=0))

    def _incident(self, incident: Incident) -> None:
        known = self.open.get(incident.id)
        if incident.seq < (known.seq if known else self.over.get(incident.id, -1) + 1):
            return
        if is_open(incident.state):
            services = tuple(sorted({service_of(entity) for entity in incident.affected or (incident.entity,)}))
            self.open[incident.id] = Trouble(incident.priority, services, incident.seq)
        elif is_over(incident.state):
            self.open.pop(incident.id, None)
            self.over[incident.id] = incident.seq

    def _judgement(self, verdict: Verdict) -> None:
        where = self.aimed.get(verdict.decision, service_of(verdict.entity))
        if verdict.effect in (Effect.INEFFECTIVE, Effect.REGRESSED):
            before = self.failed.get(where, FailedAttempts(0, 0))
            self.failed[where] = FailedAttempts(before.count + 1, max(before.last, verdict.ts))
        elif verdict.effect is Effect.REMEDIATED and verdict.basis != RESULT:  # an actuator's result is no cure
            self.failed.pop(where, None)


Check = Callable[[SafetyContext, Proposal, SafetySettings, Instant], Objection]


def _frozen(_around: SafetyContext, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    for freeze in settings.freezes:
        if freeze.holds(proposal.target, now):
            return "frozen", f"nothing is changed for {freeze.minutes} minutes from {freeze.cron} (UTC)"
    return None


def _maintenance(context: SafetyContext, proposal: Proposal, _settings: SafetySettings, now: Instant) -> Objection:
    for scope, until in context.maintained.items():
        if now < until and covers(scope, proposal.target):
            return "maintenance", f"{scope or 'everything'} is under maintenance"
    return None


def _failures(context: SafetyContext, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    failed = context.failed.get(service_of(proposal.target))
    if failed is None or now - failed.last >= settings.window_ms:
        return None
    where = service_of(proposal.target)
    if failed.count >= settings.failures:
        return "consecutive_failures", f"{failed.count} actions in a row did not help {where}: a person has to look"
    return None


def _backoff(context: SafetyContext, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    failed = context.failed.get(service_of(proposal.target))
    if failed is None or failed.count < FREE_TRIES:
        return None
    wait = settings.backoff_ms << min(failed.count - FREE_TRIES, 10)
    if now - failed.last >= wait:
        return None
    return "exponential_backoff", f"{failed.count} in vain: the next one not before {wait / 1000:g} s have passed"


def _storm(context: SafetyContext, proposal: Proposal, settings: SafetySettings, _now: Instant) -> Objection:
    target, service = proposal.target, service_of(proposal.target)
    if not context.storm(target, settings):
        return None
    calls = context.network(target)
    below = (c for c in calls.get(service, ()) if context.open.holds(c) and topology.explains(c, service, calls))
    causes = ", ".join(sorted(below))
    if not causes:
        return None
    unwell, scope = len(context.unwell(target, settings)), settings.scope_of(target)
    return "storm_active", f"{unwell} services of {scope} are unwell: {causes} below it comes first"


def _floor(context: SafetyContext, proposal: Proposal, _settings: SafetySettings, _now: Instant) -> Objection:
    action, service = ACTIONS.get(proposal.action), service_of(proposal.target)
    if action is None or action.cost >= 0:
        return None
    callers = context.network(service).callers(service)
    if context.open.holds(service, besides=proposal.incident) or any(
        context.open.holds(caller) for caller in callers if caller != service
    ):
        return "capacity_floor", f"{service} or a caller of it is unwell: it keeps the capacity that it has"
    return None


CONTEXT_CHECKS: Final[tuple[Check, ...]] = (_frozen, _maintenance, _failures, _backoff, _storm, _floor)
