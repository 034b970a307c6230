"""Anomalies, changes, what became of actions and what people say turn into incidents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.incidents.book import DEFAULTS, IncidentBook, IncidentSettings
from models.safety.roles import may
from models.safety.signing import Keyring, Refused, setter
from topics.actions import RESULTS, Result
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.refusals import REFUSALS, Refusal, refusal
from topics.settings import INCIDENT, SETTINGS, Setting
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant, Read, Record
from topics.telemetry import EVENTS, Event
from topics.verdicts import VERDICTS, Verdict


class Respond(Stateful[IncidentBook]):
    """Keeps one open incident per episode."""

    name = "respond"
    reads = (ANOMALIES, EVENTS, DECISIONS, RESULTS, VERDICTS, SETTINGS)
    writes = (INCIDENTS, REFUSALS)
    shape = IncidentBook

    def __init__(self, keyring: Keyring, settings: IncidentSettings = DEFAULTS) -> None:
        super().__init__()
        self.keyring, self.settings = keyring, settings

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Incident | Refusal]:
        for read in records:
            match read.record:
                case Anomaly() as anomaly:
                    yield from self.state.admit(anomaly, now)
                case Event() as event:
                    self.state.event(event)
                case Decision() as decision:
                    yield from self.state.decided(decision, now)
                case Result() as result:
                    yield from self.state.acted(result, now)
                case Verdict() as verdict:
                    yield from self.state.judged(verdict, now)
                case Setting() as setting:
                    yield from self._told(setting, str(read.origin), now)
        if records:
            self.state.note(now, self.settings)
        else:
            yield from self.state.expire(now, self.settings)

    def _told(self, setting: Setting, origin: str, now: Instant) -> Iterator[Incident | Refusal]:
        """What a person says of an incident that is kept here."""
        identity = setting.name.removeprefix(INCIDENT)
        if identity == setting.name or self.state.find(identity) is None:
            return
        try:
            who = setter(setting, self.keyring)
            if not may(who.roles, "respond"):
                raise Refused("wrong_role", f"{who.name} may not answer for incidents")
        except Refused as refused:
            yield refusal(setting, origin, refused.code, refused.detail, now)
            return
        yield from self.state.told(identity, setting.value, who.name, setting.reason, now)
