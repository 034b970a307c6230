"""Symptoms, changes, what became of actions and what people say turn into incidents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._taught import Taught
from models.incidents.book import IncidentBook
from models.incidents.settings import DEFAULTS, IncidentSettings
from models.knowledge.packs import Packs
from models.safety.roles import may
from models.safety.signing import Keyring, Refused, setter
from models.topology.lifetimes import DEFAULTS as BY_KIND
from models.topology.lifetimes import EntitySettings
from topics.actions import RESULTS, Result
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.packs import PACKS, PackVersion
from topics.refusals import REFUSALS, Refusal, refusal
from topics.settings import INCIDENT, SETTINGS, Setting
from topics.signals import SYMPTOMS, Symptom
from topics.spec import Instant, Read, Record
from topics.telemetry import EVENTS, Event
from topics.verdicts import VERDICTS, Verdict


class Respond(Taught[IncidentBook]):
    """Keeps one open incident per episode."""

    name = "respond"
    reads = (SYMPTOMS, EVENTS, DECISIONS, RESULTS, VERDICTS, SETTINGS, PACKS)
    writes = (INCIDENTS, REFUSALS)
    shape = IncidentBook

    def __init__(
        self, packs: Packs, keyring: Keyring, settings: IncidentSettings = DEFAULTS, entities: EntitySettings = BY_KIND
    ) -> None:  # fmt: skip
        super().__init__(packs, keyring)
        self.settings, self.entities = settings, entities

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Incident | Refusal]:
        for read in records:
            match read.record:
                case Symptom() as symptom:
                    yield from self.state.admit(symptom, now)
                case Event(kind="gone", entity=entity):
                    yield from self.state.gone(entity, now)
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
                case PackVersion() as word:
                    try:
                        self.learn_pack(word, read.arrived or now)
                    except Refused as refused:
                        yield refusal(word, str(read.origin), refused.code, refused.detail, now)
        if records:
            self.state.note(now, self.settings, self.entities)
        else:
            yield from self.state.expire(now, self.settings, self.entities)

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
