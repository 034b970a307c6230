"""The map: every agent in the order data meets it.

telemetry ─► decode ─► detect ─► respond ─► decide ─► gate ─► approve ─► act ─► verify
                          ▲          ▲                                      │      │
                          └─ learn ──┴──────────────────────────────────────┴──────┘  record keeps all, attest signs it

Topics of other agents come in through `rekey`, which writes telemetry (app/ingest/settings.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents._agent import Agent
from agents.approve import Approve
from agents.attest import Attest
from agents.decide import Decide
from agents.decode import LARGE, Decode, chunk_of
from agents.detect import Detect
from agents.gate import Gate
from agents.label import Labeller
from agents.record import AuditWriter
from agents.respond import Respond
from agents.verify import Verify
from app.policy.shipped import policies
from app.settings import Settings
from models.decision.advisor import Bounds
from models.detection.entity_detectors import EntityDetectors
from models.detection.settings import DetectionSettings
from models.safety.masking import rules_with
from models.safety.signing import Keyring, Signer
from topics.batch import Batch, Names
from topics.codec import encode
from topics.frames import FrameBuilder
from topics.spec import Raw
from topics.telemetry import METRICS, Sample

Stages = list[Callable[[], Agent[Any]]]


def lane(settings: DetectionSettings | None = None) -> Stages:
    """Samples to anomalies: on the lane, one stage handing to the next."""
    chosen = settings or DetectionSettings()
    return [lambda: Decode(Names(ttl_hours=24 * chosen.forget_after_days)), lambda: Detect(chosen)]


def warm_up(settings: DetectionSettings | None = None) -> None:
    """Take samples through the lane's stages, so that their kernels are compiled before the first real one."""
    now = 10**12
    message = encode(Sample(entity="rehearsal", ts=now, metrics={"a": 1.0, "b": 2.0}))
    for name in {name for pattern in (settings or DetectionSettings()).patterns for name in pattern.learners or ()}:
        EntityDetectors(name, ("a", "b")).observe(now, {"a": 1.0, "b": 2.0}, forked=False)
    detect = Detect()
    frame = FrameBuilder()  # a large one is read where it lies, which the compiler takes for another type
    for scored_sample in range(LARGE // 2):
        frame.add("rehearsal", now + scored_sample + 1, {"a": 1.0, "b": 2.0})
    values = message.value, message.value, frame.take()  # the second one shows a text that is to be learned
    raws = [Raw(METRICS.name, 0, at, b"", value) for at, value in enumerate(values)]
    for batch in Decode().step(chunk_of(raws), now):
        assert isinstance(batch, Batch)
        list(detect.step([batch], now))


def bounds(settings: Settings) -> Bounds:
    """What decisions are held by."""
    return Bounds(settings.decision, settings.safety, policies(settings.policy))


def loop(settings: Settings, signer: Signer, keyring: Keyring) -> Stages:
    """Anomalies to commands, and results to verdicts: each reads topics and writes topics.

    signer: the worker's key, which signs proposals and commands. keyring: whose votes and settings are believed.
    """
    return [
        lambda: Respond(keyring, settings.incidents),
        lambda: Decide(bounds(settings), signer, keyring),
        lambda: Gate(settings.safety, signer, keyring, policies(settings.policy)),
        lambda: Approve(settings.safety, signer, keyring),
        lambda: Verify(settings.verification),
        Labeller,
        lambda: AuditWriter(rules_with(settings.safety.masks)),
        lambda: Attest(signer),
    ]
