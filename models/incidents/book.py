"""The incident book keeps one open incident per episode, from the first confirmed symptom to the last verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Final

import msgspec

from models.diagnosis.current import ENTITIES_KEPT, Current, of_tracker
from models.diagnosis.hypotheses import rank
from models.incidents.lifecycle import IllegalStep, IncidentStep, advance, is_open
from models.incidents.settings import DEFAULTS, IncidentSettings, shortest_ms
from models.keyed import Changes, Table, by_domain, table
from models.knowledge.packs import TaughtState
from models.topology import calls as topology
from models.topology.calls import Graph, Network, Networks
from models.topology.lifetimes import DEFAULTS as BY_KIND
from models.topology.lifetimes import EntitySettings, ttl_ms
from topics.actions import Result
from topics.decisions import PASSING, Decision, DecisionState
from topics.incidents import Hypothesis, Incident, State, SymptomKind
from topics.settings import ACKNOWLEDGED, RESOLVED
from topics.signals import Symptom
from topics.spec import Instant, derive, domain_of, later, service_of, system_of
from topics.telemetry import Event
from topics.verdicts import Effect, Verdict

STORM: Final = 100  # open incidents of a system, beyond which what is felt says nothing of where it comes from
UNTOUCHED: Final = (State.TRIGGERED, State.ACKNOWLEDGED)  # later, samples may show effects of our action
CLOSED_KEPT: Final = 200  # closed incidents remembered: a late repeat of an episode opens no new incident
CHANGES_KEPT: Final = 100
LEAST_PAUSE_MS: Final = 1_000  # minimum time between two checks whether an entity is gone
QUIET_MS: Final = 3_000  # an incident resolves by itself after so long without a symptom ...
QUIET_PERIODS: Final = 2  # ... or so many sample periods, where that is longer
GONE_PERIODS: Final = 10  # as many without a sample, and `gone_ms`, before an entity is gone


def _owner(_id: str, record: Incident | Event) -> str:
    return domain_of(record.entity)


def _services(_id: str, incident: Incident) -> set[str]:
    return set(map(service_of, (incident.entity, *incident.affected)))


def _found_by_system(entity: str) -> str:
    """What incidents of its system are found by: no service has such a name."""
    return f"\x00{system_of(entity)}"


def _found_by(identity: str, incident: Incident) -> set[str]:
    return _services(identity, incident) | {_found_by_system(incident.entity)}


class IncidentBook(TaughtState):
    """All open incidents of one partition, and the state that is needed to process the next record."""

    version: ClassVar[int] = 3  # 3: symptoms come from their topic

    @classmethod
    def migrate(cls, old: Changes) -> Changes:
        """Who was well is kept. What hurts is told again with the next sample."""
        for book in (old.rows, old.gone):
            if (quiet := book.pop("quiet_since", None)) is not None:
                book["quiet_until"] = quiet
        if quiet := old.rows.get("quiet_until"):
            old.rows["quiet_until"] = {incident: since + QUIET_MS for incident, since in quiet.items()}
        return of_tracker(old)

    symptoms: Current = msgspec.field(default_factory=Current)
    calls: Table[Graph] = topology.graphs_table()  # by system
    networks: Networks = msgspec.field(default_factory=Networks)
    changes: Table[Event] = table(CHANGES_KEPT, domain=_owner)
    incidents: Table[Incident] = table(group=_found_by, domain=_owner)  # open incidents by id
    closed: Table[Incident] = table(CLOSED_KEPT, domain=_owner)
    quiet_until: Table[Instant] = table(when=lambda at: at)  # incident without a symptom → when it resolves by itself
    gone_at: Table[Instant] = table(when=lambda at: at)  # incident → when to check for entities that are gone
    judged_last: Table[str] = table()  # incident → its last decision with a verdict
    kinds: Table[str] = table(ENTITIES_KEPT, domain=by_domain)  # entity → its kind, as labels or files say
    awake: Instant = 0  # approximate time at which this partition was last read
    resumed: Instant = 0  # end of the last pause in reading this partition; no samples were read during it

    def event(self, event: Event) -> None:
        """Store a deploy, a configuration change, the topology of a system or the kind of an entity."""
        if event.kind == "topology":
            topology.take(self.calls, event)
        elif event.kind in ("deploy", "config_change"):
            self.changes[f"{event.ts:015}/{event.entity}/{event.revision}"] = event
        elif event.facts is not None and event.facts.kind and self.kinds.get(event.entity) != event.facts.kind:
            self.kinds[event.entity] = event.facts.kind

    def gone(self, entity: str, now: Instant) -> Iterator[Incident]:
        """Process that an entity is gone for good: it is affected no more."""
        for incident in self._open_ones((service_of(entity),)):
            if entity in incident.affected:
                yield from self._lose(incident, [entity], now)

    def admit(self, told: Symptom, now: Instant) -> Iterator[Incident]:
        """Process a record of a symptom. Opens an incident, or revises the one to which the symptom belongs."""
        if (symptom := self.symptoms.take(told)) is not None:
            yield from self._place(symptom, now)
        for incident in self._open_ones((service_of(told.entity),)):
            if told.entity in incident.affected:
                if incident.state in UNTOUCHED:
                    yield from self._reconsider(incident, now)
                self._settle(self.incidents[incident.id], now)

    def _reconsider(self, incident: Incident, now: Instant) -> Iterator[Incident]:
        """Rank the causes again, since a later sample may show a better one, for example a high load."""
        hypotheses = self._ranked(incident.affected, incident)
        if not hypotheses or not incident.hypotheses:
            return
        best, known = hypotheses[0], incident.hypotheses[0]
        if (best.cause, best.target) != (known.cause, known.target) and best.score > known.score:
            yield from self._move(incident, IncidentStep.REVISE, now, hypotheses=hypotheses)

    def _place(self, s: Symptom, now: Instant) -> Iterator[Incident]:
        """Add a symptom to its episode's incident, or open one. A harmless one is ignored while another is open."""
        known = self._belongs(s)
        if known is None:
            yield from self._open(s, now)
        elif not self._harmless(s.symptom) or self._harmless(known.symptom):
            yield from self._attach(known, s, now)

    def _belongs(self, symptom: Symptom) -> Incident | None:
        """Return the open incident of the same episode: same domain, and a service related by calls.

        Of a service whose calls nobody has told, what it feels may come from any service of its system.
        """
        service, network = service_of(symptom.entity), self._network(symptom.entity)
        known = next(iter(self._open_ones(network.related(service))), None)
        near = _found_by_system(symptom.entity)
        if known is not None or self.incidents.count(near) > STORM:
            return known
        feels = self._may_feel(symptom.symptom, service, network)
        return next(
            (i for i in self._open_ones((near,)) if feels or self._may_feel(i.symptom, service_of(i.entity), network)),
            None,
        )

    def _may_feel(self, symptom: str, service: str, network: Network) -> bool:
        """Whether a service may have a symptom because of another one of which nobody knows that it calls it."""
        return self.knowledge.symptom(symptom).felt and service not in network and not network.callers(service)

    def _network(self, entity: str) -> Network:
        return self.networks.of(self.calls, domain_of(entity))

    def _open_ones(self, services: Iterable[str]) -> list[Incident]:
        """Return the open incidents that affect one of these services, the one that began first before others."""
        found = {identity: None for service in services for identity in self.incidents.keys_of(service)}
        return sorted((self.incidents[identity] for identity in found), key=lambda i: (i.onset, i.id))

    def _open(self, s: Symptom, now: Instant) -> Iterator[Incident]:
        onset = s.onset
        known = self.find(derive("incident", s.entity, s.symptom, onset))
        if known is not None and known.closed_as == IncidentStep.GONE:
            onset = s.last  # its entity is back, and shows it still
        identity = derive("incident", s.entity, s.symptom, onset)
        if self.find(identity) is not None:
            return
        incident = Incident(
            id=identity, entity=s.entity, symptom=SymptomKind(s.symptom), onset=onset, ts=now, state=State.CANDIDATE,
            step="", seq=-1, priority=self.knowledge.symptom(s.symptom).priority, hypotheses=(), affected=(s.entity,),
            evidence=(s.evidence,), detected=now,
        )  # fmt: skip
        yield from self._move(incident, IncidentStep.CONFIRM, now, hypotheses=self._ranked((s.entity,), incident))

    def _attach(self, incident: Incident, s: Symptom, now: Instant) -> Iterator[Incident]:
        """Add a symptom to an incident. Ranks its causes again, unless an action is under way."""
        affected = tuple(sorted({*incident.affected, s.entity}))
        evidence = tuple(dict.fromkeys((*incident.evidence, s.evidence)))[:20]
        settled = incident.state is not State.VERIFYING and not self._under_way(incident)
        hypotheses = self._ranked(affected, incident) if settled else incident.hypotheses
        changed = [(h.cause, h.target) for h in hypotheses] != [(h.cause, h.target) for h in incident.hypotheses]
        if changed or affected != incident.affected:
            yield from self._move(
                incident, IncidentStep.REVISE, now, affected=affected, evidence=evidence, hypotheses=hypotheses,
                priority=min(incident.priority, self.knowledge.symptom(s.symptom).priority),
            )  # fmt: skip

    def _ranked(self, affected: Iterable[str], incident: Incident) -> tuple[Hypothesis, ...]:
        """Rank hypotheses from the current symptoms. Returns the incident's own when there are no symptoms."""
        hurting = self._hurting(incident, affected)
        calls = self._network(incident.entity)
        return (
            rank(hurting, self.symptoms, calls, [self.changes[key] for key in sorted(self.changes)])[:5]
            or incident.hypotheses
        )

    def _hurting(self, incident: Incident, affected: Iterable[str]) -> Iterator[Symptom]:
        """Yield the confirmed symptoms of an incident. Harmless ones count only for an incident about one."""
        domain, harmless = domain_of(incident.entity), self._harmless(incident.symptom)
        return (
            symptom
            for entity in affected if domain_of(entity) == domain
            for symptom in self.symptoms.confirmed_of(entity)
            if harmless or not self._harmless(symptom.symptom)
        )  # fmt: skip

    def _harmless(self, symptom: str) -> bool:
        return self.knowledge.symptom(symptom).harmless

    def decided(self, decision: Decision, now: Instant) -> Iterator[Incident]:
        """Process a decision. Dispatched: the incident is mitigating. Refused for good: it escalates to a person."""
        incident = self.incidents.get(decision.proposal.incident)
        if incident is None:
            return
        if decision.state is DecisionState.DISPATCHED and decision.id not in incident.attempts:
            yield from self._move(incident, IncidentStep.ACT, now, attempts=(*incident.attempts, decision.id))
        elif _final(decision) and incident.step != IncidentStep.ESCALATE:
            yield from self._move(incident, IncidentStep.ESCALATE, now)

    def acted(self, result: Result, now: Instant) -> Iterator[Incident]:
        """Process an actuator's result: the incident moves to verifying."""
        yield from self._report(result.incident, result.decision, now)

    def _report(self, identity: str, decision: str, now: Instant) -> Iterator[Incident]:
        """Make up for records that come later: a result or verdict proves that its action has begun and ended."""
        incident = self.incidents.get(identity)
        if incident is None or self.judged_last.get(identity) == decision:
            return
        if decision not in incident.attempts:
            yield from self._move(incident, IncidentStep.ACT, now, attempts=(*incident.attempts, decision))
        incident = self.incidents[identity]
        if incident.attempts[-1:] == (decision,):
            yield from self._move(incident, IncidentStep.PROBE, now)

    def judged(self, verdict: Verdict, now: Instant) -> Iterator[Incident]:
        """Process the verdict on the last action: close the incident, return it to mitigating, or escalate it."""
        yield from self._report(verdict.incident, verdict.decision, now)
        incident = self.incidents.get(verdict.incident)
        if incident is None or incident.state is not State.VERIFYING or not self._under_way(incident):
            return
        if incident.attempts[-1] != verdict.decision:
            return
        self.judged_last[incident.id] = verdict.decision
        if verdict.effect is Effect.REMEDIATED:
            yield from self._close(incident, IncidentStep.CURED, now, verdict.effect)
        elif verdict.effect is Effect.MANUAL_REVIEW or not verdict.effect.known:  # effect unknown: a person decides
            yield from self._move(incident, IncidentStep.ESCALATE, now)
        else:
            yield from self._move(
                incident, IncidentStep.STILL_WRONG, now, hypotheses=self._ranked(incident.affected, incident)
            )  # fmt: skip

    def _under_way(self, incident: Incident) -> bool:
        """Whether the last action has no verdict yet."""
        return bool(incident.attempts) and self.judged_last.get(incident.id) != incident.attempts[-1]

    def told(self, identity: str, word: str, who: str, note: str, now: Instant) -> Iterator[Incident]:
        """Process an operator's message: acknowledge the incident, or resolve it. After a resolve nothing is tried."""
        incident = self.incidents.get(identity)
        if incident is None:
            return
        if word == RESOLVED:
            yield from self._close(incident, IncidentStep.CLOSE, now, "manual", by=who, note=note)
        elif word == ACKNOWLEDGED:
            yield from self._move(incident, IncidentStep.ACKNOWLEDGE, now, by=who, note=note)

    def expire(
        self, now: Instant, settings: IncidentSettings = DEFAULTS, entities: EntitySettings = BY_KIND
    ) -> Iterator[Incident]:  # fmt: skip
        """Close incidents whose symptoms stayed away, and incidents whose entities are gone."""
        for identity in self.quiet_until.due(now):
            incident = self.incidents.get(identity)
            if incident is None or not self._settle(incident, now):
                self.quiet_until.pop(identity, None)
            else:
                yield from self._close(incident, IncidentStep.SELF_RESOLVED, now, Effect.SELF_RESOLVED)
        for identity in self.gone_at.due(now):
            self.note(now, settings, entities)
            incident = self.incidents.get(identity)
            if incident is None:
                del self.gone_at[identity]
                continue
            ends = self._ends(incident, settings, entities)
            if gone := [entity for entity, at in ends.items() if at <= now]:
                yield from self._lose(incident, gone, now)
            else:
                pause = max(LEAST_PAUSE_MS, settings.gone_ms // 20)
                soon = min([shortest_ms(settings, entities) + now, *ends.values()])  # later would look like a pause
                self.gone_at[identity] = max(soon, now + pause)

    def find(self, identity: str) -> Incident | None:
        """Return an open or a recently closed incident; None when there is none."""
        return self.incidents.get(identity) or self.closed.get(identity)

    def _settle(self, incident: Incident, now: Instant) -> bool:
        """Update since when an open incident has no symptom. Returns whether it has none."""
        if is_quiet := not self._under_way(incident) and self._quiet(incident):
            quiet = max(QUIET_MS, QUIET_PERIODS * self.symptoms.period_ms(incident.affected))
            self.quiet_until.setdefault(incident.id, later(now, quiet))
        else:
            self.quiet_until.pop(incident.id, None)
        return is_quiet

    def note(self, now: Instant, settings: IncidentSettings, entities: EntitySettings = BY_KIND) -> None:
        """Record that this partition is being read. After a pause, time without samples counts from its end."""
        if not self.incidents:
            return
        shortest = shortest_ms(settings, entities)
        if now - self.awake > 2 * shortest:
            self.resumed = now
        if now - self.awake >= shortest // 4:
            self.awake = now

    def _ends(self, incident: Incident, settings: IncidentSettings, entities: EntitySettings) -> dict[str, Instant]:
        """Return when each affected entity that is not known to be well is gone, unless a sample of it comes."""
        base = max(incident.detected, self.resumed)
        return {
            entity: max(base, self.symptoms.seen(entity)) + self._patience(entity, settings, entities)
            for entity in incident.affected
            if not (self.symptoms.is_well(entity, incident.ts) or self.symptoms.waits(entity))
        }

    def _patience(self, entity: str, settings: IncidentSettings, entities: EntitySettings) -> int:
        """For how long (ms) the lack of records of an entity says nothing."""
        patience = self._ttl_ms(entity, entities) or settings.gone_ms
        return max(patience, GONE_PERIODS * self.symptoms.period_ms((entity,)))

    def _ttl_ms(self, entity: str, entities: EntitySettings) -> Instant | None:
        """How long an entity may stay away, by its kind: as it was told, else as its series that are off show it."""
        told = self.kinds.get(entity)
        kinds = [told] if told else self.knowledge.kinds_of(c.metric for c in self.symptoms.context.get(entity, ()))
        return ttl_ms(kinds, entities, self.knowledge.lifetimes)

    def _lose(self, incident: Incident, gone: Sequence[str], now: Instant) -> Iterator[Incident]:
        """Remove entities that are gone from an incident. Closes it when no other entity has a symptom."""
        for entity in gone:
            self.symptoms.forget(entity)
            self.kinds.pop(entity, None)
        left = tuple(entity for entity in incident.affected if entity not in gone)
        if all(self.symptoms.is_well(entity, incident.ts) for entity in left):
            yield from self._close(
                incident, IncidentStep.GONE, now, "gone", note=f"no sample of {', '.join(gone)} any more"
            )
        else:
            hypotheses = self._ranked(left, incident) if incident.state in UNTOUCHED else incident.hypotheses
            yield from self._move(incident, IncidentStep.REVISE, now, affected=left, hypotheses=hypotheses)

    def _quiet(self, incident: Incident) -> bool:
        """Whether the incident has no symptom, and samples after its last change show each entity as well."""
        return not any(self._hurting(incident, incident.affected)) and all(
            self.symptoms.is_well(entity, incident.ts) for entity in incident.affected
        )

    def _close(
        self, incident: Incident, step: IncidentStep, now: Instant, closed_as: str, **said: str
    ) -> Iterator[Incident]:
        """Close an incident, then process harmless symptoms that were ignored while it was open."""
        self.quiet_until.pop(incident.id, None)
        yield from self._move(incident, step, now, closed_as=closed_as, **said)
        network = self._network(incident.entity)
        related = {other for service in _services("", incident) for other in network.related(service)}
        for symptom in list(self.symptoms.confirmed(sorted(related))):
            if self._harmless(symptom.symptom):
                yield from self._place(symptom, now)

    def _move(self, incident: Incident, step: IncidentStep, now: Instant, **changes: object) -> Iterator[Incident]:
        """Yield the incident after a step. Yields nothing when the table does not allow the step."""
        try:
            state = advance(incident.state, step)
        except IllegalStep:
            return
        moved = msgspec.structs.replace(
            incident,
            **{"state": state, "step": step.value, "ts": now, "seq": incident.seq + 1, "by": "", "note": ""} | changes,
        )
        if is_open(moved.state):
            self.incidents[moved.id] = moved
            self.gone_at.setdefault(moved.id, now + LEAST_PAUSE_MS)
            self._settle(moved, now)
        else:
            self._put_away(moved)
        yield moved

    def _put_away(self, incident: Incident) -> None:
        """Move an incident to the closed ones, so that a late repeat of its episode opens no new incident."""
        del self.incidents[incident.id]
        self.gone_at.pop(incident.id, None)
        if len(self.closed) >= CLOSED_KEPT:
            self.judged_last.pop(next(iter(self.closed)), None)
        self.closed[incident.id] = incident


def _final(decision: Decision) -> bool:
    """Whether a decision is a refusal that a later retry cannot change."""
    denied = decision.state is DecisionState.DENIED and decision.blocked not in PASSING
    return denied or decision.state in (DecisionState.REJECTED, DecisionState.EXPIRED)
