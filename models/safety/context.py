"""The state around a target: services with incidents, failed attempts, the age of telemetry.

The gate checks it before it allows a proposal. When something is unknown, the gate assumes the worse case for acting
without a person; a person may still approve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from models.actions.catalogue import ACTIONS
from models.incidents.lifecycle import is_open, is_over
from models.keyed import KeyedState, Table, table
from models.safety.roles import may
from models.safety.settings import SafetySettings, within
from models.safety.signing import Keyring, Refused, setter
from models.topology import calls as topology
from models.topology.calls import Graph
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident
from topics.proposals import Proposal
from topics.settings import Setting
from topics.signals import Anomaly
from topics.spec import Count, Instant, Record, instant, service_of, system_of
from topics.telemetry import Event
from topics.verdicts import RESULT, Effect, Verdict

KEPT: Final = 5_000
SCOPE_LENGTH: Final = 256  # maximum characters in the name of a scope under maintenance
MAINTENANCE: Final = "maintenance/"  # setting `maintenance/SCOPE`; its value is the end (ms since 1970)
LEAST_URGENT: Final = 4
FREE_TRIES: Final = 2  # failed attempts before the backoff begins: a second action may follow the first at once
STALE_PERIODS: Final = 2  # sample periods of an entity up to which its telemetry is fresh, beside `stale_ms`
LEAST_SERVICES: Final = 4  # minimum number of services of a system for a storm

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


def _system(entity: str, _row: object) -> str:
    return system_of(entity)


def _service(entity: str, _row: object) -> str:
    return service_of(entity)


def _troubled(_incident: str, trouble: Trouble) -> str:
    return system_of(trouble.services[0])


class SafetyContext(KeyedState):
    """Context of one partition's gate, by system and service. Part of its state."""

    calls: Table[Graph] = table(topology.SYSTEMS_KEPT, domain=_system)  # system → calls between its services
    open: Table[Trouble] = table(KEPT, group=_troubled, domain=_troubled)  # incident → trouble
    over: Table[int] = table(KEPT)  # incident → `seq` of the record that closed it
    samples: Table[Instant] = table(KEPT, group=_service, domain=_system)  # entity → newest sample, in whole seconds
    periods: Table[Count] = table(KEPT, group=_service, domain=_system)  # entity → ms between its samples
    failed: Table[FailedAttempts] = table(KEPT, domain=_system)  # service → failed attempts
    aimed: Table[str] = table(KEPT, domain=lambda _, service: system_of(service))  # decision → service acted on
    judged: Table[Instant] = table(KEPT)  # verdict → its time, for those that were counted
    maintained: Table[Instant] = table(KEPT)  # scope → end of its maintenance

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
            Refused: invalid_setting when its value is no time (ms) or its scope is too long; wrong_role, or what
                `setter` raises, when it would end a maintenance early.
        """
        if not setting.name.startswith(MAINTENANCE):
            return
        scope, until = setting.name.removeprefix(MAINTENANCE), instant(setting.value)
        if until is None or len(scope) > SCOPE_LENGTH:
            raise Refused("invalid_setting", f"{setting.name[:100]}: its end must be a time in ms, as 1700000000000")
        if until < self.maintained.get(scope, 0) and not may((who := setter(setting, keyring)).roles, "stop"):
            raise Refused("wrong_role", f"{who.name} may not end the maintenance of {scope}")
        if scope not in self.maintained and len(self.maintained) >= self.maintained.most:
            self.maintained.pop(min(self.maintained, key=self.maintained.__getitem__))  # which ends, or ended, first
        self.maintained[scope] = until

    def services(self, system: str) -> set[str]:
        """Return the services of a system that its topology names."""
        calls = self.calls.get(system, {})
        known = set(calls) | {callee for callees in calls.values() for callee in callees}
        return {service for service in known if system_of(service) == system}

    def unwell(self, system: str) -> set[str]:
        """Return the services of a system that open incidents affect."""
        return {s for trouble in self.open.of(system) for s in trouble.services if system_of(s) == system}

    def storm(self, system: str, settings: SafetySettings) -> bool:
        """Whether open incidents affect a larger share of a system's services than `storm_share`."""
        known = len(self.services(system))
        return known >= LEAST_SERVICES and len(self.unwell(system)) > settings.storm_share * known

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
        if now < until and within(proposal.target, scope):
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
    system, service = system_of(proposal.target), service_of(proposal.target)
    if not context.storm(system, settings):
        return None
    unwell = context.unwell(system)
    calls = context.calls.get(system, {})
    causes = sorted(c for c in calls.get(service, ()) if c in unwell and topology.explains(c, service, calls))
    if not causes:
        return None
    return "storm_active", f"{len(unwell)} services of {system} are unwell: {', '.join(causes)} below it comes first"


def _floor(context: SafetyContext, proposal: Proposal, _settings: SafetySettings, _now: Instant) -> Objection:
    action, service = ACTIONS.get(proposal.action), service_of(proposal.target)
    if action is None or action.cost >= 0:
        return None
    others = [i for i, trouble in context.open.items() if i != proposal.incident and service in trouble.services]
    system = system_of(service)
    callers = {caller for caller, callees in context.calls.get(system, {}).items() if service in callees}
    if others or (callers - {service}) & context.unwell(system):
        return "capacity_floor", f"{service} or a caller of it is unwell: it keeps the capacity that it has"
    return None


CONTEXT_CHECKS: Final[tuple[Check, ...]] = (_frozen, _maintenance, _failures, _backoff, _storm, _floor)
