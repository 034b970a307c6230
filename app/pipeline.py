"""The map: the systems in the order data meets them.

telemetry ─► decode ─► detect ─► diagnose ─► respond ─► decide ─► gate ─► approve ─► act ─► verify
                          ▲                     ▲                                      │      │
                          └─ label ─────────────┴──────────────────────────────────────┴──────┘  record keeps all,
                                                                                                 attest signs it

Each system is in its room's `wiring.py`. Topics of other agents come in through `rekey`, which writes telemetry.
`describe` keeps what labels, packs, files and events say of entities.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from app.actuators.wiring import ACTUATORS
from app.api.wiring import API
from app.decisions.wiring import DECISIONS, SAFETY
from app.history.wiring import HISTORY
from app.incidents.wiring import INCIDENTS, VERIFICATION
from app.ingest.wiring import DETECTION, INGEST
from app.kafka.wiring import KAFKA
from app.knowledge.wiring import KNOWLEDGE
from app.policy.wiring import POLICY
from app.runtime.wiring import RUNTIME
from app.security.wiring import SECURITY
from app.system import Parts, Stages, System, WorkerRole

if TYPE_CHECKING:
    from app.settings import Settings
    from models.detection.settings import DetectionSettings
    from models.knowledge.packs import Packs
    from models.safety.signing import Keyring, Signer
    from topics.meanings import Meanings

SYSTEMS: Final = (
    INGEST,  # what others measure → telemetry
    DETECTION,  # telemetry → anomalies
    KNOWLEDGE,  # what signals mean, what causes it and what cures it
    INCIDENTS,  # anomalies, alerts and heartbeats → symptoms → incidents
    DECISIONS,  # incidents → proposals
    POLICY,  # what the gate holds proposals against
    SAFETY,  # proposals → decisions → commands
    ACTUATORS,  # commands → effects and results
    VERIFICATION,  # results → verdicts, and what detection learns from them
    HISTORY,  # everything → the audit
    SECURITY,
    KAFKA,
    RUNTIME,
    API,
)
# beside the stream: loaded by their names, because nothing that live data meets may import them
BESIDE: Final = ("app.demo.wiring", "app.offline.wiring", "app.drills.wiring", "app.bench.wiring")


@cache
def systems() -> tuple[System, ...]:
    """All systems: those of the map, then those beside it."""
    return (*SYSTEMS, *(importlib.import_module(name).SYSTEM for name in BESIDE))


def roles() -> dict[str, WorkerRole]:
    """What a worker process can run, by name."""
    return {role.name: role for system in systems() for role in system.roles}


def stages(role: str, parts: Parts) -> Stages:
    """How to make each agent of a role, in the order data meets them."""
    return [partial(verb.make, parts) for system in SYSTEMS for verb in system.agents if verb.role == role]


def verbs(role: str) -> list[str]:
    """The names of a role's agents, in the order data meets them. Nothing is imported for them."""
    return [verb.name for system in SYSTEMS for verb in system.agents if verb.role == role]


def lane(settings: DetectionSettings | None = None, said: Callable[[], Meanings | None] = lambda: None) -> Stages:
    """Samples to anomalies: on the lane, one stage handing to the next. said: what packs say; else the shipped ones."""
    from app.settings import Settings

    return stages("lane", Parts(Settings(detection=settings) if settings else Settings(), said=said))


def loop(settings: Settings, signer: Signer, keyring: Keyring, packs: Packs | None = None) -> Stages:
    """Anomalies to commands, and results to verdicts: each reads topics and writes topics.

    signer: the worker's key, which signs proposals and commands. keyring: whose votes and settings are believed.
    packs: those that hold; None: the shipped ones.
    """
    return stages("loop", Parts(settings, signer, keyring, own_packs=packs))
