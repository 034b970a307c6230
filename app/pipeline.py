"""The map: every agent in the order data meets it.

telemetry ─► decode ─► detect ─► respond ─► decide ─► gate ─► approve ─► act ─► verify
                          ▲          ▲                                      │      │
                          └─ learn ──┴──────────────────────────────────────┴──────┘       record keeps all of it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents._agent import Agent
from agents.approve import Approve
from agents.decide import Decide
from agents.decode import Decode
from agents.detect import Detect
from agents.gate import Gate
from agents.record import Keep
from agents.respond import Respond
from agents.verify import Verify
from app.settings import Settings
from models.safety.signing import Keyring, Signer

Stages = list[Callable[[], Agent[Any]]]


def lane() -> Stages:
    """Samples to anomalies: on the lane, one stage handing to the next."""
    return [Decode, Detect]


def loop(settings: Settings, signer: Signer, keyring: Keyring) -> Stages:
    """Anomalies to commands, and results to verdicts: each reads topics and writes topics.

    signer: the worker's key, which signs commands. keyring: whose votes and settings are believed.
    """
    return [
        Respond,
        Decide,
        lambda: Gate(settings.safety),
        lambda: Approve(settings.safety, signer, keyring),
        lambda: Verify(settings.verification),
        Keep,
    ]
