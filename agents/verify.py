"""Looks for the effect of each action: is the symptom gone, and does it stay away?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from agents._taught import Taught
from models.incidents.verification import VerificationSettings, Verifier
from models.knowledge.packs import Packs
from models.safety.signing import Keyring, Refused
from topics.actions import RESULTS, Result
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.packs import PACKS, PackVersion
from topics.signals import SYMPTOMS, Symptom
from topics.spec import Instant, Read, Record, domain_of
from topics.verdicts import VERDICTS, Verdict


class Verify(Taught[Verifier]):
    """Watches the affected entities after an action, and judges it."""

    name = "verify"
    reads = (SYMPTOMS, INCIDENTS, RESULTS, DECISIONS, PACKS)
    writes = (VERDICTS,)
    shape = Verifier

    def __init__(self, packs: Packs, keyring: Keyring, settings: VerificationSettings) -> None:
        super().__init__(packs, keyring)
        self.settings = settings

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Verdict]:
        domains: dict[str, None] = {}  # of which something was read, in the order of the log
        for read in records:
            match read.record:
                case Symptom() as symptom:
                    self.state.observe(symptom)
                    domains[domain_of(symptom.entity)] = None
                case Incident() as incident:
                    self.state.incident(incident)
                    domains[domain_of(incident.entity)] = None
                case Decision() as decision:
                    self.state.decided(decision)
                    domains[domain_of(decision.proposal.target)] = None
                case Result() as result:
                    self.state.acted(result)
                    domains[domain_of(result.target)] = None
                case PackVersion() as word:
                    with contextlib.suppress(Refused):  # that a pack is not believed is for `respond` to say
                        self.learn_pack(word, read.arrived or now)
        yield from self.state.judge(domains, now, self.settings)
