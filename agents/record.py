"""Everything that was decided, refused and done is kept on the audit topic, hash-chained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._agent import Agent
from models.safety.chain import Chain
from models.safety.masking import RULES, Rules, mask_json
from topics.actions import COMMANDS, RESULTS
from topics.approvals import APPROVALS
from topics.audit import AUDIT, AuditEntry
from topics.codec import encode
from topics.decisions import DECISIONS
from topics.incidents import INCIDENTS
from topics.packs import PACKS
from topics.policies import POLICIES
from topics.proposals import PROPOSALS
from topics.refusals import REFUSALS
from topics.settings import SETTINGS
from topics.spec import Instant, Read, Record
from topics.verdicts import VERDICTS


class AuditWriter(Agent[Read[Record]]):
    """The writer of one partition's chain. The newest entry is its whole state, so no crash can fork it."""

    name = "record"
    reads = (INCIDENTS, PROPOSALS, DECISIONS, APPROVALS, COMMANDS, RESULTS, VERDICTS, REFUSALS, SETTINGS,
             POLICIES, PACKS)  # fmt: skip
    writes = (AUDIT,)
    chain = AUDIT

    def __init__(self, rules: Rules = RULES) -> None:
        self.links: Chain | None = None
        self.rules = rules  # what is masked

    def resume(self, last: Record) -> dict[str, int]:
        assert isinstance(last, AuditEntry)
        self.links = Chain(last.chain)
        self.links.resume(last)
        return dict(last.applied)

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[AuditEntry]:
        for read in records:
            if self.links is None:
                self.links = Chain(read.origin.partition)
            if read.origin.offset < self.links.applied.get(read.origin.topic, 0):
                continue  # it is in the chain already
            message = encode(read.record)
            yield self.links.link(message.key.decode(), read.origin, mask_json(message.value, self.rules), now)
