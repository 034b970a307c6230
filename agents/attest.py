"""The audit is read as it is written, checked link by link, and signed a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.safety.chain import Notary
from models.safety.signing import Refused, Signer, sign_checkpoint
from topics.audit import AUDIT, CHECKPOINTS, AuditEntry, Checkpoint
from topics.refusals import REFUSALS, Refusal, refusal
from topics.spec import Instant, Read, Record


class Attest(Stateful[Notary]):
    """Signs what follows from what it has signed before, and says what does not."""

    name = "attest"
    reads = (AUDIT,)
    writes = (CHECKPOINTS, REFUSALS)
    shape = Notary

    def __init__(self, signer: Signer) -> None:
        super().__init__()
        self.signer = signer

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Checkpoint | Refusal]:
        for read in records:
            assert isinstance(read.record, AuditEntry)
            try:
                self.state.see(read.record)
            except Refused as refused:
                yield refusal(read.record, str(read.origin), refused.code, refused.detail, now)
            yield from self._sign(read.record.ts)
        if not records:
            yield from self._sign(now)

    def next_deadline(self) -> Instant | None:
        return self.state.next_due()

    def _sign(self, now: Instant) -> Iterator[Checkpoint]:
        if self.state.due(now):
            yield sign_checkpoint(self.state.checkpoint(), self.signer)
