"""The planner makes one proposal at a time for each open incident, until it is resolved or no option is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

import msgspec

from models.decision.advisor import Advisor, Bounds
from models.decision.base import Case, DecisionKind, DecisionSettings
from models.decision.budget import ErrorBudget
from models.decision.outcomes import Outcomes
from models.incidents.following import Following
from models.incidents.lifecycle import IncidentStep, is_open
from models.keyed import Changes, Table, table
from models.knowledge.packs import TaughtState
from models.safety.signing import PROPOSAL_TTL_MS
from topics.decisions import PASSING, Decision, DecisionState
from topics.incidents import Incident, State
from topics.proposals import Proposal
from topics.signals import Anomaly
from topics.spec import Instant, derive, domain_of, service_of, system_of
from topics.verdicts import RESULT, Verdict

REFUSED: Final = (DecisionState.DENIED, DecisionState.REJECTED, DecisionState.EXPIRED)
BEGUN: Final = (IncidentStep.ACT, IncidentStep.PROBE)  # steps of an incident that show that its proposal was allowed
RETRY_MS: Final = 5_000
UNSURE: Final = 0.70  # confidence below which a first proposal waits, since a better cause may show
PONDER_MS: Final = 4_000  # how long it waits, from the detection of the incident
UNDONE: Final = (State.TRIGGERED, State.ACKNOWLEDGED, State.MITIGATING)  # states in which a proposal may be replaced
LOAD_MS: Final = 30_000  # maximum age of a load that is still used ...
LOAD_PERIODS: Final = 2  # ... or so many sample periods, where that is longer
LOAD_MOST: Final = 100.0
LOADS_KEPT: Final = 20_000
EARLY_KEPT: Final = 100  # refusals remembered for proposals that are not open


class Load(msgspec.Struct, frozen=True):
    """How much a service has to do, in its last sample."""

    ts: Instant
    ratio: float  # to what is expected
    good_ms: int = LOAD_MS  # for so long it is used


class Plan(msgspec.Struct, frozen=True):
    """The proposals for one incident."""

    system: str  # of the incident
    tried: tuple[str, ...] = ()  # action@target, in order
    open: str = ""  # id of the proposal without an answer
    retry_at: Instant = 0
    retries: int = 0
    given_up: bool = False
    until: Instant = 0  # when the open proposal counts as refused or lost; 0: it was answered
    leading: str = ""  # cause@target of the first hypothesis when the last proposal was made
    revisions: int = 0  # number of proposals replaced because another hypothesis came first

    @property
    def due(self) -> Instant:
        """When `expire` must process the plan (ms since 1970); 0: never."""
        if self.given_up:
            return 0
        return self.until if self.open else self.retry_at

    def put_off(self, now: Instant) -> Plan:
        """Return the plan with its proposal to be retried later, under another id."""
        later = now + (RETRY_MS << min(self.retries, 5))
        return msgspec.structs.replace(
            self, tried=self.tried[:-1], open="", retry_at=later, retries=self.retries + 1, until=0
        )


class Planner(TaughtState):
    """The plans of one partition."""

    version: ClassVar[int] = 2  # 2: it keeps which packs hold

    @classmethod
    def migrate(cls, old: Changes) -> Changes:
        return old

    incidents: Following = msgspec.field(default_factory=Following)
    plans: Table[Plan] = table(  # of open incidents
        when=lambda plan: plan.due, domain=lambda _, plan: domain_of(plan.system)
    )  # fmt: skip
    early: Table[Decision] = table(  # by proposal: answers that were read before the proposal was made again
        EARLY_KEPT, domain=lambda _, decision: domain_of(decision.proposal.target)
    )
    advisor: Advisor = msgspec.field(default_factory=Advisor)
    loads: Table[Load] = table(LOADS_KEPT, domain=lambda service, _: domain_of(service))  # service → load
    budget: ErrorBudget = msgspec.field(default_factory=ErrorBudget)
    outcomes: Outcomes[Proposal] = msgspec.field(default_factory=Outcomes)

    def incident(self, incident: Incident, bounds: Bounds, now: Instant) -> Iterator[Proposal]:
        """Process an incident. Proposes an action when it was triggered, revised, or found still wrong."""
        if not self.incidents.follow(incident):
            return
        self.budget.see(incident)
        if not is_open(incident.state):
            self.plans.pop(incident.id, None)
            return
        plan = self.plans.setdefault(incident.id, Plan(system_of(incident.entity)))
        if incident.step == IncidentStep.STILL_WRONG:
            plan = self._change(incident.id, open="", until=0)
        if incident.step == IncidentStep.REVISE and not plan.retries:
            plan = self._change(incident.id, retry_at=0)  # the revision may bring the better cause for which it waited
        if incident.step == IncidentStep.REVISE:
            plan = self._revise(incident, plan, bounds, now)
        yield from self._propose(incident, plan, bounds, now)

    def _change(self, identity: str, **changes: object) -> Plan:
        plan = self.plans[identity] = msgspec.structs.replace(self.plans[identity], **changes)
        return plan

    def _revise(self, incident: Incident, plan: Plan, bounds: Bounds, now: Instant) -> Plan:
        """Drop the open or refused proposal when another hypothesis came first and leads to another action.

        The gate withdraws the replaced proposal when it reads the next one of the same incident.
        """
        leading = _leading(incident)
        if not plan.leading or plan.leading == leading or incident.state not in UNDONE:
            return plan
        before = plan.tried[:-1] if plan.open else plan.tried
        best = self.advisor.propose(self._case(incident, len(before), bounds.decision, now), before, bounds, now)
        if plan.open and best is not None and _label(best) == plan.tried[-1]:
            return self._change(incident.id, leading=leading)
        return self._change(
            incident.id, tried=before, open="", until=0, retry_at=0, given_up=False, leading=leading,
            revisions=plan.revisions + 1,
        )  # fmt: skip

    def _acted(self, decision: Decision, plan: Plan) -> None:
        """Add an action to the tried ones that was dispatched although its proposal had been replaced."""
        label = _label(decision.proposal)
        if label not in plan.tried:
            self._change(decision.proposal.incident, tried=(label, *plan.tried))

    def decided(self, decision: Decision, now: Instant) -> None:
        """Process a decision: retry later after a temporary refusal, give up after a permanent one or a person's."""
        plan = self.plans.get(decision.proposal.incident)
        if plan is not None and decision.state is DecisionState.DISPATCHED:
            self._acted(decision, plan)
            plan = self.plans[decision.proposal.incident]
        incident = decision.proposal.incident
        if plan is not None and decision.proposal.id == plan.open and plan.until:
            plan = self._change(incident, until=0)
        if decision.state is DecisionState.DISPATCHED:
            self._learn(self.outcomes.dispatched(decision.id, decision.proposal))
        if decision.state not in REFUSED:
            return
        if plan is None or decision.proposal.id != plan.open:
            self.early[decision.proposal.id] = decision
        elif decision.state is DecisionState.DENIED and decision.blocked in PASSING:
            self.plans[incident] = plan.put_off(now)
        else:
            self._change(incident, given_up=True)

    def observe(self, anomaly: Anomaly) -> None:
        """Store the load of a service from a sample: a signal that says it, over its expected value."""
        for shown in anomaly.attribution:
            if shown.expected > 0 and self.knowledge.hits(shown.metric).load:
                ratio = round(min(max(shown.value / shown.expected, 0.0), LOAD_MOST), 2)
                good = max(LOAD_MS, LOAD_PERIODS * anomaly.period_ms)
                self.loads[service_of(anomaly.entity)] = Load(anomaly.ts, ratio, good)

    def verdict(self, verdict: Verdict) -> None:
        """Learn from a verdict, once. A verdict based only on the actuator's result says nothing about the symptom."""
        if verdict.basis != RESULT:
            self._learn(self.outcomes.verdict(verdict))

    def _learn(self, pair: tuple[Proposal, bool] | None) -> None:
        if pair is not None:
            self.advisor.learn(*pair)

    def expire(self, bounds: Bounds, now: Instant) -> Iterator[Proposal]:
        """Yield proposals that are due for a retry."""
        for identity in self.plans.due(now):
            plan, incident = self.plans[identity], self.incidents.open[identity]
            if not plan.open:
                plan = self._change(identity, retry_at=0)  # while its action is verified: retry at its next state
                yield from self._propose(incident, plan, bounds, now)
            elif incident.step in BEGUN:
                self._change(identity, until=0)  # it was answered: the incident shows that its action began
            else:
                self.plans[identity] = plan.put_off(now)

    def _propose(self, incident: Incident, plan: Plan, bounds: Bounds, now: Instant) -> Iterator[Proposal]:
        if plan.open or plan.given_up or now < plan.retry_at or incident.state is State.VERIFYING:
            return
        plan = self._change(incident.id, retry_at=0) if plan.retry_at else plan
        case = self._case(incident, len(plan.tried), bounds.decision, now)
        proposal = self.advisor.propose(case, plan.tried, bounds, now)
        if proposal is None:
            return
        if not plan.tried and proposal.confidence < UNSURE and now - incident.detected < PONDER_MS:
            self._change(incident.id, retry_at=incident.detected + PONDER_MS)
            return
        if plan.retries:
            proposal = msgspec.structs.replace(proposal, id=derive("proposal", proposal.id, "retry", plan.retries))
        if plan.revisions:
            proposal = msgspec.structs.replace(proposal, id=derive("proposal", proposal.id, "revised", plan.revisions))
        self._change(
            incident.id, open=proposal.id, until=now + PROPOSAL_TTL_MS, leading=_leading(incident),
            tried=(*plan.tried, _label(proposal)),
        )  # fmt: skip
        yield proposal
        if answer := self.early.pop(proposal.id, None):
            self.decided(answer, now)

    def _case(self, incident: Incident, attempt: int, settings: DecisionSettings, now: Instant) -> Case:
        cause = incident.hypotheses[0].cause if incident.hypotheses else ""
        left = self.budget.left(service_of(incident.entity), now, settings)
        load = self.loads.get(service_of(incident.entity), Load(0, 1.0))
        context = settings.context(
            now, budget=left, urgency=1.0 - incident.priority / 4, attempt=attempt,
            load=load.ratio if now - load.ts < load.good_ms else 1.0,
        )  # fmt: skip
        return Case(
            id=incident.id,
            kind=self.knowledge.decisions.get(cause, DecisionKind.INCIDENT_RESPONSE),
            hypotheses=incident.hypotheses,
            context=context,
            incident=incident.id,
            evidence=incident.evidence,
        )


def _label(proposal: Proposal) -> str:
    """Return `action@target` of a proposal, as listed in `Plan.tried`."""
    return f"{proposal.action}@{proposal.target}"


def _leading(incident: Incident) -> str:
    """Return the first hypothesis as `cause@target`; empty when there is none."""
    return f"{incident.hypotheses[0].cause}@{incident.hypotheses[0].target}" if incident.hypotheses else ""
